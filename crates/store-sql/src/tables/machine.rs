//! Table `machine`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_kernel::KernelBuild;
use suture_protocol::{HardwareId, MachineId};
use suture_store::{
    Account, AccountId, AccountToken, Action, Actor, AuditEntry, Enrolment, GroupName,
    InconsistentRow, LastCheckIn, Machine, MachineSecret, NewMachine, ReportedState, SecretHash,
    StoreError, Subject, TokenId,
};

use super::course::Courses;
use super::dialect::Connection;
use super::{account, audit, check_in, exposure, replaced, token};
use crate::column::{database, parse, parse_option, time};

const TABLE: &str = "machine";

/// The columns of [`MachineRow`], after a statement's own words.
macro_rules! with_columns {
    ($before:literal, $after:expr) => {
        concat!(
            $before,
            " account_id, machine_id, hostname, release, architecture, build_id, agent_version,
              token_id, created_ms, enrolled_ms, group_name, over_limit, replaced_by, boots, steady_since_ms, checked_in_ms,
              boot_id, boot_ms, state, applied, failure ",
            $after
        )
    };
}

pub(crate) use with_columns;

/// A machine's row; its texts are its own, or are read where the row has them.
#[derive(FromRow)]
pub struct MachineRow<T = String> {
    account_id: T,
    machine_id: T,
    hostname: T,
    release: T,
    architecture: T,
    build_id: T,
    agent_version: T,
    token_id: T,
    created_ms: i64,
    enrolled_ms: i64,
    group_name: Option<T>,
    over_limit: bool,
    replaced_by: Option<T>,
    boots: T,
    steady_since_ms: i64,
    #[sqlx(flatten)]
    check_in: CheckInColumns<T>,
}

/// The latest check-in; all null before the first.
#[derive(FromRow)]
struct CheckInColumns<T> {
    checked_in_ms: Option<i64>,
    boot_id: Option<T>,
    boot_ms: Option<i64>,
    state: Option<T>,
    applied: Option<T>,
    failure: Option<T>,
}

impl<T: AsRef<str>> TryFrom<MachineRow<T>> for Machine {
    type Error = InconsistentRow;

    fn try_from(row: MachineRow<T>) -> Result<Self, InconsistentRow> {
        Ok(Self {
            account: parse(TABLE, "account_id", row.account_id.as_ref())?,
            id: parse(TABLE, "machine_id", row.machine_id.as_ref())?,
            hostname: parse(TABLE, "hostname", row.hostname.as_ref())?,
            kernel: KernelBuild {
                release: parse(TABLE, "release", row.release.as_ref())?,
                architecture: parse(TABLE, "architecture", row.architecture.as_ref())?,
                build_id: parse(TABLE, "build_id", row.build_id.as_ref())?,
            },
            agent_version: parse(TABLE, "agent_version", row.agent_version.as_ref())?,
            token: parse(TABLE, "token_id", row.token_id.as_ref())?,
            created: time(TABLE, "created_ms", row.created_ms)?,
            enrolled: time(TABLE, "enrolled_ms", row.enrolled_ms)?,
            group: parse_option(TABLE, "group_name", text(&row.group_name))?,
            over_limit: row.over_limit,
            replaced_by: parse_option(TABLE, "replaced_by", text(&row.replaced_by))?,
            boots: parse(TABLE, "boots", row.boots.as_ref())?,
            steady_since: time(TABLE, "steady_since_ms", row.steady_since_ms)?,
            last_check_in: row.check_in.try_into()?,
        })
    }
}

impl<T: AsRef<str>> TryFrom<CheckInColumns<T>> for Option<LastCheckIn> {
    type Error = InconsistentRow;

