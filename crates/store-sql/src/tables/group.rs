//! Table `group_policy`, and the groups that machines are in.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::{GroupPolicy, GroupRules};
use suture_store::{
    Action, Actor, AuditEntry, Group, GroupName, GroupStore, InconsistentRow, StoreError, Subject,
};

use super::dialect::{self, Connection, Database};
use super::{audit, channel};
use crate::column::{count, database, json, parse, to_json};

const TABLE: &str = "group_policy";

#[async_trait]
impl GroupStore for Database {
    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        all(&mut *self.read().await?).await
    }

    async fn set_group_policy(
        &self,
        name: &GroupName,
        policy: &GroupPolicy,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| set(connection, name, policy, by, now))
    }
}

#[derive(FromRow)]
struct GroupRow {
    name: String,
    machines: i64,
    policy: Option<String>,
}

impl TryFrom<GroupRow> for Group {
    type Error = InconsistentRow;

    fn try_from(row: GroupRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            name: parse(TABLE, "group_name", &row.name)?,
            machines: count("machine", "count", row.machines)?,
            policy: read(row.policy.as_deref())?,
        })
    }
}

/// None: the policy that says nothing.
fn read(policy: Option<&str>) -> Result<GroupPolicy, InconsistentRow> {
    Ok(policy
        .map(|policy| json(TABLE, "policy", policy))
        .transpose()?
        .unwrap_or_default())
}

async fn all(connection: &mut Connection) -> Result<Vec<Group>, StoreError> {
    let rows: Vec<GroupRow> = sqlx::query_as(
        "SELECT n.name, n.machines, p.policy
         FROM (SELECT g.name, max(g.machines) AS machines
               FROM (SELECT group_name AS name, count(*) AS machines FROM machine
                     WHERE group_name IS NOT NULL GROUP BY group_name
                     UNION ALL SELECT group_name, 0 FROM group_policy) g
               GROUP BY g.name) n
         LEFT JOIN group_policy p ON p.group_name = n.name
         ORDER BY n.name",
    )
    .fetch_all(connection)
    .await
    .map_err(database("list groups"))?;
    let groups = rows.into_iter().map(Group::try_from);
    Ok(groups.collect::<Result<_, _>>()?)
}

/// What the machines of each group that has a policy wait for. Those are few: operators write
/// them by hand.
pub async fn rules(
    connection: &mut Connection,
) -> Result<HashMap<GroupName, GroupRules>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT group_name, policy FROM group_policy")
        .fetch_all(&mut *connection)
        .await
        .map_err(database("read the groups' policies"))?;
    let policy = |(name, policy): (String, String)| {
        Ok::<_, InconsistentRow>((parse(TABLE, "group_name", &name)?, read(Some(&policy))?))
    };
    let policies: Vec<(GroupName, GroupPolicy)> =
        rows.into_iter().map(policy).collect::<Result<_, _>>()?;
    let channels = match policies.iter().any(|(_, policy)| policy.channel.is_some()) {
        true => channel::all(connection).await?,
        false => Vec::new(),
    };
    let rules = |(name, policy): (GroupName, GroupPolicy)| {
        let mut channels = channels.iter();
        let followed = channels.find(|channel| policy.channel.as_ref() == Some(&channel.name));
        let promotions = followed.map_or(&[][..], |channel| &channel.promotions);
        let promoted = promotions.iter().map(|it| it.version).collect();
        (name, GroupRules { policy, promoted })
    };
    Ok(policies.into_iter().map(rules).collect())
}

async fn set(
    connection: &mut Connection,
    name: &GroupName,
    policy: &GroupPolicy,
    by: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let said = to_json(policy)?;
    let statement = if policy.is_empty() {
        sqlx::query("DELETE FROM group_policy WHERE group_name = $1").bind(name.as_str())
    } else {
        sqlx::query(
            "INSERT INTO group_policy (group_name, policy) VALUES ($1, $2)
             ON CONFLICT (group_name) DO UPDATE SET policy = excluded.policy",
        )
        .bind(name.as_str())
        .bind(said.clone())
    };
    statement
        .execute(&mut *connection)
        .await
        .map_err(database("set a group's policy"))?;
    let line = AuditEntry {
        at: now,
        actor: by.clone(),
        action: Action::ChangeGroupPolicy,
        account: None,
        subject: Subject::Group(name.clone()),
        reason: Some(said),
    };
    audit::add(connection, line).await
}
