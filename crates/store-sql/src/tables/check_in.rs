//! Check-ins: reports, events, answers, many in one transaction.
//!
//! What a batch needs is read by a few statements, each check-in is decided in turn with what those
//! before it changed, and what they change is written by one statement for each table. The cap of
//! a rollout holds, because its count is read and written in the batch's transaction and grows in
//! between. Should the database refuse a batch for what is in it, each of its check-ins is tried
//! alone, so that none fails for another's sake.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use suture_protocol::{EventKind, MachineEvent};
use suture_rollout::{
    Candidate, Choice, Course, GroupRules, Harm, Offer, Phase, Published, RolloutId, Stratum, Unit,
    choose,
};
use suture_store::{
    AccountId, Answer, CheckIn, GroupName, Machine, Plan, SecretHash, Sign, StoreError, shortened,
};

use super::caller::{self, Caller};
use super::course::{Courses, KnownCourse};
use super::dialect::{self, Connection, Database};
use super::exposure::{self, Exposure};
use super::finding::{self, FINISHED, Finding};
use super::heard::Heard;
use super::{account, event, group, kernels, machine, silence};
use crate::group_commit::Job;

/// A rollout to which a machine's news matter, and the machine's part in it before this
/// check-in.
pub struct Trial<'a> {
    pub known: &'a KnownCourse,
    /// Exposed by this rollout.
    pub exposed: bool,
}

/// A machine before its check-in.
pub struct Teller<'a> {
    pub machine: &'a Machine,
    pub stratum: Stratum,
    pub now: Timestamp,
}

/// A check-in as it waits for its transaction.
#[derive(Debug)]
pub struct Report {
    pub secret: SecretHash,
    pub check_in: CheckIn,
    pub events: Vec<MachineEvent>,
    pub published: Arc<[Published]>,
    pub now: Timestamp,
}

impl Job for Box<Report> {
    type Key = [u8; 32];
    type Answer = Answer;

    fn key(&self) -> [u8; 32] {
        *self.secret.as_bytes()
    }
}

/// Takes check-ins of different machines, in a transaction of their own, which is committed and not
/// yet settled. A check-in that none may make is refused by itself.
#[expect(clippy::vec_box, reason = "queue and batch move them")]
pub async fn together(
    database: Database,
    batch: Vec<Box<Report>>,
) -> Vec<Result<Answer, StoreError>> {
    match try_together(&database, &batch).await {
        Ok(answers) => answers,
        Err(error) if batch.len() > 1 && is_about_one(&error) => {
            let mut answers = Vec::with_capacity(batch.len());
            for report in &batch {
                let alone = try_together(&database, std::slice::from_ref(report)).await;
                answers.extend(alone.unwrap_or_else(|error| vec![Err(error)]));
            }
            answers
        }
        Err(error) => for_each(&batch, error),
    }
}

/// Whether one check-in's values, or its machine's row, are what is wrong.
fn is_about_one(error: &StoreError) -> bool {
    matches!(error, StoreError::InconsistentRow(_)) || dialect::is_about_data(error)
}

async fn try_together(
    database: &Database,
    batch: &[Box<Report>],
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    unsettled!(database, |connection| check_ins(
        connection,
        &database.courses,
        batch
    ))
}

/// The same error for all.
fn for_each(batch: &[Box<Report>], error: StoreError) -> Vec<Result<Answer, StoreError>> {
    let shared = Arc::new(error);
    let one = |_| {
        Err(StoreError::Database {
            doing: "record check-ins",
            source: Arc::clone(&shared).into(),
        })
    };
    batch.iter().map(one).collect()
}

/// What all check-ins of a batch are decided by.
struct Known {
    courses: Vec<KnownCourse>,
    rules: HashMap<GroupName, GroupRules>,
}

/// What the check-ins of a batch change, to be written together.
struct Changes {
    /// With the exposures of this batch counted, so that the cap holds within it.
    courses: Vec<Course>,
    heard: Heard,
    exposures: Vec<Exposure>,
    /// Of machines that had been replaced and live.
    have_more: BTreeSet<AccountId>,
}

