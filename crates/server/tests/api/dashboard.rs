//! The Grafana dashboard and what the service serves.

use std::collections::BTreeSet;

use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../../packaging/grafana/suture.json");

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.split(|char| !is_part(char))
        .filter(|word| word.starts_with("suture_"))
        .collect()
}

fn queries(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().unwrap().iter();
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

/// What is served is in the text of `/metrics`, whose rollouts, machines and patches are there.
pub fn assert_shows(metrics: &str) {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let served: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let panels = dashboard["panels"].as_array().unwrap();
    let shown: BTreeSet<_> = panels.iter().flat_map(queries).flat_map(names).collect();
    assert_eq!(
        shown, served,
        "all that is served is shown, and nothing else"
    );
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}
