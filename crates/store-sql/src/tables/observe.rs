//! Counts what came in since a rollout's last look.
//!
//! All is read from one state of the database. What it costs, with a million machines: one scan
//! of table `machine`, one of the rollout's exposures with their machines, and one of its
//! findings. With half of them exposed it took ten seconds on two busy cores, on a connection
//! that keeps nobody from writing. Check-ins scan nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::{
    Applications, Comparison, Eligible, Fleet, Harm, Published, Stratum, Tick, Unit,
};
use suture_store::{Observation, Rollout, StoreError};

use super::dialect::{Connection, each_text, is_covered};
use super::finding::FINISHED;
use super::kernels;
use crate::column::{database, to_json};

/// What the statements of one count share.
struct Question<'a> {
    rollout: &'a Rollout,
    id: String,
    /// Covered kernel builds, as JSON.
    kernels: String,
    /// Milliseconds since 1970, all of them.
    now: i64,
    since: i64,
    /// Machines heard of after this are live.
    live: i64,
    /// Since when the service has not been away.
    back: i64,
    /// The last finding that was counted before, and the last one there is.
    counted: i64,
    seen: i64,
    silence: i64,
}

/// Key of what is compared: the harm, and the side.
type Side = (Harm, bool);

/// Numbers by stratum.
type ByStratum = BTreeMap<Stratum, i64>;

pub async fn observe(
    connection: &mut Connection,
    rollout: &Rollout,
    published: &[Published],
    now: Timestamp,
) -> Result<Observation, StoreError> {
    let question = Question::new(&mut *connection, rollout, published, now).await?;
    let machines = question.machines(&mut *connection).await?;
    let exposures = question.exposures(&mut *connection).await?;
    let fallen = question.fallen(&mut *connection).await?;
    let mut fell = question.fell(&mut *connection).await?;
    fell.extend(question.fell_silent(&mut *connection).await?);
    let early = question.early(&mut *connection).await?;
    Ok(Observation {
        tick: question.tick(&machines, &exposures, &fallen, &fell),
        fleet: question.fleet(&machines, &exposures, early),
        seen: unsigned(question.seen),
    })
}

/// Covered machines of one stratum.
#[derive(FromRow)]
struct MachinesRow {
    paid: bool,
    steady: bool,
    live: i64,
    /// Live ones that were heard of since the service is back.
    hearable: i64,
    applied: i64,
    under_patch: i64,
}

/// Exposures of machines of one stratum; released ones have the stratum of nobody.
#[derive(FromRow)]
struct ExposuresRow {
    paid: bool,
    steady: bool,
    exposed: i64,
    due: i64,
    heard: i64,
    /// Still enrolled, and not both live and covered: those are counted already.
    others: i64,
    live: i64,
    covered_live: i64,
    covered_hearable: i64,
    /// Live, heard of since the service is back, and exposed long enough to be able to fall
    /// silent.
    hearable: i64,
}

/// Machines that fell, of one harm, side and stratum.
#[derive(FromRow)]
struct FellRow {
    kind: String,
    exposed: bool,
    paid: bool,
    steady: bool,
    machines: i64,
}

impl FellRow {
    fn stratum(&self) -> Stratum {
        Stratum {
            paid: self.paid,
            steady: self.steady,
        }
    }

    fn is(&self, side: Side, stratum: Stratum) -> bool {
        let (harm, exposed) = side;
        self.kind == harm.as_str() && self.exposed == exposed && self.stratum() == stratum
    }
}

fn sum(rows: &[FellRow], side: Side, stratum: Stratum) -> i64 {
    let of_both = rows.iter().filter(|row| row.is(side, stratum));
    of_both.map(|row| row.machines).sum()
}

