//! Table `rollout`.

use aws_lc_rs::rand;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_kernel::KernelBuild;
use suture_rollout::cohort::Seed;
use suture_rollout::{HaltedBy, InvalidPhase, Ledger, Phase, RolloutId, Scope};
use suture_store::{
    Action, Actor, AuditEntry, HandChange, InconsistentRow, NewRollout, Rollout, StoreError,
    Subject,
};

use super::dialect::Connection;
use super::{audit, draw};
use crate::column::{count, database, json, parse, time, to_json};

pub const TABLE: &str = "rollout";

/// The columns of a [`Scope`].
#[derive(FromRow)]
pub struct ScopeColumns {
    version: String,
    release: Option<String>,
    architecture: Option<String>,
    build_id: Option<String>,
}

impl TryFrom<ScopeColumns> for Scope {
    type Error = InconsistentRow;

    fn try_from(row: ScopeColumns) -> Result<Self, InconsistentRow> {
        let kernel = match (&row.release, &row.architecture, &row.build_id) {
            (Some(release), Some(architecture), Some(build_id)) => Some(KernelBuild {
                release: parse(TABLE, "release", release)?,
                architecture: parse(TABLE, "architecture", architecture)?,
                build_id: parse(TABLE, "build_id", build_id)?,
            }),
            _ => None,
        };
        Ok(Self {
            version: parse(TABLE, "version", &row.version)?,
            kernel,
        })
    }
}

#[derive(FromRow)]
struct RolloutRow {
    id: String,
    revision: i64,
    exposed: i64,
    cap: String,
    created_ms: i64,
    looked_ms: Option<i64>,
    looks: i64,
    #[sqlx(flatten)]
    scope: ScopeColumns,
    phase: String,
    seed: String,
    draw: String,
    plan: String,
    decision: Option<String>,
    ledger: String,
}

impl TryFrom<RolloutRow> for Rollout {
    type Error = InconsistentRow;

    fn try_from(row: RolloutRow) -> Result<Self, InconsistentRow> {
        let id = parse(TABLE, "id", &row.id)?;
        let seed: Seed = parse(TABLE, "seed", &row.seed)?;
        let looked = |at| time(TABLE, "looked_ms", at);
        let decision = |text: String| json(TABLE, "decision", &text);
        Ok(Self {
            id,
            scope: row.scope.try_into()?,
            plan: json(TABLE, "plan", &row.plan)?,
            phase: json(TABLE, "phase", &row.phase)?,
            commitment: seed.commitment(id),
            seed,
            draw: json(TABLE, "draw", &row.draw)?,
            cap: parse(TABLE, "cap", &row.cap)?,
            exposed: count(TABLE, "exposed", row.exposed)?,
            ledger: json(TABLE, "ledger", &row.ledger)?,
            decision: row.decision.map(decision).transpose()?,
            created: time(TABLE, "created_ms", row.created_ms)?,
            looked_at: row.looked_ms.map(looked).transpose()?,
            looks: count(TABLE, "looks", row.looks)?,
            revision: count(TABLE, "revision", row.revision)?,
        })
    }
}

pub async fn create(
    connection: &mut Connection,
    new: &NewRollout,
    by: &Actor,
    now: Timestamp,
) -> Result<Rollout, StoreError> {
    refuse_second(&mut *connection, &new.scope).await?;
    let id = RolloutId::from_random_bytes(random_bytes()?);
    let seed = Seed::from_random_bytes(random_bytes()?);
    let drawn = draw::draw(&mut *connection, id, &new.plan, &seed, now).await?;
    let kernel = new.scope.kernel.as_ref();
    sqlx::query(
        "INSERT INTO rollout (id, revision, exposed, cap, created_ms, back_ms, seen, looks,
             version, release, architecture, build_id, phase, seed, draw, plan, ledger)
         VALUES ($1, 0, 0, '0', $2, $2, 0, 0,
             $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(id.to_string())
    .bind(now.as_millisecond())
    .bind(new.scope.version.to_string())
    .bind(kernel.map(|kernel| kernel.release.as_str()))
    .bind(kernel.map(|kernel| kernel.architecture.as_str()))
    .bind(kernel.map(|kernel| kernel.build_id.as_str()))
    .bind(to_json(&Phase::Planned { starts: new.starts })?)
    .bind(seed.reveal())
    .bind(to_json(&drawn.draw)?)
    .bind(to_json(&new.plan)?)
    .bind(to_json(&Ledger::default())?)
    .execute(&mut *connection)
    .await
    .map_err(database("make a rollout"))?;
    drawn.keep(&mut *connection, id).await?;
    let line = AuditEntry {
        reason: Some(format!("plan {}", new.plan.name)),
        ..line(id, Action::CreateRollout, by, now)
    };
    audit::add(&mut *connection, line).await?;
    by_id(connection, id).await
}

fn random_bytes<const LEN: usize>() -> Result<[u8; LEN], StoreError> {
    let mut bytes = [0; LEN];
    rand::fill(&mut bytes).map_err(|_| StoreError::NoRandomBytes)?;
    Ok(bytes)
}

/// The audit log's line of a change to a rollout.
pub fn line(id: RolloutId, action: Action, by: &Actor, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: None,
        subject: Subject::Rollout(id),
        reason: None,
    }
}