    fn try_from(row: CheckInColumns<T>) -> Result<Self, InconsistentRow> {
        let Some(checked_in_ms) = row.checked_in_ms else {
            return Ok(None);
        };
        let state =
            ReportedState::from_parts(text(&row.state).unwrap_or_default(), text(&row.failure));
        Ok(Some(LastCheckIn {
            at: time(TABLE, "checked_in_ms", checked_in_ms)?,
            boot_id: parse(TABLE, "boot_id", text(&row.boot_id).unwrap_or_default())?,
            boot_time: time(
                TABLE,
                "boot_ms",
                row.boot_ms
                    .ok_or_else(|| InconsistentRow::new(TABLE, "boot_ms", "it is null"))?,
            )?,
            state: state.ok_or_else(|| InconsistentRow::new(TABLE, "state", "no such state"))?,
            applied: parse_option(TABLE, "applied", text(&row.applied))?,
        }))
    }
}

fn text<T: AsRef<str>>(column: &Option<T>) -> Option<&str> {
    column.as_ref().map(AsRef::as_ref)
}

/// Enrols a machine, or gives an enrolled one a new secret. The caller's transaction holds the
/// write lock, so what is counted here stays true until it commits.
pub async fn enrol(
    connection: &mut Connection,
    courses: &Courses,
    token: &AccountToken,
    new: &NewMachine,
    now: Timestamp,
) -> Result<Enrolment, StoreError> {
    let grant = token::authenticate(&mut *connection, token).await?;
    let before = find(&mut *connection, grant.account.id, &new.id).await?;
    let renewed = before.is_some();
    let replaced = match &before {
        Some(before) => {
            // Its last check-in is forgotten below; a silence since then is not.
            check_in::end_silence(&mut *connection, courses, before, now).await?;
            None
        }
        None => {
            let replaced = replaced::take_place(&mut *connection, &grant.account, new, now).await?;
            check_limit(&mut *connection, &grant.account).await?;
            replaced
        }
    };
    let secret = MachineSecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    let of = (grant.account.id, grant.token.id);
    let machine = upsert(&mut *connection, of, new, secret.hash(), now).await?;
    let action = if renewed {
        Action::RenewMachine
    } else {
        Action::EnrolMachine
    };
    let by = Actor::Token(grant.token.id);
    let line = AuditEntry {
        reason: replaced
            .as_ref()
            .map(|old| format!("installed anew, was {}", old.id)),
        ..line(&machine, action, &by, now)
    };
    audit::add(&mut *connection, line).await?;
    if before.is_some_and(|before| before.replaced_by.is_some()) {
        compare_with_limit(&mut *connection, grant.account.id).await?;
    }
    let machine = match replaced.and_then(|old| old.group) {
        Some(group) => {
            let id = &machine.id;
            set_group(connection, grant.account.id, id, Some(&group), &by, now).await?
        }
        None => machine,
    };
    Ok(Enrolment {
        machine,
        secret,
        plan: grant.account.plan,
        renewed,
    })
}

/// See [`mark_over_limit`], with the limit that the account has.
pub async fn compare_with_limit(
    connection: &mut Connection,
    account: AccountId,
) -> Result<(), StoreError> {
    let limit = account::by_id(&mut *connection, account)
        .await?
        .machine_limit();
    mark_over_limit(connection, account, limit).await
}

/// The audit log's line of a change to a machine.
fn line(machine: &Machine, action: Action, by: &Actor, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: Some(machine.account),
        subject: Subject::Machine(machine.id.clone()),
        reason: None,
    }
}

async fn find(
    connection: &mut Connection,
    account: AccountId,
    machine: &MachineId,
) -> Result<Option<Machine>, StoreError> {
    let row: Option<MachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM machine WHERE account_id = $1 AND machine_id = $2"
    ))
    .bind(account.to_string())
    .bind(machine.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find a machine"))?;
    Ok(row.map(Machine::try_from).transpose()?)
}

async fn check_limit(connection: &mut Connection, account: &Account) -> Result<(), StoreError> {
    let Some(limit) = account.machine_limit() else {
        return Ok(());
    };
    let enrolled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM machine WHERE account_id = $1 AND replaced_by IS NULL",
    )
    .bind(account.id.to_string())
    .fetch_one(connection)
    .await
    .map_err(database("count machines"))?;
    if enrolled < i64::from(limit) {
        Ok(())
    } else {
        Err(StoreError::MachineLimit {
            plan: account.plan,
            limit,
        })
    }
}

