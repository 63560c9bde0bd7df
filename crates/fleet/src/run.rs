//! One rollout, from its start to its halt or to everyone.

use std::sync::Arc;

use suture_rollout::Plan;

use crate::defect::Defect;
use crate::lottery::Lottery;
use crate::observer::{Enrolment, Observer};
use crate::policy::Policy;
use crate::population::Population;
use crate::time::{HOUR, Minute, START, timestamp};
use crate::world::{Background, World};

/// How long a run is followed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Minutes after the start at the latest.
    pub at_most: Minute,
    /// Minutes after the start at which it ends if everyone was reached by then.
    pub at_least: Minute,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Minutes from the start to the halt; none: never halted.
    pub halted: Option<Minute>,
    pub reason: Option<String>,
    /// Machines in the fleet.
    pub machines: u32,
    /// Machines exposed at the halt or at the end.
    pub exposed: u64,
    /// Machines hurt by the patch until then.
    pub hurt: u64,
    /// Minutes until 50, 95, 99 and 100% of the machines had been offered the version, of those
    /// heard of in the hour before.
    pub reached: [Option<Minute>; 4],
}

/// Shares of [`Outcome::reached`].
const SHARES: [f64; 4] = [0.5, 0.95, 0.99, 1.0];

/// The longest time between two check-ins of a machine that is on and whose network works, in
/// minutes.
const REACHABLE: Minute = HOUR + HOUR / 10;

/// Runs a rollout of a patch with a defect under a policy. `counting` is the plan by whose
/// definitions the server counts.
pub fn run(
    population: &Arc<Population>,
    lottery: &Lottery,
    defect: Defect,
    background: &Background,
    counting: &Plan,
    policy: &mut dyn Policy,
    limits: Limits,
) -> Outcome {
    let last = START + limits.at_most;
    let mut world = World::new(population.clone(), defect, background.clone(), last);
    let mut observer = enrol(population, lottery, counting);
    let mut reached = [None; 4];
    for now in START..=last {
        let (tick, fleet) = observer.look(now * 60, timestamp(now));
        policy.look(now, &tick, fleet);
        if policy.stopped().is_some() {
            break;
        }
        if (now - START).is_multiple_of(10) && reached[3].is_none() {
            note_reached(&mut reached, &observer, now);
        }
        if reached[3].is_some() && now - START >= limits.at_least {
            break;
        }
        world.minute(now, |machine, told| {
            observer.check_in(machine, told, now * 60);
            let offers =
                !observer.is_exposed(machine) && policy.admits(machine, observer.exposed());
            if offers {
                observer.expose(machine, now * 60);
            }
            offers
        });
    }
    let stopped = policy.stopped();
    Outcome {
        halted: stopped.as_ref().map(|(at, _)| at - START),
        reason: stopped.map(|(_, reason)| reason),
        machines: population.len(),
        exposed: observer.exposed(),
        hurt: world.hurt,
        reached,
    }
}

fn enrol(population: &Population, lottery: &Lottery, counting: &Plan) -> Observer {
    let mut observer = Observer::new(counting, START * 60);
    for (number, machine) in (0..).zip(&population.machines) {
        observer.enrol(Enrolment {
            paid: population.is_paid(number),
            early: lottery.is_early(number),
            last_check_in: machine.last_check_in * 60,
            silence_end: machine.silence_end * 60,
        });
    }
    observer
}

fn note_reached(reached: &mut [Option<Minute>; 4], observer: &Observer, now: Minute) {
    let (all, exposed) = observer.reached((now - REACHABLE) * 60);
    for (note, share) in reached.iter_mut().zip(SHARES) {
        if note.is_none() && all > 0 && exposed as f64 >= share * all as f64 {
            *note = Some(now - START);
        }
    }
}
