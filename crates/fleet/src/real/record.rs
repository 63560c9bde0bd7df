//! What agents saw and said, to be held against what the server has on record.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::EventId;

/// A version that was offered to an agent.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    pub agent: usize,
    pub version: PatchVersion,
    /// When the request was sent.
    pub asked: Instant,
}

/// A crash that an agent told of.
#[derive(Debug, Clone, Copy)]
pub struct ToldCrash {
    pub agent: usize,
    pub account: usize,
    /// When it was sent first.
    pub sent: Timestamp,
    /// When the first check-in that carried it was answered; none: not yet.
    pub answered: Option<Timestamp>,
}

/// What agents saw and said.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub enrolled: usize,
    /// Answered check-ins.
    pub check_ins: usize,
    /// Check-ins that were sent a second time.
    pub repeated: usize,
    /// Check-ins that told a part of the events, the latest first.
    pub out_of_order: usize,
    /// Calls without an answer.
    pub unanswered: usize,
    /// Agents that went down over a version.
    pub went_down: Vec<usize>,
    pub offers: Vec<Offered>,
    pub crashes: BTreeMap<EventId, ToldCrash>,
    /// What the server refused for good; a sound run has none.
    pub refused: Vec<String>,
}