#[derive(FromRow)]
struct CoveringRow {
    id: String,
    #[sqlx(flatten)]
    scope: ScopeColumns,
    phase: String,
}

/// Refuses if a rollout that is not withdrawn covers a kernel build of the scope.
async fn refuse_second(connection: &mut Connection, wanted: &Scope) -> Result<(), StoreError> {
    let rows: Vec<CoveringRow> = sqlx::query_as(
        "SELECT id, version, release, architecture, build_id, phase FROM rollout
         WHERE version = $1",
    )
    .bind(wanted.version.to_string())
    .fetch_all(connection)
    .await
    .map_err(database("list rollouts"))?;
    for row in rows {
        let scope = Scope::try_from(row.scope)?;
        let phase: Phase = json(TABLE, "phase", &row.phase)?;
        let overlap = match (&scope.kernel, &wanted.kernel) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        if overlap && !matches!(phase, Phase::Withdrawn { .. }) {
            let id = parse(TABLE, "id", &row.id)?;
            return Err(StoreError::RolloutExists { id, scope });
        }
    }
    Ok(())
}

const COLUMNS_BY_ID: &str = "SELECT id, revision, exposed, cap, created_ms, looked_ms, looks,
        version, release, architecture, build_id, phase, seed, draw, plan, decision, ledger
    FROM rollout WHERE id = $1";

const COLUMNS_OF_ALL: &str = "SELECT id, revision, exposed, cap, created_ms, looked_ms, looks,
        version, release, architecture, build_id, phase, seed, draw, plan, decision, ledger
    FROM rollout ORDER BY number DESC";

pub async fn by_id(connection: &mut Connection, id: RolloutId) -> Result<Rollout, StoreError> {
    let row: Option<RolloutRow> = sqlx::query_as(COLUMNS_BY_ID)
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(database("find a rollout"))?;
    Ok(row.ok_or(StoreError::UnknownRollout { id })?.try_into()?)
}

/// All rollouts, the newest first.
pub async fn all(connection: &mut Connection) -> Result<Vec<Rollout>, StoreError> {
    let rows: Vec<RolloutRow> = sqlx::query_as(COLUMNS_OF_ALL)
        .fetch_all(connection)
        .await
        .map_err(database("list rollouts"))?;
    let rollouts = rows.into_iter().map(Rollout::try_from);
    Ok(rollouts.collect::<Result<_, _>>()?)
}

/// Halts, resumes or withdraws by hand.
pub async fn change(
    connection: &mut Connection,
    id: RolloutId,
    change: &HandChange,
    by: &Actor,
    now: Timestamp,
) -> Result<Rollout, StoreError> {
    let rollout = by_id(&mut *connection, id).await?;
    let (phase, action, reason) =
        changed(&rollout, change, now).map_err(|source| StoreError::RolloutPhase { id, source })?;
    // Nobody more is exposed before the next look has said how many may be.
    sqlx::query(
        "UPDATE rollout SET phase = $2, cap = CAST(exposed AS TEXT), revision = revision + 1
         WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(to_json(&phase)?)
    .execute(&mut *connection)
    .await
    .map_err(database("change a rollout"))?;
    if matches!(change, HandChange::Resume { .. }) {
        begin_anew(&mut *connection, id, now).await?;
    }
    let line = AuditEntry {
        reason: Some(reason.clone()),
        ..line(id, action, by, now)
    };
    audit::add(&mut *connection, line).await?;
    by_id(connection, id).await
}

fn changed<'a>(
    rollout: &Rollout,
    change: &'a HandChange,
    now: Timestamp,
) -> Result<(Phase, Action, &'a String), InvalidPhase> {
    let phase = rollout.phase.clone();
    Ok(match change {
        HandChange::Halt { reason } => {
            let halted = phase.halt(now, HaltedBy::Operator, reason.clone())?;
            (halted, Action::HaltRollout, reason)
        }
        HandChange::Resume { reason } => {
            let resumed = phase.resume(now, rollout.plan.steps.len())?;
            (resumed, Action::ResumeRollout, reason)
        }
        HandChange::Withdraw { reason } => {
            let withdrawn = phase.withdraw(now, reason.clone())?;
            (withdrawn, Action::WithdrawRollout, reason)
        }
    })
}

/// A new ledger, and nothing counts that was told before: a person judged it.
async fn begin_anew(
    connection: &mut Connection,
    id: RolloutId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout SET ledger = $2, looked_ms = $3, back_ms = $3,
             seen = (SELECT coalesce(max(number), 0) FROM finding WHERE rollout_id = $1)
         WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(to_json(&Ledger::default())?)
    .bind(now.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("resume a rollout"))?;
    Ok(())
}
