//! Machines over time, in layers upon each other.

use jiff::Timestamp;

use super::number::{compact, count};
use super::scale::TimeScale;
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 454.0;
const TOP: f64 = 12.0;
/// Where nothing is.
const FLOOR: f64 = 196.0;

/// Layers that the style sheet has colours for; the last takes all that are left.
pub const MAX_LAYERS: usize = 7;

/// What is drawn.
pub struct Layers<'view> {
    /// Prefix of the ids of the picture's title and description.
    pub name: &'view str,
    pub title: &'view str,
    /// Of each layer, from the floor up.
    pub names: &'view [String],
    /// Moments, oldest first, each with the machines of each layer.
    pub moments: &'view [(Timestamp, Vec<u64>)],
}

/// Areas from the first moment to the last; nothing to see with fewer than two.
pub fn layers(picture: &Layers) -> String {
    let mut svg = Svg::new(
        picture.name,
        WIDTH,
        HEIGHT,
        picture.title,
        &description(picture),
    );
    let highest = picture.moments.iter().map(|(_, machines)| sum(machines));
    let highest = highest.max().unwrap_or(0).max(1);
    let start = picture.moments.first().map_or(0, |(at, _)| at.as_second());
    let end = picture.moments.last().map_or(0, |(at, _)| at.as_second());
    let times = TimeScale::new((end - start) as f64, LEFT, RIGHT);
    let x = |at: Timestamp| times.place((at.as_second() - start) as f64);
    let y = |machines: u64| FLOOR - machines as f64 / highest as f64 * (FLOOR - TOP);
    for part in [0.5, 1.0] {
        let machines = (highest as f64 * part).round() as u64;
        let place = y(machines);
        svg.line("grid", (LEFT, place), (RIGHT, place));
        let words = (LEFT - 5.0, place + 4.0);
        svg.text("tick", words, Anchor::End, compact(machines));
    }
    for layer in (0..picture.names.len()).rev() {
        // Each layer is drawn from the floor, the higher ones behind the lower ones.
        let mut area = vec![(LEFT, FLOOR)];
        for (at, machines) in picture.moments {
            area.push((x(*at), y(sum(&machines[..=layer]))));
        }
        area.push((RIGHT, FLOOR));
        svg.polygon(&format!("layer layer-{layer}"), &area);
    }
    svg.line("axis", (LEFT, FLOOR), (RIGHT, FLOOR));
    for second in round_seconds(start, end, &times) {
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        let place = x(at);
        svg.line("axis", (place, FLOOR), (place, FLOOR + 4.0));
        let anchor = if place > RIGHT - 30.0 {
            Anchor::End
        } else {
            Anchor::Middle
        };
        let form = if end - start > 2 * 86_400 {
            "%-d %b"
        } else {
            "%H:%M"
        };
        svg.text("tick", (place, FLOOR + 18.0), anchor, at.strftime(form));
    }
    svg.finish()
}

/// Hours and midnights (UTC) for the axis, in seconds.
fn round_seconds(start: i64, end: i64, times: &TimeScale) -> Vec<i64> {
    let Some(stride) = times.ticks(5).first().map(|stride| *stride as i64) else {
        return Vec::new();
    };
    let first = start.div_euclid(stride) + 1;
    let seconds = (first..).map(|step| step * stride);
    seconds.take_while(|second| *second <= end).collect()
}

fn sum(machines: &[u64]) -> u64 {
    machines.iter().sum()
}

fn description(picture: &Layers) -> String {
    let Some((at, machines)) = picture.moments.last() else {
        return "Nothing was counted yet.".to_owned();
    };
    let layer = |(name, machines): (&String, &u64)| format!("{name} {}", count(*machines));
    let layers: Vec<_> = picture.names.iter().zip(machines).map(layer).collect();
    format!("At {}: {}.", super::number::time(*at), layers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    #[test]
    fn layers_lie_upon_each_other() {
        let names = ["1.1".to_owned(), "none".to_owned()];
        let moments = [(at(0), vec![0, 100]), (at(1), vec![75, 25])];
        let svg = layers(&Layers {
            name: "versions",
            title: "Versions",
            names: &names,
            moments: &moments,
        });
        assert!(
            svg.contains("At 1 Jan, 01:00 UTC: 1.1 75, none 25."),
            "{svg}"
        );
        // Both moments have 100 machines, so the upper layer ends at the top of the picture.
        let upper =
            "class=\"layer layer-1\" points=\"46.0,196.0 46.0,12.0 454.0,12.0 454.0,196.0\"";
        assert!(svg.contains(upper), "{svg}");
        let lower =
            "class=\"layer layer-0\" points=\"46.0,196.0 46.0,196.0 454.0,58.0 454.0,196.0\"";
        assert!(svg.contains(lower), "{svg}");
        assert!(
            svg.find(upper) < svg.find(lower),
            "the lower one is not hidden"
        );
    }

    #[test]
    fn days_begin_at_midnight() {
        let names = ["1.1".to_owned()];
        let moments = [(at(21), vec![1]), (at(93), vec![1])];
        let svg = layers(&Layers {
            name: "versions",
            title: "Versions",
            names: &names,
            moments: &moments,
        });
        // 3 of 72 hours after the left end.
        assert!(
            svg.contains("x=\"63.0\" y=\"214.0\" text-anchor=\"middle\">2 Jan<"),
            "{svg}"
        );
        assert_eq!(svg.matches(" Jan<").count(), 3, "{svg}");
    }

    #[test]
    fn a_fleet_without_a_past_is_a_picture_too() {
        let svg = layers(&Layers {
            name: "versions",
            title: "Versions",
            names: &["1.1".to_owned()],
            moments: &[],
        });
        assert!(
            svg.contains("Nothing was counted yet") && !svg.contains("NaN"),
            "{svg}"
        );
    }
}