impl<'a> Question<'a> {
    async fn new(
        connection: &mut Connection,
        rollout: &'a Rollout,
        published: &[Published],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let id = rollout.id.to_string();
        let (back, counted, seen): (i64, i64, i64) = sqlx::query_as(
            "SELECT back_ms, seen,
                 (SELECT coalesce(max(number), 0) FROM finding WHERE rollout_id = $1)
             FROM rollout WHERE id = $1",
        )
        .bind(&id)
        .fetch_optional(connection)
        .await
        .map_err(database("find a rollout"))?
        .ok_or(StoreError::UnknownRollout { id: rollout.id })?;
        let since = rollout.looked_at.unwrap_or(rollout.created);
        // A clock that was set back makes an empty time, not one that is counted twice.
        let now = now.as_millisecond().max(since.as_millisecond());
        let since = since.as_millisecond();
        let away = now - since > Rollout::AWAY_SECS * 1000;
        let silence = milliseconds(rollout.plan.silence_secs);
        Ok(Self {
            rollout,
            id,
            kernels: kernels::covered(&rollout.scope, published)?,
            now,
            since,
            live: now - silence,
            back: if away { now } else { back },
            counted,
            seen,
            silence,
        })
    }

    /// Exposed before this, a machine is at risk of falling silent: one check-in before the first
    /// moment at which it can, since a silence is three check-ins at least.
    fn settled(&self) -> i64 {
        self.now - self.silence / 3 * 2
    }

    async fn machines(&self, connection: &mut Connection) -> Result<Vec<MachinesRow>, StoreError> {
        sqlx::query_as(concat!(
            "SELECT a.plan <> 'free' AS paid,
                 coalesce(m.checked_in_ms - m.steady_since_ms >= $2, FALSE) AS steady,
                 count(*) FILTER (WHERE m.checked_in_ms > $3) AS live,
                 count(*) FILTER (WHERE m.checked_in_ms > $3 AND m.checked_in_ms >= $4) AS hearable,
                 count(*) FILTER (WHERE m.applied = $5) AS applied,
                 count(*) FILTER (WHERE m.applied = $5 AND m.checked_in_ms > $3) AS under_patch
             FROM machine m JOIN account a ON a.id = m.account_id
             WHERE ",
            is_covered!("$1"),
            " GROUP BY 1, 2"
        ))
        .bind(&self.kernels)
        .bind(Stratum::STEADY_SECS * 1000)
        .bind(self.live)
        .bind(self.back)
        .bind(self.rollout.scope.version.to_string())
        .fetch_all(connection)
        .await
        .map_err(database("count machines"))
    }