/// Marks the machines of an account that exceed its limit, those that came last, and takes the
/// mark from all others.
pub async fn mark_over_limit(
    connection: &mut Connection,
    account: AccountId,
    limit: Option<u32>,
) -> Result<(), StoreError> {
    let statements = [
        "UPDATE machine SET over_limit = FALSE
         WHERE account_id = $1 AND over_limit AND machine_id IN
             (SELECT m.machine_id FROM machine m WHERE m.account_id = $1 AND m.replaced_by IS NULL
              ORDER BY m.created_ms, m.machine_id LIMIT $2)",
        "UPDATE machine SET over_limit = TRUE
         WHERE account_id = $1 AND NOT over_limit AND replaced_by IS NULL AND machine_id NOT IN
             (SELECT m.machine_id FROM machine m WHERE m.account_id = $1 AND m.replaced_by IS NULL
              ORDER BY m.created_ms, m.machine_id LIMIT $2)",
    ];
    let limit = limit.map_or(i64::MAX, i64::from);
    for statement in statements {
        sqlx::query(statement)
            .bind(account.to_string())
            .bind(limit)
            .execute(&mut *connection)
            .await
            .map_err(database("compare machines with the limit"))?;
    }
    Ok(())
}

/// A machine that goes makes room for one that exceeded the limit.
async fn let_in(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    let waiting: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM machine WHERE account_id = $1 AND over_limit)",
    )
    .bind(account.to_string())
    .fetch_one(&mut *connection)
    .await
    .map_err(database("find machines over the limit"))?;
    if !waiting {
        return Ok(());
    }
    compare_with_limit(connection, account).await
}

async fn upsert(
    connection: &mut Connection,
    (account, token): (AccountId, TokenId),
    new: &NewMachine,
    secret: SecretHash,
    now: Timestamp,
) -> Result<Machine, StoreError> {
    let row: MachineRow = sqlx::query_as(with_columns!(
        "INSERT INTO machine (account_id, machine_id, hostname, release, architecture, build_id,
             agent_version, token_id, secret_sha256, created_ms, enrolled_ms, steady_since_ms,
             hardware)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10, $12)
         ON CONFLICT (account_id, machine_id) DO UPDATE SET
             hostname = excluded.hostname, release = excluded.release,
             architecture = excluded.architecture, build_id = excluded.build_id,
             agent_version = excluded.agent_version, token_id = excluded.token_id,
             secret_sha256 = excluded.secret_sha256, enrolled_ms = excluded.enrolled_ms,
             steady_since_ms = CASE
                 WHEN $10 - coalesce(machine.checked_in_ms, machine.enrolled_ms) > $11 THEN $10
                 ELSE machine.steady_since_ms END,
             checked_in_ms = NULL, boot_id = NULL, boot_ms = NULL, state = NULL,
             applied = NULL, failure = NULL, boots = '', hardware = excluded.hardware,
             replaced_by = NULL
         RETURNING",
        ""
    ))
    .bind(account.to_string())
    .bind(new.id.as_str())
    .bind(new.hostname.as_str())
    .bind(new.kernel.release.as_str())
    .bind(new.kernel.architecture.as_str())
    .bind(new.kernel.build_id.as_str())
    .bind(new.agent_version.as_str())
    .bind(token.to_string())
    .bind(secret.as_bytes().as_slice())
    .bind(now.as_millisecond())
    .bind(Machine::SILENCE_SECS * 1000)
    .bind(new.hardware.as_ref().map(HardwareId::as_str))
    .fetch_one(connection)
    .await
    .map_err(database("enrol a machine"))?;
    Ok(row.try_into()?)
}

