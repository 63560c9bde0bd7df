//! What the machine's owner holds back, whatever the server offers. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::config::{Settings, Span};

/// Why a patch that is made and offered stays out for now, in a sentence; none: it may go in.
///
/// `made` is the time that the signed manifest names, so a server cannot shift it.
pub fn holds_back(settings: &Settings, made: Timestamp, now: Timestamp) -> Option<String> {
    if let Some(cutoff) = settings.cutoff_date
        && made > cutoff
    {
        return Some(format!(
            "it was made at {made}, after this machine's `cutoff-date` {cutoff}"
        ));
    }
    let delay = settings.patch_delay?;
    let secs = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
    let due = made.checked_add(SignedDuration::from_secs(secs)).ok()?;
    (now < due).then(|| {
        let delay = Span::from_secs(delay.as_secs());
        format!("this machine's `patch-delay` is {delay}, so it goes in at {due}")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Fragment;
    use crate::paths::Paths;
    use crate::testing::time;

    fn settings() -> Settings {
        Settings::check(&Fragment::default(), &Paths::new("/")).unwrap()
    }

    #[test]
    fn nothing_is_held_back_by_default() {
        assert_eq!(holds_back(&settings(), time(0), time(0)), None);
    }

    #[test]
    fn a_patch_made_after_the_cutoff_date_stays_out() {
        let settings = Settings {
            cutoff_date: Some(time(0)),
            ..settings()
        };
        assert_eq!(holds_back(&settings, time(0), time(10_000)), None);
        assert_eq!(
            holds_back(&settings, time(1), time(10_000)).unwrap(),
            "it was made at 2026-11-23T12:00:01Z, after this machine's `cutoff-date` \
             2026-11-23T12:00:00Z"
        );
    }

    #[test]
    fn a_delayed_patch_goes_in_when_its_time_has_come() {
        let settings = Settings {
            patch_delay: Some(Duration::from_secs(86_400)),
            ..settings()
        };
        assert_eq!(
            holds_back(&settings, time(0), time(86_399)).unwrap(),
            "this machine's `patch-delay` is 1d, so it goes in at 2026-11-24T12:00:00Z"
        );
        assert_eq!(holds_back(&settings, time(0), time(86_400)), None);
    }
}