/// As many statements for many as for one, but for their events: each of those is rare.
async fn check_ins(
    connection: &mut Connection,
    courses: &Courses,
    batch: &[Box<Report>],
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    let mut callers = caller::find(&mut *connection, batch).await?;
    let grouped = callers
        .values()
        .any(|caller| caller.machine.group.is_some());
    let known = Known {
        courses: courses.load(&mut *connection).await?,
        rules: match grouped {
            true => group::rules(&mut *connection).await?,
            false => HashMap::new(),
        },
    };
    let of_rollouts = known.courses.iter().map(|known| known.course.clone());
    let mut changes = Changes {
        courses: of_rollouts.collect(),
        heard: Heard::default(),
        exposures: Vec::new(),
        have_more: BTreeSet::new(),
    };
    let mut answers = Vec::with_capacity(batch.len());
    for report in batch {
        answers.push(match callers.remove(report.secret.as_bytes()) {
            None => Err(StoreError::UnknownMachine),
            Some(caller) => {
                Ok(check_in(&mut *connection, &known, caller, report, &mut changes).await?)
            }
        });
    }
    changes.heard.write(&mut *connection).await?;
    exposure::add(&mut *connection, &changes.exposures).await?;
    for account in changes.have_more {
        machine::compare_with_limit(&mut *connection, account).await?;
    }
    Ok(answers)
}

async fn check_in(
    connection: &mut Connection,
    known: &Known,
    mut caller: Caller,
    report: &Report,
    changes: &mut Changes,
) -> Result<Answer, StoreError> {
    let Report { check_in, now, .. } = report;
    // Before the report changes what is known of the machine.
    let teller = Teller {
        machine: &caller.machine,
        stratum: finding::stratum(&caller.machine, caller.account.plan != Plan::Free),
        now: *now,
    };
    let trials = trials(
        &known.courses,
        &caller.machine,
        &caller.exposed_by,
        &report.published,
    );
    silence::end(&mut *connection, &teller, &trials).await?;
    for told in report.events.iter().take(EventKind::MAX_EVENTS) {
        let told = shortened(told.clone());
        take_event(&mut *connection, &teller, &trials, &told).await?;
    }

    let was_replaced = caller.machine.replaced_by.is_some();
    let is_news = Arc::make_mut(&mut caller.machine).hear(check_in, *now);
    let group = caller.machine.group.as_ref();
    let rules = group
        .and_then(|name| known.rules.get(name))
        .unwrap_or(GroupRules::NONE);
    let choice = choice(&caller, report, rules, &changes.courses);
    let Caller {
        machine, account, ..
    } = caller;
    if let Some(rollout) = choice.exposes {
        changes.expose(&machine, rollout, choice.early, *now);
    }
    if was_replaced {
        changes.have_more.insert(machine.account);
    }
    changes.heard.add(&machine, is_news);
    let goal = match &choice.offer {
        Offer::Version { version } => Some(*version),
        Offer::UpToDate | Offer::NotYet | Offer::NotCovered => check_in.applied,
    };
    Ok(Answer {
        account,
        machine,
        choice,
        goal,
        channel: rules.policy.channel.clone(),
    })
}

impl Changes {
    /// Exposes a machine, and counts it for those that come after it.
    fn expose(&mut self, machine: &Machine, rollout: RolloutId, early: bool, now: Timestamp) {
        for course in &mut self.courses {
            course.exposed += u64::from(course.id == rollout);
        }
        self.exposures.push(Exposure {
            account: machine.account,
            machine: machine.id.clone(),
            rollout,
            early,
            at: now,
        });
    }
}

/// Keeps the silence of a machine whose last check-in is about to be forgotten.
pub async fn end_silence(
    connection: &mut Connection,
    courses: &Courses,
    machine: &Machine,
    now: Timestamp,
) -> Result<(), StoreError> {
    let account = account::by_id(&mut *connection, machine.account).await?;
    let known = courses.load(&mut *connection).await?;
    let exposed_by = exposure::of_machine(&mut *connection, machine).await?;
    let teller = Teller {
        machine,
        stratum: finding::stratum(machine, account.plan != Plan::Free),
        now,
    };
    // Of exposed machines alone: for which kernel builds a version is published is not known
    // here, and a finding of a machine that is not covered must not count.
    let trials: Vec<_> = known
        .iter()
        .filter(|known| exposed_by.contains(&known.course.id))
        .map(|known| Trial {
            known,
            exposed: true,
        })
        .collect();
    silence::end(connection, &teller, &trials).await
}

