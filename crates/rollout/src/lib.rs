//! How a version reaches everyone, and what stops it. Pure: facts and a time in, a decision out.
//!
//! A rollout brings one version to its machines by a [`Plan`]. Who goes first is drawn
//! ([`cohort`]). What was seen is counted look by look ([`Tick`]) and added up to evidence
//! ([`Ledger`]); [`decide`] says what becomes of the rollout, and [`choose`] what one machine is
//! told. `docs/rollouts.md` explains why the evidence may be looked at at any time.

mod channel;
mod choose;
pub mod cohort;
mod decide;
mod draw_record;
pub mod evalue;
mod harm;
mod id;
mod ledger;
mod phase;
mod plan;
mod policy;
pub mod preview;
mod rates;
mod tick;

pub use channel::ChannelName;
pub use choose::{
    Candidate, Choice, Course, EarlyPreference, Offer, Published, Withheld, choose, is_eligible,
};
pub use decide::{Decision, Hold, Verdict, decide};
pub use draw_record::{DrawRecord, InvalidDraw, Place};
pub use harm::{Harm, Stratum, Yardstick};
pub use id::{RolloutId, Scope};
pub use ledger::{Evidence, HarmLedger, InvalidLedger, Ledger};
pub use phase::{HaltedBy, InvalidPhase, Phase};
pub use plan::{Day, EarlyGroup, Eligible, InvalidPlan, Plan, Step, Tolerated, Unit, Window};
pub use policy::{GroupPolicy, GroupRules, Rule};
pub use rates::Rate;
pub use tick::{Applications, Comparison, Fleet, Tick};
