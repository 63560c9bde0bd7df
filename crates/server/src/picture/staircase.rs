//! The waves: each step as a column as high as what may be exposed in it, filled as far as
//! machines are.

use super::number::{compact, count, percent, span};
use super::svg::{Anchor, Svg};
use crate::view::{RolloutView, StepState, StepView};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const TOP: f64 = 30.0;
/// Where the columns stand.
const FLOOR: f64 = 206.0;
const GAP: f64 = 6.0;

/// Heights are logarithmic: the first wave is a ten-thousandth of the last, and is to be seen.
pub fn staircase(view: &RolloutView) -> String {
    let counts = &view.summary.counts;
    let mut svg = Svg::new("waves", WIDTH, HEIGHT, "Waves", &description(view));
    let width = WIDTH / view.steps.len().max(1) as f64;
    svg.line("axis", (0.0, FLOOR), (WIDTH, FLOOR));
    for (index, step) in view.steps.iter().enumerate() {
        let x = index as f64 * width + GAP / 2.0;
        column(&mut svg, step, counts.population, x, width - GAP);
    }
    early_bracket(&mut svg, &view.steps, width);
    svg.finish()
}

fn description(view: &RolloutView) -> String {
    let counts = &view.summary.counts;
    let at = view.summary.step.map_or_else(String::new, |step| {
        format!(" It is at step {step} of {}.", view.summary.of_steps)
    });
    format!(
        "{} of {} machines were offered the version, {} are waiting.{at} Each column is a step; \
         its height, on a logarithmic scale, is how many machines may be exposed at its end.",
        count(counts.exposed),
        count(counts.population),
        count(counts.waiting)
    )
}

fn height(machines: u64, population: u64) -> f64 {
    let whole = (population.max(1) as f64 + 1.0).ln();
    ((machines as f64 + 1.0).ln() / whole).min(1.0) * (FLOOR - TOP)
}

fn column(svg: &mut Svg, step: &StepView, population: u64, x: f64, width: f64) {
    // Without a population nothing is known but the shares.
    let cap = step.cap.unwrap_or(population).min(population);
    let (allowed, filled) = (height(cap, population), height(step.exposed, population));
    let state = class(step.state);
    svg.rect(
        &format!("allowed {state}"),
        x,
        FLOOR - allowed,
        width,
        allowed,
    );
    if step.exposed > 0 {
        svg.rect(
            &format!("exposed {state}"),
            x,
            FLOOR - filled,
            width,
            filled,
        );
    }
    let middle = x + width / 2.0;
    let top = FLOOR - allowed.max(filled) - 7.0;
    svg.text("value", (middle, top), Anchor::Middle, label(step));
    svg.text(
        "tick",
        (middle, FLOOR + 17.0),
        Anchor::Middle,
        percent(step.share).replace(' ', ""),
    );
    let below = match step.state {
        StepState::Now => "now".to_owned(),
        StepState::Stopped => "stopped".to_owned(),
        StepState::Done => "✓ done".to_owned(),
        StepState::Later => span(step.soak_secs),
    };
    svg.text(
        &format!("tick {state}"),
        (middle, FLOOR + 34.0),
        Anchor::Middle,
        below,
    );
}

/// What was exposed, and where it is not over, of how many.
fn label(step: &StepView) -> String {
    match (step.state, step.cap) {
        (StepState::Later, Some(cap)) => compact(cap),
        (StepState::Later, None) => "all".to_owned(),
        (StepState::Done | StepState::Now | StepState::Stopped, _) => compact(step.exposed),
    }
}

fn class(state: StepState) -> &'static str {
    match state {
        StepState::Done => "done",
        StepState::Now => "now",
        StepState::Stopped => "stopped",
        StepState::Later => "later",
    }
}

/// Shows which steps are for the early group alone.
fn early_bracket(svg: &mut Svg, steps: &[StepView], width: f64) {
    let early = steps.iter().take_while(|step| step.early_only).count();
    let y = FLOOR + 46.0;
    let mut bracket = |from: usize, to: usize, text: &str| {
        if from < to {
            let (left, right) = (from as f64 * width + GAP, to as f64 * width - GAP);
            svg.line("bracket", (left, y), (right, y));
            let middle = (left + right) / 2.0;
            svg.text("tick", (middle, y + 16.0), Anchor::Middle, text);
        }
    };
    bracket(0, early, "early group");
    bracket(early, steps.len(), "everyone, by lot");
}