    async fn exposures(
        &self,
        connection: &mut Connection,
    ) -> Result<Vec<ExposuresRow>, StoreError> {
        sqlx::query_as(concat!(
            "SELECT paid, steady, count(*) AS exposed, count(*) FILTER (WHERE due) AS due,
                 count(*) FILTER (WHERE due AND CASE WHEN enrolled THEN live AND later
                     ELSE gone END) AS heard,
                 count(*) FILTER (WHERE enrolled AND NOT (live AND covered)) AS others,
                 count(*) FILTER (WHERE live) AS live,
                 count(*) FILTER (WHERE live AND covered) AS covered_live,
                 count(*) FILTER (WHERE hearable AND covered) AS covered_hearable,
                 count(*) FILTER (WHERE hearable AND settled) AS hearable
             FROM (
                 SELECT coalesce(a.plan <> 'free', FALSE) AS paid,
                     coalesce(m.checked_in_ms - m.steady_since_ms >= $3, FALSE) AS steady,
                     m.machine_id IS NOT NULL AS enrolled,
                     coalesce(",
            is_covered!("$2"),
            ", FALSE) AS covered,
                     coalesce(m.checked_in_ms > $4, FALSE) AS live,
                     coalesce(m.checked_in_ms > $4 AND m.checked_in_ms >= $5, FALSE) AS hearable,
                     coalesce(m.checked_in_ms > e.exposed_ms, FALSE) AS later,
                     e.left_ms IS NOT NULL AS gone,
                     e.exposed_ms <= $6 AS due,
                     e.exposed_ms <= $7 AS settled
                 FROM exposure e
                 LEFT JOIN machine m
                     ON m.account_id = e.account_id AND m.machine_id = e.machine_id
                 LEFT JOIN account a ON a.id = m.account_id
                 WHERE e.rollout_id = $1
             ) AS exposed_machine GROUP BY 1, 2"
        ))
        .bind(&self.id)
        .bind(&self.kernels)
        .bind(Stratum::STEADY_SECS * 1000)
        .bind(self.live)
        .bind(self.back)
        .bind(self.now - milliseconds(self.rollout.plan.signal_secs))
        .bind(self.settled())
        .fetch_all(connection)
        .await
        .map_err(database("count exposures"))
    }

    /// Machines that would be at risk, had they not fallen so at some time; on the side on which
    /// they are now.
    async fn fallen(&self, connection: &mut Connection) -> Result<Vec<FellRow>, StoreError> {
        sqlx::query_as(concat!(
            "SELECT f.kind, e.rollout_id IS NOT NULL AS exposed, a.plan <> 'free' AS paid,
                 m.checked_in_ms - m.steady_since_ms >= $3 AS steady, count(*) AS machines
             FROM finding f
             JOIN machine m ON m.account_id = f.account_id AND m.machine_id = f.machine_id
             JOIN account a ON a.id = m.account_id
             LEFT JOIN exposure e ON e.account_id = f.account_id
                 AND e.machine_id = f.machine_id AND e.rollout_id = f.rollout_id
             WHERE f.rollout_id = $1 AND f.kind IN ('crash', 'kernel-trouble', 'silence')
                 AND m.checked_in_ms > $4
                 AND (e.rollout_id IS NOT NULL OR ",
            is_covered!("$2"),
            ")
                 AND (f.kind <> 'silence'
                     OR m.checked_in_ms >= $5 AND (e.rollout_id IS NULL OR e.exposed_ms <= $6))
             GROUP BY 1, 2, 3, 4"
        ))
        .bind(&self.id)
        .bind(&self.kernels)
        .bind(Stratum::STEADY_SECS * 1000)
        .bind(self.live)
        .bind(self.back)
        .bind(self.settled())
        .fetch_all(connection)
        .await
        .map_err(database("count machines that fell"))
    }

    /// What was told since the last look.
    async fn fell(&self, connection: &mut Connection) -> Result<Vec<FellRow>, StoreError> {
        sqlx::query_as(
            "SELECT kind, exposed, paid, steady, count(*) AS machines FROM finding
             WHERE rollout_id = $1 AND number > $2 AND number <= $3 AND kind <> 'silence'
             GROUP BY 1, 2, 3, 4",
        )
        .bind(&self.id)
        .bind(self.counted)
        .bind(self.seen)
        .fetch_all(connection)
        .await
        .map_err(database("count what machines told"))
    }

    /// Machines that fell silent since the last look, whether they came back since or not. Of
    /// each account's, the first of each hour counts where accounts are drawn.
    async fn fell_silent(&self, connection: &mut Connection) -> Result<Vec<FellRow>, StoreError> {
        let burst = Rollout::BURST_SECS * 1000;
        let hour = self.since - self.since.rem_euclid(burst);
        let accounts = self.rollout.plan.early_group.unit == Unit::Account;
        sqlx::query_as(concat!(
            "WITH fall AS (
                 SELECT account_id, machine_id, exposed, paid, steady, at_ms AS fell_ms
                 FROM finding WHERE rollout_id = $1 AND kind = 'silence'
                     AND at_ms >= $4 AND at_ms <= $5
                 UNION ALL
                 SELECT m.account_id, m.machine_id, e.rollout_id IS NOT NULL,
                     a.plan <> 'free', m.checked_in_ms - m.steady_since_ms >= $3,
                     m.checked_in_ms + $6
                 FROM machine m JOIN account a ON a.id = m.account_id
                 LEFT JOIN exposure e ON e.account_id = m.account_id
                     AND e.machine_id = m.machine_id AND e.rollout_id = $1
                 WHERE m.checked_in_ms >= $4 - $6 AND m.checked_in_ms <= $5 - $6
                     AND m.checked_in_ms >= $7
                     AND (e.rollout_id IS NOT NULL OR ",
            is_covered!("$2"),
            ")
                     AND NOT EXISTS (
                         SELECT 1 FROM finding f WHERE f.rollout_id = $1
                             AND f.account_id = m.account_id AND f.machine_id = m.machine_id
                             AND f.kind = 'silence')
             )
             SELECT 'silence' AS kind, exposed, paid, steady, count(*) AS machines
             FROM (
                 SELECT *, row_number() OVER (
                     PARTITION BY account_id, fell_ms / $9
                     ORDER BY fell_ms, machine_id) AS place
                 FROM fall) AS placed
             WHERE fell_ms > $8 AND (place = 1 OR NOT $10)
             GROUP BY 2, 3, 4"
        ))
        .bind(&self.id)
        .bind(&self.kernels)
        .bind(Stratum::STEADY_SECS * 1000)
        .bind(hour)
        .bind(self.now)
        .bind(self.silence)
        .bind(self.back)
        .bind(self.since)
        .bind(burst)
        .bind(accounts)
        .fetch_all(connection)
        .await
        .map_err(database("count silent machines"))
    }

    /// Members of the early group in the population; see [`suture_rollout::Course::is_early`].
    async fn early(&self, connection: &mut Connection) -> Result<i64, StoreError> {
        let group = &self.rollout.plan.early_group;
        // Whoever could not be heard of for long enough is not taken for gone: else the service
        // would leave the early group out when it comes back.
        let lately = self.now - self.back < self.silence;
        let live = if lately { 0 } else { self.live };
        sqlx::query_scalar(concat!(
            "WITH chosen AS (
                 SELECT m.account_id, m.machine_id FROM drawn d
                 JOIN machine m ON m.account_id = d.account_id
                     AND (d.machine_id = '' OR m.machine_id = d.machine_id)
                 JOIN account a ON a.id = m.account_id
                 WHERE d.rollout_id = $1 AND (a.plan = 'free' OR $5)
                     AND (d.machine_id = '' OR m.created_ms <= $6)
                 UNION
                 SELECT m.account_id, m.machine_id FROM account a
                 JOIN machine m ON m.account_id = a.id WHERE a.early = 'always'
                 UNION
                 SELECT m.account_id, m.machine_id FROM machine m
                 WHERE m.group_name IN ",
            each_text!("$3"),
            ")
             SELECT count(*) FROM chosen c
             JOIN machine m ON m.account_id = c.account_id AND m.machine_id = c.machine_id
             JOIN account a ON a.id = m.account_id
             LEFT JOIN exposure e ON e.account_id = m.account_id
                 AND e.machine_id = m.machine_id AND e.rollout_id = $1
             WHERE a.early <> 'never'
                 AND (m.group_name IS NULL
                     OR m.group_name NOT IN ",
            each_text!("$4"),
            ")
                 AND (e.rollout_id IS NOT NULL OR m.checked_in_ms > $7 AND ",
            is_covered!("$2"),
            ")"
        ))
        .bind(&self.id)
        .bind(&self.kernels)
        .bind(to_json(&group.always)?)
        .bind(to_json(&group.never)?)
        .bind(group.eligible == Eligible::Everyone)
        .bind(self.rollout.draw.at.as_millisecond())
        .bind(live)
        .fetch_one(connection)
        .await
        .map_err(database("count the early group"))
    }

    fn tick(
        &self,
        machines: &[MachinesRow],
        exposures: &[ExposuresRow],
        fallen: &[FellRow],
        fell: &[FellRow],
    ) -> Tick {
        let at_risk = at_risk(machines, exposures);
        let pairs = Harm::COMPARED
            .into_iter()
            .flat_map(|harm| Stratum::ALL.map(|stratum| (harm, stratum)));
        let compared = pairs.filter_map(|(harm, stratum)| {
            let standing = |exposed| {
                let there = at_risk.get(&(harm, exposed))?.get(&stratum).copied();
                Some(there.unwrap_or(0) - sum(fallen, (harm, exposed), stratum))
            };
            let side = |exposed| {
                let fell = sum(fell, (harm, exposed), stratum);
                let there = standing(exposed).unwrap_or(0).max(0);
                (unsigned(there + fell), unsigned(fell))
            };
            let ((exposed_at_risk, exposed_fell), (control_at_risk, control_fell)) =
                (side(true), side(false));
            let row = Comparison {
                harm,
                stratum,
                exposed_at_risk,
                control_at_risk,
                exposed_fell,
                control_fell,
            };
            (exposed_at_risk + control_at_risk > 0).then_some(row)
        });
        let told = |kind: &str| {
            let rows = fell.iter().filter(|row| row.exposed && row.kind == kind);
            unsigned(rows.map(|row| row.machines).sum())
        };
        Tick {
            at: Timestamp::from_millisecond(self.now).unwrap_or(self.rollout.created),
            elapsed_secs: (self.now - self.since) as f64 / 1000.0,
            compared: compared.collect(),
            applications: Applications {
                finished: told(FINISHED),
                failed: told(Harm::ApplyFailure.as_str()),
                stalled: told(Harm::Stall.as_str()),
            },
            patch_trouble: told(Harm::PatchTrouble.as_str()),
            under_patch: unsigned(machines.iter().map(|row| row.under_patch).sum()),
        }
    }

    fn fleet(&self, machines: &[MachinesRow], exposures: &[ExposuresRow], early: i64) -> Fleet {
        let of_machines = |of: fn(&MachinesRow) -> i64| machines.iter().map(of).sum::<i64>();
        let of_exposures = |of: fn(&ExposuresRow) -> i64| exposures.iter().map(of).sum::<i64>();
        Fleet {
            population: unsigned(of_machines(|row| row.live) + of_exposures(|row| row.others)),
            early: unsigned(early),
            exposed: unsigned(of_exposures(|row| row.exposed)),
            due: unsigned(of_exposures(|row| row.due)),
            heard: unsigned(of_exposures(|row| row.heard)),
            applied: unsigned(of_machines(|row| row.applied)),
        }
    }
}

/// Machines at risk by harm, side and stratum, whether or not they fell before.
fn at_risk(machines: &[MachinesRow], exposures: &[ExposuresRow]) -> BTreeMap<Side, ByStratum> {
    let mut at_risk = BTreeMap::<Side, ByStratum>::new();
    let mut add = |side: Side, stratum: Stratum, number: i64| {
        *at_risk.entry(side).or_default().entry(stratum).or_default() += number;
    };
    for row in machines {
        let stratum = Stratum {
            paid: row.paid,
            steady: row.steady,
        };
        add((Harm::Crash, false), stratum, row.live);
        add((Harm::KernelTrouble, false), stratum, row.live);
        add((Harm::Silence, false), stratum, row.hearable);
    }
    for row in exposures {
        let stratum = Stratum {
            paid: row.paid,
            steady: row.steady,
        };
        for harm in [Harm::Crash, Harm::KernelTrouble] {
            add((harm, true), stratum, row.live);
            add((harm, false), stratum, -row.covered_live);
        }
        add((Harm::Silence, true), stratum, row.hearable);
        add((Harm::Silence, false), stratum, -row.covered_hearable);
    }
    at_risk
}

/// A century is the most that a plan can mean.
fn milliseconds(seconds: u64) -> i64 {
    const CENTURY: u64 = 100 * 365 * 24 * 3600;
    seconds.min(CENTURY) as i64 * 1000
}

/// A count; none is ever negative.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
