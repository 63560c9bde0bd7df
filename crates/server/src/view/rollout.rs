//! The whole picture of a rollout as data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_rollout::{Fleet, RolloutId, Verdict};
use suture_store::{ExposedMachine, KeptEvent, PastLook, Rollout};
use utoipa::ToSchema;

use super::state::sentence;
use super::{
    Audience, DrawView, EventView, EvidenceCurve, ExposedMachineView, HarmRow, PlanView,
    RolloutState, StepView,
};

/// A rollout, with all that its page shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    #[serde(flatten)]
    pub summary: RolloutSummary,
    /// When this view was made.
    #[schema(value_type = String)]
    pub now: Timestamp,
    pub plan: PlanView,
    pub steps: Vec<StepView>,
    /// `continue`, `hold` or `halt`; none before the first look.
    #[schema(value_type = Option<Object>)]
    pub verdict: Option<Verdict>,
    pub evidence: EvidenceCurve,
    pub harms: Vec<HarmRow>,
    pub draw: DrawView,
    /// The latest first.
    pub events: Vec<EventView>,
    /// Exposed machines, the latest first; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machines: Option<Vec<ExposedMachineView>>,
}

/// A rollout in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutSummary {
    #[schema(value_type = String)]
    pub id: RolloutId,
    #[schema(value_type = String, example = "105.1")]
    pub version: PatchVersion,
    /// None: all kernel builds for which the version is published move together.
    #[schema(value_type = Option<Object>)]
    pub kernel: Option<KernelBuild>,
    /// Name of the plan.
    pub plan_name: String,
    pub state: RolloutState,
    /// Where it stands and why, for people.
    pub sentence: String,
    /// Step that runs or at which it was stopped, from 1; none before and after all steps.
    pub step: Option<usize>,
    /// Number of steps.
    pub of_steps: usize,
    pub counts: Counts,
    /// Evidence for harm at the last look.
    pub evidence_now: f64,
    /// Evidence at which it halts.
    pub halts_at: f64,
    #[schema(value_type = String)]
    pub created: Timestamp,
    #[schema(value_type = Option<String>)]
    pub looked_at: Option<Timestamp>,
    pub looks: u32,
}

/// Machines, counted at the last look; `exposed` is as of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Machines that the rollout covers.
    pub population: u64,
    /// Of them, members of the early group.
    pub early: u64,
    /// Machines that were offered the version, ever.
    pub exposed: u64,
    /// The others.
    pub waiting: u64,
    /// Machines in which the version is in force.
    pub applied: u64,
    /// Exposed machines that have had time to show a problem.
    pub due: u64,
    /// Of those, heard of since and lately.
    pub heard: u64,
}

impl Counts {
    fn new(rollout: &Rollout, looks: &[PastLook]) -> Self {
        let fleet = looks.last().map_or(Fleet::default(), |look| look.fleet);
        let exposed = rollout.exposed.max(fleet.exposed);
        let population = fleet.population.max(exposed);
        Self {
            population,
            early: fleet.early,
            exposed,
            waiting: population - exposed,
            applied: fleet.applied,
            due: fleet.due,
            heard: fleet.heard,
        }
    }
}

impl RolloutSummary {
    /// `looks` may be the last one alone.
    pub fn new(rollout: &Rollout, looks: &[PastLook]) -> Self {
        let counts = Counts::new(rollout, looks);
        let steps = StepView::table(rollout, looks, counts.population);
        let at = steps.iter().find(|step| {
            matches!(
                step.state,
                super::StepState::Now | super::StepState::Stopped
            )
        });
        Self {
            id: rollout.id,
            version: rollout.scope.version,
            kernel: rollout.scope.kernel.clone(),
            plan_name: rollout.plan.name.clone(),
            state: RolloutState::of(rollout),
            sentence: sentence(rollout),
            step: at.map(|step| step.number),
            of_steps: steps.len(),
            counts,
            evidence_now: super::finite(rollout.ledger.evidence().total),
            halts_at: 1.0 / rollout.plan.alpha,
            created: rollout.created,
            looked_at: rollout.looked_at,
            looks: rollout.looks,
        }
    }
}

impl RolloutView {
    /// `looks` are in order, `exposed` and `events` the latest first. What an audience may not
    /// see is left out here, whatever is given.
    pub fn new(
        rollout: &Rollout,
        looks: &[PastLook],
        exposed: &[ExposedMachine],
        events: &[KeptEvent],
        now: Timestamp,
        audience: Audience,
    ) -> Self {
        let summary = RolloutSummary::new(rollout, looks);
        let machines = || exposed.iter().map(ExposedMachineView::new).collect();
        Self {
            now,
            plan: PlanView::new(&rollout.plan),
            steps: StepView::table(rollout, looks, summary.counts.population),
            verdict: rollout
                .decision
                .as_ref()
                .map(|decision| decision.verdict.clone()),
            evidence: EvidenceCurve::new(rollout, looks),
            harms: HarmRow::table(&rollout.ledger, &rollout.plan),
            draw: DrawView::new(rollout),
            events: events
                .iter()
                .map(|event| EventView::new(event, audience))
                .collect(),
            machines: (audience == Audience::Operator).then(machines),
            summary,
        }
    }
}

