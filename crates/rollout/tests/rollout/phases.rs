use suture_rollout::{HaltedBy, Phase};

use crate::support::{hours, monday};

fn halt(phase: Phase) -> Result<Phase, suture_rollout::InvalidPhase> {
    phase.halt(hours(5), HaltedBy::Operator, "a customer called".to_owned())
}

fn each() -> [Phase; 5] {
    let planned = Phase::Planned { starts: monday() };
    let running = planned.clone().start(monday()).unwrap();
    [
        planned,
        running.clone(),
        halt(running.clone()).unwrap(),
        running.clone().complete(hours(3)).unwrap(),
        running.withdraw(hours(3), "it crashes".to_owned()).unwrap(),
    ]
}

/// Which of the five phases has which edge.
#[test]
fn edges_are_those_of_the_picture() {
    let at = hours(6);
    let can = |edge: &dyn Fn(Phase) -> bool| each().map(edge);
    assert_eq!(
        can(&|phase| phase.start(at).is_ok()),
        [true, false, false, false, false]
    );
    assert_eq!(
        can(&|phase| phase.widen(at).is_ok()),
        [false, true, false, false, false]
    );
    assert_eq!(
        can(&|phase| phase.complete(at).is_ok()),
        [false, true, false, false, false]
    );
    assert_eq!(
        can(&|phase| phase.resume(at, 7).is_ok()),
        [false, false, true, false, false]
    );
    assert_eq!(
        can(&|phase| halt(phase).is_ok()),
        [true, true, false, true, false]
    );
    assert_eq!(
        can(&|phase| phase.withdraw(at, String::new()).is_ok()),
        [true, true, true, true, false]
    );
}

#[test]
fn a_resumed_rollout_soaks_its_step_anew() {
    let running = Phase::Running {
        step: 3,
        since: monday(),
    };
    let resumed = halt(running).unwrap().resume(hours(9), 7).unwrap();
    assert_eq!(
        resumed,
        Phase::Running {
            step: 3,
            since: hours(9)
        }
    );
}

#[test]
fn a_complete_rollout_that_was_halted_resumes_with_the_last_step() {
    let complete = Phase::Complete { at: monday() };
    let resumed = halt(complete).unwrap().resume(hours(9), 7).unwrap();
    assert_eq!(
        resumed,
        Phase::Running {
            step: 6,
            since: hours(9)
        }
    );
}

#[test]
fn a_phase_reads_back_from_json() {
    for phase in each() {
        let json = serde_json::to_string(&phase).unwrap();
        assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
    }
}

#[test]
fn only_what_is_over_reveals_its_seed() {
    assert_eq!(
        each().map(|phase| phase.is_over()),
        [false, false, false, true, true]
    );
}
