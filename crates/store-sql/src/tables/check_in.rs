//! A check-in: report, events, answer, in one transaction.

use jiff::Timestamp;
use suture_protocol::{EventKind, MachineEvent};
use suture_rollout::{
    Candidate, Choice, Course, GroupPolicy, Harm, Offer, Phase, Published, RolloutId, Stratum,
    Unit, choose,
};
use suture_store::{
    Account, Answer, CheckIn, Machine, MachineSecret, Plan, Sign, StoreError, shortened,
};

use super::course::{Courses, KnownCourse};
use super::dialect::Connection;
use super::finding::{self, FINISHED, Finding};
use super::{account, event, exposure, group, kernels, machine, silence};

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

pub async fn check_in(
    connection: &mut Connection,
    courses: &Courses,
    secret: &MachineSecret,
    check_in: &CheckIn,
    events: &[MachineEvent],
    published: &[Published],
    now: Timestamp,
) -> Result<Answer, StoreError> {
    let before = machine::authenticate(&mut *connection, secret).await?;
    let account = account::by_id(&mut *connection, before.account).await?;
    let known = courses.load(&mut *connection).await?;
    let exposed_by = exposure::of_machine(&mut *connection, &before).await?;

    // Before the report changes what is known of the machine.
    let teller = Teller {
        machine: &before,
        stratum: finding::stratum(&before, account.plan != Plan::Free),
        now,
    };
    let trials = trials(&known, &before, &exposed_by, published);
    silence::end(&mut *connection, &teller, &trials).await?;
    for told in events.iter().take(EventKind::MAX_EVENTS) {
        let told = shortened(told.clone());
        take_event(&mut *connection, &teller, &trials, &told).await?;
    }

    let machine = machine::report(&mut *connection, &before, check_in, now).await?;
    let policy = match &machine.group {
        Some(name) => group::policy(&mut *connection, name).await?,
        None => GroupPolicy::default(),
    };
    let asker = Asker {
        account: &account,
        machine: &machine,
        exposed_by: &exposed_by,
        policy,
        now,
    };
    let choice = choice(&asker, check_in, published, &known);
    if let Some(rollout) = choice.exposes {
        exposure::add(connection, &machine, rollout, choice.early, now).await?;
    }
    let goal = match &choice.offer {
        Offer::Version { version } => Some(*version),
        Offer::UpToDate | Offer::NotYet | Offer::NotCovered => check_in.applied,
    };
    Ok(Answer {
        account,
        machine,
        choice,
        goal,
    })
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

/// What is known of a machine that asks where to go.
struct Asker<'a> {
    account: &'a Account,
    machine: &'a Machine,
    exposed_by: &'a [RolloutId],
    policy: GroupPolicy,
    now: Timestamp,
}

fn choice(
    asker: &Asker<'_>,
    check_in: &CheckIn,
    published: &[Published],
    known: &[KnownCourse],
) -> Choice {
    let (account, machine) = (asker.account, asker.machine);
    let account_id = account.id.to_string();
    let candidate = Candidate {
        kernel: &check_in.kernel,
        applied: check_in.applied,
        account: &account_id,
        account_created: account.created,
        paid: account.plan != Plan::Free,
        preference: account.early,
        machine: machine.id.as_str(),
        machine_created: machine.created,
        group: machine.group.as_ref().map(|group| group.as_str()),
        exposed_by: asker.exposed_by,
        over_limit: machine.over_limit,
        policy: asker.policy,
        now: asker.now,
    };
    let courses: Vec<Course> = known.iter().map(|known| known.course.clone()).collect();
    choose(&candidate, published, &courses)
}
