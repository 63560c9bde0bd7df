//! The service's numbers for Prometheus (source: OpenMetrics 1.0). Pure: views in, text out.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use suture_store::FleetGroup;

use crate::view::RolloutSummary;

/// What is told.
pub struct Numbers<'view> {
    pub groups: &'view [FleetGroup],
    /// The newest first.
    pub rollouts: &'view [RolloutSummary],
    pub live_patches: usize,
    /// When the first of the repository's metadata expires.
    pub expires: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMachines {
    kernel: String,
    state: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRollout {
    rollout: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    rollout: String,
    version: String,
    state: String,
}

/// The whole document. Each number is a gauge: they come from the database and not from this
/// process, so every copy of the service tells the same.
pub fn text(numbers: &Numbers) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("suture");
    machines(&mut registry, numbers);
    rollouts(&mut registry, numbers.rollouts);
    let live_patches: Gauge = Gauge::default();
    live_patches.set(signed(numbers.live_patches as u64));
    registry.register("live_patches", "Published live patches", live_patches);
    if let Some(expires) = numbers.expires {
        let gauge: Gauge = Gauge::default();
        gauge.set(expires.as_second());
        let help = "When the first of the repository's metadata expires, in seconds since 1970";
        registry.register("metadata_expires_timestamp_seconds", help, gauge);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn machines(registry: &mut Registry, numbers: &Numbers) {
    let machines: Family<OfMachines, Gauge> = Family::default();
    for group in numbers.groups {
        let labels = OfMachines {
            kernel: group.release.to_string(),
            state: group.state.map_or("new", |state| state.as_str()).to_owned(),
            version: group
                .applied
                .map_or_else(String::new, |version| version.to_string()),
        };
        machines.get_or_create(&labels).set(signed(group.machines));
    }
    registry.register("machines", "Enrolled machines", machines);
    let heard: Gauge = Gauge::default();
    heard.set(signed(numbers.groups.iter().map(|group| group.heard).sum()));
    let help = "Machines heard of within the last hour";
    registry.register("machines_heard", help, heard);
}

fn rollouts(registry: &mut Registry, rollouts: &[RolloutSummary]) {
    let population: Family<OfRollout, Gauge> = Family::default();
    let exposed: Family<OfRollout, Gauge> = Family::default();
    let evidence: Family<OfRollout, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default();
    let state: Family<OfState, Gauge> = Family::default();
    for rollout in rollouts {
        let labels = OfRollout {
            rollout: rollout.id.to_string(),
            version: rollout.version.to_string(),
        };
        let counts = &rollout.counts;
        population
            .get_or_create(&labels)
            .set(signed(counts.population));
        exposed.get_or_create(&labels).set(signed(counts.exposed));
        evidence.get_or_create(&labels).set(rollout.evidence_now);
        let labels = OfState {
            rollout: labels.rollout,
            version: labels.version,
            state: rollout.state.as_str().to_owned(),
        };
        state.get_or_create(&labels).set(1);
    }
    let help = "Machines that a rollout covers";
    registry.register("rollout_machines", help, population);
    let help = "Machines that a rollout has exposed";
    registry.register("rollout_exposed_machines", help, exposed);
    let help = "Evidence for harm at the last look";
    registry.register("rollout_evidence", help, evidence);
    registry.register("rollout_state", "The state that a rollout is in", state);
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