/// The kernel that counts is the one before: a machine may come back with another after it
/// went down.
fn trials<'a>(
    known: &'a [KnownCourse],
    before: &Machine,
    exposed_by: &[RolloutId],
    published: &[Published],
) -> Vec<Trial<'a>> {
    known
        .iter()
        .map(|known| Trial {
            known,
            exposed: exposed_by.contains(&known.course.id),
        })
        .filter(|trial| {
            let course = &trial.known.course;
            let covered = || kernels::covers(&course.scope, &before.kernel, published);
            trial.exposed || !course.phase.is_over() && covered()
        })
        .collect()
}

/// Keeps an event and what it says to each rollout; nothing if it is known by its id.
async fn take_event(
    connection: &mut Connection,
    teller: &Teller<'_>,
    trials: &[Trial<'_>],
    told: &MachineEvent,
) -> Result<(), StoreError> {
    let added = event::add(&mut *connection, teller, told).await?;
    let Some(number) = added else {
        return Ok(());
    };
    for trial in trials {
        let course = &trial.known.course;
        let about = told.kind.version() == Some(course.scope.version);
        if !course.phase.is_over() || about {
            event::link(&mut *connection, number, trial, &told.kind).await?;
        }
        if let Some(sign) = Sign::of(&told.kind, course.scope.version)
            && !is_another_s_doing(sign, trial, trials)
        {
            take_sign(&mut *connection, teller, trial, sign).await?;
        }
    }
    Ok(())
}

/// A machine that a later version's rollout exposed is that one's to answer for: what is compared
/// says nothing more of an earlier version there.
fn is_another_s_doing(sign: Sign, trial: &Trial<'_>, trials: &[Trial<'_>]) -> bool {
    let compared = matches!(sign, Sign::Harm(harm) if Harm::COMPARED.contains(&harm));
    compared && is_superseded(trial, trials)
}

pub fn is_superseded(trial: &Trial<'_>, trials: &[Trial<'_>]) -> bool {
    let version = trial.known.course.scope.version;
    trials
        .iter()
        .any(|other| other.exposed && other.known.course.scope.version > version)
}

async fn take_sign(
    connection: &mut Connection,
    teller: &Teller<'_>,
    trial: &Trial<'_>,
    sign: Sign,
) -> Result<(), StoreError> {
    let course = &trial.known.course;
    let (kind, compared) = match sign {
        Sign::Finished => (FINISHED, false),
        Sign::Harm(harm) => (harm.as_str(), Harm::COMPARED.contains(&harm)),
    };
    let ends = matches!(
        sign,
        Sign::Finished | Sign::Harm(Harm::ApplyFailure | Harm::Stall)
    );
    // What is not compared is judged on exposed machines alone.
    let mut counts = trial.exposed || compared;
    if ends && trial.exposed {
        let machine = teller.machine;
        counts = exposure::end_application(&mut *connection, machine, course.id, kind).await?;
    }
    if !counts || !matches!(course.phase, Phase::Running { .. }) {
        return Ok(());
    }
    let finding = Finding {
        rollout: course.id,
        machine: teller.machine,
        kind,
        exposed: trial.exposed,
        stratum: teller.stratum,
        at: teller.now,
        once_for_account: compared && course.plan.early_group.unit == Unit::Account,
    };
    finding::add(connection, &finding).await
}

fn choice(caller: &Caller, report: &Report, rules: &GroupRules, courses: &[Course]) -> Choice {
    let machine = &caller.machine;
    let account = machine.account.to_string();
    let candidate = Candidate {
        kernel: &report.check_in.kernel,
        applied: report.check_in.applied,
        account: &account,
        account_created: caller.account.created,
        paid: caller.account.plan != Plan::Free,
        preference: caller.account.early,
        machine: machine.id.as_str(),
        machine_created: machine.created,
        group: machine.group.as_ref().map(|group| group.as_str()),
        exposed_by: &caller.exposed_by,
        over_limit: machine.over_limit,
        rules,
        now: report.now,
    };
    choose(&candidate, &report.published, courses)
}
