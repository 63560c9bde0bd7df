//! The evidence over time, against the line at which it halts.

use jiff::Timestamp;

use super::number::{evidence as words, real, span, tick_words, time};
use super::scale::{LogScale, TimeScale};
use super::svg::{Anchor, Svg};
use crate::view::{EvidenceCurve, EvidencePoint};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 448.0;
const TOP: f64 = 12.0;
const FLOOR: f64 = 232.0;

/// Evidence below this is drawn at the floor: it speaks for the patch, and how clearly is of
/// little interest.
const LOWEST: f64 = 0.01;

/// Tenfolds above the halting line that are drawn at most.
const ABOVE: f64 = 1000.0;

pub fn evidence(curve: &EvidenceCurve) -> String {
    let mut svg = Svg::new(
        "evidence",
        WIDTH,
        HEIGHT,
        "Evidence for harm",
        &description(curve),
    );
    let values = values(curve);
    svg.rect(
        "danger",
        LEFT,
        TOP,
        RIGHT - LEFT,
        values.place(curve.halt_at) - TOP,
    );
    for tick in values.ticks(6) {
        let y = values.place(tick);
        svg.line("grid", (LEFT, y), (RIGHT, y));
        svg.text("tick", (LEFT - 6.0, y + 4.0), Anchor::End, tick_words(tick));
    }
    times(&mut svg, curve);
    threshold(&mut svg, "halting", &values, curve.halt_at, "halts here");
    threshold(&mut svg, "holding", &values, curve.hold_at, "holds here");
    course(&mut svg, curve, &values);
    svg.finish()
}

fn description(curve: &EvidenceCurve) -> String {
    let Some(last) = curve.points.last() else {
        return format!(
            "No look was taken yet. It halts at {}.",
            real(curve.halt_at)
        );
    };
    format!(
        "The evidence is {} at {}, and was {} at its highest. Nothing widens at {} and more; the \
         rollout halts at {}. The scale is logarithmic; 1 speaks for neither side.",
        words(last.total),
        time(last.at),
        words(curve.peak),
        real(curve.hold_at),
        real(curve.halt_at)
    )
}

fn values(curve: &EvidenceCurve) -> LogScale {
    let totals = || curve.points.iter().map(|point| point.total);
    let low = totals().fold(0.1, f64::min).max(LOWEST);
    let high = totals().fold(curve.halt_at * 10.0, f64::max);
    LogScale::new(low, high.min(curve.halt_at * ABOVE), FLOOR, TOP)
}

fn seconds(curve: &EvidenceCurve, at: Timestamp) -> f64 {
    curve
        .points
        .first()
        .map_or(0.0, |first| at.duration_since(first.at).as_secs_f64())
}

fn time_scale(curve: &EvidenceCurve) -> TimeScale {
    let last = curve.points.last();
    TimeScale::new(
        last.map_or(1.0, |last| seconds(curve, last.at)),
        LEFT,
        RIGHT,
    )
}

fn times(svg: &mut Svg, curve: &EvidenceCurve) {
    let scale = time_scale(curve);
    svg.line("axis", (LEFT, FLOOR), (RIGHT, FLOOR));
    for at in &curve.widened {
        let x = scale.place(seconds(curve, *at));
        svg.line("widened", (x, TOP), (x, FLOOR));
    }
    let y = FLOOR + 18.0;
    svg.text("tick", (LEFT, y), Anchor::Start, "start");
    for tick in scale.ticks(5) {
        let x = scale.place(tick as f64);
        svg.line("axis", (x, FLOOR), (x, FLOOR + 4.0));
        // The first would meet the word before it.
        if x > LEFT + 60.0 {
            let anchor = if x > RIGHT - 20.0 {
                Anchor::End
            } else {
                Anchor::Middle
            };
            svg.text("tick", (x, y), anchor, span(tick));
        }
    }
}

fn threshold(svg: &mut Svg, class: &str, values: &LogScale, at: f64, label: &str) {
    let y = values.place(at);
    svg.line(class, (LEFT, y), (RIGHT, y));
    let text = format!("{label}: {}", tick_words(at));
    svg.text(
        &format!("{class}-words"),
        (LEFT + 6.0, y - 5.0),
        Anchor::Start,
        text,
    );
}

fn course(svg: &mut Svg, curve: &EvidenceCurve, values: &LogScale) {
    let times = time_scale(curve);
    let place = |point: &EvidencePoint| {
        (
            times.place(seconds(curve, point.at)),
            values.place(point.total),
        )
    };
    let points: Vec<(f64, f64)> = curve.points.iter().map(place).collect();
    let (Some(last), Some(point)) = (points.last(), curve.points.last()) else {
        return;
    };
    let class = if curve.peak >= curve.halt_at {
        "curve over"
    } else {
        "curve"
    };
    svg.polyline(class, &points);
    svg.circle(class, *last, 5.0);
    let anchor = if last.0 > (LEFT + RIGHT) / 2.0 {
        Anchor::End
    } else {
        Anchor::Start
    };
    let y = if last.1 < TOP + 24.0 {
        last.1 + 22.0
    } else {
        last.1 - 12.0
    };
    svg.text(
        "value",
        (last.0.min(RIGHT - 4.0), y),
        anchor,
        words(point.total),
    );
}
