//! A simulated fleet with a clock of its own: what a rollout does to a million machines.
//!
//! The [`World`] has machines that check in, sleep, restart, crash by themselves, lose their
//! network and go away; a [`Defect`] is what a patch does to them. The [`Observer`] counts what a
//! server would see, and a [`Policy`] decides by that alone who may be offered the patch: the
//! real rollout code ([`policy::Suture`]), or what others do ([`policy::Field`]). [`run()`] drives
//! one of each; the same seed always gives the same run.
//!
//! [`real`] is the other half: simulated agents against a real server.

mod background;
mod chance;
mod defect;
mod lottery;
mod observer;
pub mod policy;
mod population;
pub mod real;
mod run;
mod time;
mod wheel;
mod world;

pub use defect::{Defect, Delay, Effect};
pub use lottery::Lottery;
pub use observer::{Enrolment, Observer, Told};
pub use policy::Policy;
pub use population::{Kind, Machine, Population};
pub use run::{Limits, Outcome, run};
pub use time::{Minute, START, timestamp};
pub use world::{Background, World};