pub async fn authenticate(
    connection: &mut Connection,
    secret: &MachineSecret,
) -> Result<Machine, StoreError> {
    let row: Option<MachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM machine WHERE secret_sha256 = $1"
    ))
    .bind(secret.hash().as_bytes().as_slice())
    .fetch_optional(connection)
    .await
    .map_err(database("find a machine"))?;
    Ok(row.ok_or(StoreError::UnknownMachine)?.try_into()?)
}

/// Puts a machine into a group, or out of any.
pub async fn set_group(
    connection: &mut Connection,
    account: AccountId,
    machine: &MachineId,
    group: Option<&GroupName>,
    by: &Actor,
    now: Timestamp,
) -> Result<Machine, StoreError> {
    let row: Option<MachineRow> = sqlx::query_as(with_columns!(
        "UPDATE machine SET group_name = $3 WHERE account_id = $1 AND machine_id = $2 RETURNING",
        ""
    ))
    .bind(account.to_string())
    .bind(machine.as_str())
    .bind(group.map(GroupName::as_str))
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("change a machine's group"))?;
    let unknown = || StoreError::UnknownMachineId {
        account,
        machine: machine.clone(),
    };
    let changed = Machine::try_from(row.ok_or_else(unknown)?)?;
    let line = AuditEntry {
        reason: Some(group.map_or("none", GroupName::as_str).to_owned()),
        ..line(&changed, Action::ChangeMachineGroup, by, now)
    };
    audit::add(connection, line).await?;
    Ok(changed)
}

/// See [`suture_store::Store::split_machine`].
pub async fn split(
    connection: &mut Connection,
    secret: &MachineSecret,
    id: &MachineId,
    now: Timestamp,
) -> Result<Enrolment, StoreError> {
    let shared = authenticate(&mut *connection, secret).await?;
    let account = account::by_id(&mut *connection, shared.account).await?;
    let known = find(&mut *connection, account.id, id).await?;
    let renewed = known.is_some();
    if *id == shared.id || !renewed && !shared.boots.are_of_copies() {
        return Err(StoreError::NotCopied);
    }
    if !renewed {
        check_limit(&mut *connection, &account).await?;
    }
    let new = NewMachine {
        id: id.clone(),
        hostname: shared.hostname.clone(),
        kernel: shared.kernel.clone(),
        agent_version: shared.agent_version.clone(),
        // Copies of a virtual machine may have the same, and are known to be several.
        hardware: None,
    };
    let own = MachineSecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    let of = (account.id, shared.token);
    let machine = upsert(&mut *connection, of, &new, own.hash(), now).await?;
    let by = Actor::Machine(shared.id.clone());
    let line = AuditEntry {
        reason: Some(format!("told apart from {}", shared.id)),
        ..line(&machine, Action::EnrolMachine, &by, now)
    };
    audit::add(&mut *connection, line).await?;
    let machine = match &shared.group {
        Some(group) => set_group(&mut *connection, account.id, id, Some(group), &by, now).await?,
        None => machine,
    };
    keep_boots_of_others(connection, &shared).await?;
    Ok(Enrolment {
        machine,
        secret: own,
        plan: account.plan,
        renewed,
    })
}

/// Of a machine whose last boot has become another one.
async fn keep_boots_of_others(
    connection: &mut Connection,
    shared: &Machine,
) -> Result<(), StoreError> {
    let Some(last) = &shared.last_check_in else {
        return Ok(());
    };
    sqlx::query("UPDATE machine SET boots = $3 WHERE account_id = $1 AND machine_id = $2")
        .bind(shared.account.to_string())
        .bind(shared.id.as_str())
        .bind(shared.boots.without(&last.boot_id).to_string())
        .execute(connection)
        .await
        .map_err(database("tell machines apart"))?;
    Ok(())
}

pub async fn release_self(
    connection: &mut Connection,
    secret: &MachineSecret,
    now: Timestamp,
) -> Result<Machine, StoreError> {
    let machine = authenticate(&mut *connection, secret).await?;
    exposure::leave(&mut *connection, &machine, now).await?;
    let by = Actor::Machine(machine.id.clone());
    release(connection, machine.account, &machine.id, &by, now).await
}

