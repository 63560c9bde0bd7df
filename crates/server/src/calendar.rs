//! Days that owners of machines plan with. Pure: dates in, a list or a document out.

use std::collections::BTreeSet;

use icalendar::{Calendar, Component as _, Event};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::feed::host;
use crate::view::CoveredKernel;

/// A day with what happens on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    pub date: Date,
    pub what: Occasion,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// A kernel update with all that was not live patched; it needs a reboot.
    RegularUpdate,
    /// The last day of live patches for this release.
    CoverageEnds { release: String },
}

impl Occasion {
    pub fn words(&self) -> String {
        match self {
            Self::RegularUpdate => "Regular kernel update, with a reboot".to_owned(),
            Self::CoverageEnds { release } => format!("Last day of live patches for {release}"),
        }
    }

    /// Stays the same for the same occasion, so that programs know it again.
    fn key(&self) -> String {
        match self {
            Self::RegularUpdate => "regular-update".to_owned(),
            Self::CoverageEnds { release } => format!("coverage-ends-{release}"),
        }
    }
}

/// From `today` on, in order. Builds of one release end on the same day.
pub fn days(updates: &[Date], kernels: &[CoveredKernel], today: Date) -> Vec<Day> {
    let updates = updates.iter().map(|date| Day {
        date: *date,
        what: Occasion::RegularUpdate,
    });
    let ends = kernels.iter().filter_map(|kernel| {
        let release = kernel.kernel.release.to_string();
        Some(Day {
            date: kernel.covered_until?,
            what: Occasion::CoverageEnds { release },
        })
    });
    let days: BTreeSet<Day> = updates.chain(ends).collect();
    days.into_iter().filter(|day| day.date >= today).collect()
}

/// An iCalendar document (RFC 5545) with an event for each day.
pub fn ics(days: &[Day], public_url: &str, now: Timestamp) -> String {
    let mut calendar = Calendar::new();
    calendar.name("Kernel updates");
    for day in days {
        let (key, date) = (day.what.key(), day.date);
        // RFC 5545, 3.3.4: an all-day event by its date.
        let mut event = Event::new();
        event
            .uid(&format!("{date}-{key}@{}", host(public_url)))
            .summary(&day.what.words())
            .url(&format!("{public_url}/calendar"));
        event.add_property("DTSTAMP", now.strftime("%Y%m%dT%H%M%SZ").to_string());
        let mut start = icalendar::Property::new("DTSTART", date.strftime("%Y%m%d").to_string());
        start.add_parameter("VALUE", "DATE");
        event.append_property(start);
        calendar.push(event.done());
    }
    calendar.done().to_string()
}
