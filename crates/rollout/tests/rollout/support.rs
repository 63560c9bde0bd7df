//! Facts that the stories share.

use jiff::{SignedDuration, Timestamp};
use suture_rollout::{Applications, Comparison, Harm, RolloutId, Stratum, Tick};

/// A Monday.
pub fn monday() -> Timestamp {
    "2026-03-02T06:00:00Z".parse().unwrap()
}

pub fn after(secs: i64) -> Timestamp {
    monday() + SignedDuration::from_secs(secs)
}

pub fn hours(hours: i64) -> Timestamp {
    after(hours * 3600)
}

pub fn rollout(number: u8) -> RolloutId {
    RolloutId::from_random_bytes([number; 16])
}

pub const SERVERS: Stratum = Stratum {
    paid: false,
    steady: true,
};

/// A look in which nothing happened.
pub fn quiet(at: Timestamp) -> Tick {
    Tick {
        at,
        elapsed_secs: 60.0,
        compared: Vec::new(),
        applications: Applications::default(),
        patch_trouble: 0,
        under_patch: 0,
    }
}

/// A look in which free servers fell by one harm.
pub fn fell(harm: Harm, at_risk: (u64, u64), fell: (u64, u64)) -> Tick {
    Tick {
        compared: vec![Comparison {
            harm,
            stratum: SERVERS,
            exposed_at_risk: at_risk.0,
            control_at_risk: at_risk.1,
            exposed_fell: fell.0,
            control_fell: fell.1,
        }],
        ..quiet(monday())
    }
}
