//! Table `channel_version`.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_advisory::PatchVersion;
use suture_rollout::ChannelName;
use suture_store::{
    Action, Actor, AuditEntry, Channel, ChannelStore, InconsistentRow, Promotion, StoreError,
    Subject,
};

use super::audit;
use super::dialect::{self, Connection, Database};
use crate::column::{database, parse, time};

const TABLE: &str = "channel_version";

#[async_trait]
impl ChannelStore for Database {
    async fn channels(&self) -> Result<Vec<Channel>, StoreError> {
        all(&mut *self.read().await?).await
    }

    async fn promote(
        &self,
        version: PatchVersion,
        channel: &ChannelName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let change = Change {
            version,
            channel,
            by,
            now,
        };
        transaction!(self, |connection| change.promote(connection))
    }

    async fn demote(
        &self,
        version: PatchVersion,
        channel: &ChannelName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let change = Change {
            version,
            channel,
            by,
            now,
        };
        transaction!(self, |connection| change.demote(connection))
    }
}

#[derive(FromRow)]
struct PromotionRow {
    channel: String,
    version: String,
    promoted_ms: i64,
    promoted_by: String,
}

async fn all(connection: &mut Connection) -> Result<Vec<Channel>, StoreError> {
    let rows: Vec<PromotionRow> =
        sqlx::query_as("SELECT channel, version, promoted_ms, promoted_by FROM channel_version")
            .fetch_all(connection)
            .await
            .map_err(database("list channels"))?;
    let mut channels: BTreeMap<ChannelName, Vec<Promotion>> = BTreeMap::new();
    for row in rows {
        let name = parse(TABLE, "channel", &row.channel)?;
        channels.entry(name).or_default().push(promotion(&row)?);
    }
    let channel = |(name, mut promotions): (ChannelName, Vec<Promotion>)| {
        promotions.sort_unstable_by_key(|promotion| std::cmp::Reverse(promotion.version));
        Channel { name, promotions }
    };
    Ok(channels.into_iter().map(channel).collect())
}

fn promotion(row: &PromotionRow) -> Result<Promotion, InconsistentRow> {
    Ok(Promotion {
        version: parse(TABLE, "version", &row.version)?,
        at: time(TABLE, "promoted_ms", row.promoted_ms)?,
        by: parse(TABLE, "promoted_by", &row.promoted_by)?,
    })
}

/// The versions of each channel.
pub async fn promoted(
    connection: &mut Connection,
) -> Result<BTreeMap<ChannelName, BTreeSet<PatchVersion>>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT channel, version FROM channel_version")
            .fetch_all(connection)
            .await
            .map_err(database("read what was promoted"))?;
    let mut promoted: BTreeMap<ChannelName, BTreeSet<PatchVersion>> = BTreeMap::new();
    for (channel, version) in rows {
        let name = parse(TABLE, "channel", &channel)?;
        let version = parse(TABLE, "version", &version)?;
        promoted.entry(name).or_default().insert(version);
    }
    Ok(promoted)
}

struct Change<'a> {
    version: PatchVersion,
    channel: &'a ChannelName,
    by: &'a Actor,
    now: Timestamp,
}

impl Change<'_> {
    async fn promote(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO channel_version (channel, version, promoted_ms, promoted_by)
             VALUES ($1, $2, $3, $4) ON CONFLICT (channel, version) DO NOTHING",
        )
        .bind(self.channel.as_str())
        .bind(self.version.to_string())
        .bind(self.now.as_millisecond())
        .bind(self.by.to_string())
        .execute(&mut *connection)
        .await
        .map_err(database("promote a version"))?;
        self.audit(connection, done.rows_affected(), Action::PromoteVersion)
            .await
    }

    async fn demote(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM channel_version WHERE channel = $1 AND version = $2")
            .bind(self.channel.as_str())
            .bind(self.version.to_string())
            .execute(&mut *connection)
            .await
            .map_err(database("take a version out of a channel"))?;
        self.audit(connection, done.rows_affected(), Action::DemoteVersion)
            .await
    }

    async fn audit(
        &self,
        connection: &mut Connection,
        rows: u64,
        action: Action,
    ) -> Result<(), StoreError> {
        if rows == 0 {
            return Ok(());
        }
        let line = AuditEntry {
            at: self.now,
            actor: self.by.clone(),
            action,
            account: None,
            subject: Subject::Channel(self.channel.clone()),
            reason: Some(self.version.to_string()),
        };
        audit::add(connection, line).await
    }
}