#[cfg(test)]
mod tests {
    use suture_rollout::{HaltedBy, Phase};

    use super::*;
    use crate::view::StepState;
    use crate::view::sample::Sample;

    fn view(sample: &Sample, audience: Audience) -> RolloutView {
        RolloutView::new(
            &sample.rollout,
            &sample.looks,
            &[sample.machine()],
            &[sample.event()],
            sample.now(),
            audience,
        )
    }

    #[test]
    fn everyone_sees_numbers_and_operators_see_names() {
        let sample = Sample::after(12, 0);
        let public = serde_json::to_string(&view(&sample, Audience::Public)).unwrap();
        assert!(public.contains("\"exposed\":12"), "{public}");
        assert!(public.contains("had a kernel oops that names the patch"));
        for hidden in ["secret-host", "000000000000004d", "hostname", "page fault"] {
            assert!(!public.contains(hidden), "{hidden}: {public}");
        }
        let operator = serde_json::to_string(&view(&sample, Audience::Operator)).unwrap();
        for shown in ["secret-host", "000000000000004d", "page fault"] {
            assert!(operator.contains(shown), "{shown}: {operator}");
        }
        let read: RolloutView = serde_json::from_str(&operator).unwrap();
        assert_eq!(read.machines.unwrap().len(), 1);
    }

    #[test]
    fn the_seed_is_shown_only_when_it_is_over() {
        let mut sample = Sample::after(3, 0);
        let seed = sample.rollout.seed.reveal();
        let shown = |sample: &Sample| serde_json::to_string(&view(sample, Audience::Operator));
        assert!(!shown(&sample).unwrap().contains(&seed));
        sample.rollout.phase = Phase::Complete { at: sample.now() };
        assert!(shown(&sample).unwrap().contains(&seed));
    }

    #[test]
    fn steps_tell_how_far_it_came() {
        // Two hours, then some of the second step.
        let sample = Sample::after(20, 0);
        let view = view(&sample, Audience::Public);
        let states: Vec<StepState> = view.steps.iter().map(|step| step.state).collect();
        assert_eq!(
            states[..3],
            [StepState::Done, StepState::Now, StepState::Later]
        );
        assert_eq!((view.steps[0].exposed, view.steps[0].cap), (12, Some(12)));
        assert_eq!(view.steps[1].exposed, sample.rollout.exposed);
        assert!(view.steps[0].started < view.steps[1].started);
        assert_eq!((view.steps[6].cap, view.steps[6].started), (None, None));
    }

    #[test]
    fn a_halt_by_evidence_says_so_in_every_part() {
        let sample = Sample::after(30, 3);
        let view = view(&sample, Audience::Public);
        assert_eq!(view.summary.state, RolloutState::Halted);
        assert!(
            view.summary.sentence.contains("went down uncleanly"),
            "{}",
            view.summary.sentence
        );
        assert!(view.evidence.peak >= view.evidence.halt_at);
        let crash = &view.harms[0];
        let (exposed, control) = (crash.exposed.unwrap(), crash.control.unwrap());
        assert!(exposed.interval.low > control.interval.high, "{crash:?}");
        let stopped = view
            .steps
            .iter()
            .filter(|step| step.state == StepState::Stopped);
        assert_eq!(stopped.count(), 1);
    }

    #[test]
    fn what_a_person_said_is_not_covered_by_an_older_look() {
        let mut sample = Sample::after(3, 0);
        let halted = sample.rollout.phase.clone().halt(
            sample.now(),
            HaltedBy::Operator,
            "Reports of hanging mounts".to_owned(),
        );
        sample.rollout.phase = halted.unwrap();
        let summary = view(&sample, Audience::Public).summary;
        assert_eq!(
            summary.sentence,
            "Halted by an operator: Reports of hanging mounts"
        );
        sample.rollout.phase = sample
            .rollout
            .phase
            .clone()
            .resume(sample.now(), 7)
            .unwrap();
        let summary = view(&sample, Audience::Public).summary;
        assert_eq!(summary.state, RolloutState::Running);
        assert_eq!(summary.sentence, "Step 1 runs; its first look is to come");
    }

    #[test]
    fn evidence_beyond_all_numbers_is_still_json() {
        let mut sample = Sample::after(30, 3);
        let evidence = |look: &mut PastLook| look.decision.evidence.total = f64::INFINITY;
        sample.looks.iter_mut().for_each(evidence);
        let json = serde_json::to_string(&view(&sample, Audience::Public)).unwrap();
        let read: RolloutView = serde_json::from_str(&json).unwrap();
        assert_eq!(read.evidence.latest(), f64::MAX);
    }
}
