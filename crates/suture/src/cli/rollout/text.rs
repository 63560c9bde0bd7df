//! A rollout for a terminal.

use std::fmt::Write as _;

use suture_server::view::{HarmRow, RolloutView, StepState, StepView};

/// Width of the bars, in characters.
const BAR: usize = 24;

/// The whole picture, in lines that need no colour.
pub fn text(view: &RolloutView) -> String {
    let mut out = String::new();
    let summary = &view.summary;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{}  rollout of {} by the plan `{}`\n{}\n",
        summary.state.words(),
        summary.version,
        summary.plan_name,
        summary.sentence
    );
    let counts = &summary.counts;
    let _ = writeln!(
        out,
        "machines   {} covered, {} exposed, {} waiting, {} applied; {} of {} due were heard of",
        counts.population, counts.exposed, counts.waiting, counts.applied, counts.heard, counts.due
    );
    let _ = writeln!(
        out,
        "evidence   {} {:.2} (holds at {:.0}, halts at {:.0}; highest {:.2})",
        evidence_bar(summary.evidence_now, summary.halts_at),
        summary.evidence_now,
        view.evidence.hold_at,
        summary.halts_at,
        view.evidence.peak
    );
    out.push_str("\nsteps\n");
    for step in &view.steps {
        out.push_str(&step_line(step, counts.population));
    }
    out.push_str("\nharm                      exposed     others   expected   evidence\n");
    for row in &view.harms {
        out.push_str(&harm_line(row));
    }
    let draw = &view.draw;
    let _ = writeln!(
        out,
        "\ndraw       {} of {} drawn at {}\ncommitment {}",
        draw.drawn, draw.eligible, draw.at, draw.commitment
    );
    if !view.events.is_empty() {
        out.push_str("\nevents, the latest first\n");
    }
    for event in &view.events {
        let who = event
            .detail
            .as_ref()
            .map_or("a machine", |detail| detail.hostname.as_str());
        let group = if event.exposed { "exposed" } else { "control" };
        let _ = writeln!(out, "  {}  {who} ({group}) {}", event.received, event.words);
    }
    out
}

/// From no evidence to the halting line, on a logarithmic scale.
fn evidence_bar(evidence: f64, halts_at: f64) -> String {
    let way = (evidence.max(1.0).ln() / halts_at.max(1.1).ln()).clamp(0.0, 1.0);
    bar(way)
}

fn bar(way: f64) -> String {
    let full = (way * BAR as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

fn step_line(step: &StepView, population: u64) -> String {
    let at_most = step
        .cap
        .map_or("everyone".to_owned(), |cap| format!("at most {cap}"));
    let who = if step.early_only {
        "early group"
    } else {
        "all"
    };
    let mark = match step.state {
        StepState::Now => ">",
        StepState::Stopped => "x",
        StepState::Done | StepState::Later => " ",
    };
    let way = step.exposed as f64 / population.max(1) as f64;
    format!(
        "{mark} {:>2}  {} {:>9} exposed  {at_most}, {who}, {}\n",
        step.number,
        bar(way),
        step.exposed,
        step.state.words()
    )
}

fn harm_line(row: &HarmRow) -> String {
    let others = row
        .control_fell
        .map_or("-".to_owned(), |fell| fell.to_string());
    format!(
        "  {:<24}{:>7}{:>11}{:>11.2}{:>11.2}\n",
        row.words(),
        row.exposed_fell,
        others,
        row.expected,
        row.evidence
    )
}
