//! Table `channel_version`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::ChannelName;
use suture_store::{
    Action, Actor, AuditEntry, Channel, ChannelChange, ChannelStore, InconsistentRow, Promotion,
    StoreError, Subject,
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

    async fn change_channel(
        &self,
        wanted: &ChannelChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| change(connection, wanted, by, now))
    }
}

#[derive(FromRow)]
struct PromotionRow {
    channel: String,
    version: String,
    promoted_ms: i64,
    promoted_by: String,
}

/// All channels that have versions, by their names.
pub async fn all(connection: &mut Connection) -> Result<Vec<Channel>, StoreError> {
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

async fn change(
    connection: &mut Connection,
    change: &ChannelChange,
    by: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (channel, version) = (change.channel.as_str(), change.version.to_string());
    let (statement, action) = if change.promoted {
        let promote = sqlx::query(
            "INSERT INTO channel_version (channel, version, promoted_ms, promoted_by)
             VALUES ($1, $2, $3, $4) ON CONFLICT (channel, version) DO NOTHING",
        );
        let promote = promote.bind(channel).bind(version.clone());
        let promote = promote.bind(now.as_millisecond()).bind(by.to_string());
        (promote, Action::PromoteVersion)
    } else {
        let demote = sqlx::query("DELETE FROM channel_version WHERE channel = $1 AND version = $2");
        let demote = demote.bind(channel).bind(version.clone());
        (demote, Action::DemoteVersion)
    };
    let done = statement
        .execute(&mut *connection)
        .await
        .map_err(database("change a channel"))?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    let line = AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: None,
        subject: Subject::Channel(change.channel.clone()),
        reason: Some(version),
    };
    audit::add(connection, line).await
}