pub async fn release(
    connection: &mut Connection,
    account: AccountId,
    machine: &MachineId,
    by: &Actor,
    now: Timestamp,
) -> Result<Machine, StoreError> {
    remove(connection, account, machine, by, None, now).await
}

async fn remove(
    connection: &mut Connection,
    account: AccountId,
    machine: &MachineId,
    by: &Actor,
    reason: Option<String>,
    now: Timestamp,
) -> Result<Machine, StoreError> {
    let row: Option<MachineRow> = sqlx::query_as(with_columns!(
        "DELETE FROM machine WHERE account_id = $1 AND machine_id = $2 RETURNING",
        ""
    ))
    .bind(account.to_string())
    .bind(machine.as_str())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("release a machine"))?;
    let unknown = || StoreError::UnknownMachineId {
        account,
        machine: machine.clone(),
    };
    let released = Machine::try_from(row.ok_or_else(unknown)?)?;
    let line = AuditEntry {
        reason,
        ..line(&released, Action::ReleaseMachine, by, now)
    };
    audit::add(&mut *connection, line).await?;
    if !released.over_limit {
        let_in(connection, account).await?;
    }
    Ok(released)
}

/// A machine's account and its id.
pub type Key = (String, String);

/// Machines that were not heard of since then, at most so many. It reads the whole table, which
/// nobody who writes should wait for.
pub async fn silent(
    connection: &mut Connection,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    sqlx::query_as(
        "SELECT account_id, machine_id FROM machine
         WHERE coalesce(checked_in_ms, enrolled_ms) < $1
         ORDER BY account_id, machine_id LIMIT $2",
    )
    .bind(since.as_millisecond())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(database("find silent machines"))
}

/// Releases those of the machines that were not heard of meanwhile either.
pub async fn release_silent(
    connection: &mut Connection,
    machines: &[Key],
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Machine>, StoreError> {
    let mut rows: Vec<MachineRow> = Vec::with_capacity(machines.len());
    for (account, machine) in machines {
        let row = sqlx::query_as(with_columns!(
            "SELECT",
            "FROM machine WHERE account_id = $1 AND machine_id = $2
                 AND coalesce(checked_in_ms, enrolled_ms) < $3"
        ))
        .bind(account)
        .bind(machine)
        .bind(since.as_millisecond())
        .fetch_optional(&mut *connection)
        .await
        .map_err(database("find silent machines"))?;
        rows.extend(row);
    }
    release_each(connection, rows, now).await
}

/// Releases these machines, and says in the audit log since when each was not heard of.
pub(super) async fn release_each(
    connection: &mut Connection,
    rows: Vec<MachineRow>,
    now: Timestamp,
) -> Result<Vec<Machine>, StoreError> {
    let mut released = Vec::with_capacity(rows.len());
    for row in rows {
        let machine = Machine::try_from(row)?;
        let heard = machine.last_check_in.as_ref().map(|report| report.at);
        let heard = heard.unwrap_or(machine.enrolled);
        let why = Some(match &machine.replaced_by {
            Some(new) => format!("installed anew as {new}, not heard of since {heard}"),
            None => format!("not heard of since {heard}"),
        });
        let (account, id) = (machine.account, &machine.id);
        let gone = remove(&mut *connection, account, id, &Actor::Service, why, now).await?;
        released.push(gone);
    }
    Ok(released)
}

pub async fn of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Vec<Machine>, StoreError> {
    account::by_id(&mut *connection, account).await?;
    let rows: Vec<MachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM machine WHERE account_id = $1 ORDER BY hostname, machine_id"
    ))
    .bind(account.to_string())
    .fetch_all(connection)
    .await
    .map_err(database("list machines"))?;
    Ok(rows
        .into_iter()
        .map(Machine::try_from)
        .collect::<Result<_, _>>()?)
}
