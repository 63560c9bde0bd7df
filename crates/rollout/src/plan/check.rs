//! Whether a plan can be followed, and does what its numbers promise.

use jiff::tz::TimeZoneDatabase;

use super::{InvalidPlan, Plan, Step, Window};
use crate::evalue::LEAST_TOLERATED;

/// A field's name and what is wrong with it.
type Fault = (String, String);

/// Ten years; more is a mistake in writing.
const LONGEST_SECS: u64 = 10 * 365 * 24 * 3600;

impl Plan {
    /// Checks every field. Whoever reads a plan from a file or a request calls this before
    /// anything else.
    pub fn check(&self) -> Result<(), InvalidPlan> {
        self.faults().map_err(|fault| self.invalid(fault))
    }

    /// Checks every field, and that machines which check in every `check_in_secs` seconds are
    /// told from silent ones.
    pub fn check_for(&self, check_in_secs: u64) -> Result<(), InvalidPlan> {
        self.check()?;
        let least = check_in_secs.saturating_mul(Self::CHECK_INS_PER_SILENCE);
        if self.silence_secs < least {
            let reason = format!(
                "expected at least {least}, {} times the {check_in_secs} seconds between two check-ins",
                Self::CHECK_INS_PER_SILENCE
            );
            return Err(self.invalid(("silence_secs".to_owned(), reason)));
        }
        Ok(())
    }

    fn invalid(&self, (field, reason): Fault) -> InvalidPlan {
        InvalidPlan {
            plan: self.name.clone(),
            field,
            reason,
        }
    }

    fn faults(&self) -> Result<(), Fault> {
        if self.name.trim().is_empty() {
            return fault("name", "a plan needs a name");
        }
        within("early_group.share", self.early_group.share, 0.0, 1.0)?;
        self.check_steps()?;
        lasts("signal_secs", self.signal_secs)?;
        lasts("silence_secs", self.silence_secs)?;
        above_zero("settled_share", self.settled_share, 1.0)?;
        above_zero("heard_share", self.heard_share, 1.0)?;
        above_zero("alpha", self.alpha, 0.5)?;
        if !(self.hold_at > 1.0 && self.hold_at < self.halt_at()) {
            let reason = format!(
                "expected more than 1 and less than 1/alpha, at which it halts ({})",
                self.halt_at()
            );
            return fault("hold_at", reason);
        }
        self.check_tolerated()?;
        self.windows
            .iter()
            .enumerate()
            .try_for_each(|(number, window)| check_window(number, window))
    }

    fn check_steps(&self) -> Result<(), Fault> {
        let Some(last) = self.steps.last() else {
            return fault("steps", "expected at least one step");
        };
        for (number, step) in self.steps.iter().enumerate() {
            check_step(number, step)?;
        }
        for (number, pair) in self.steps.windows(2).enumerate() {
            let number = number + 1;
            if pair[1].share < pair[0].share {
                let field = format!("steps[{number}].share");
                return fault(field, "smaller than that of the step before");
            }
            if pair[1].early_only && !pair[0].early_only {
                let field = format!("steps[{number}].early_only");
                return fault(field, "steps for the early group alone come first");
            }
        }
        let last_number = self.steps.len() - 1;
        if last.share != 1.0 {
            let field = format!("steps[{last_number}].share");
            return fault(field, "the last step's share is 1, everyone");
        }
        if last.early_only {
            let field = format!("steps[{last_number}].early_only");
            return fault(field, "the last step is for everyone");
        }
        Ok(())
    }

    fn check_tolerated(&self) -> Result<(), Fault> {
        let shares = [
            ("tolerated.apply_failure", self.tolerated.apply_failure),
            ("tolerated.stall", self.tolerated.stall),
        ];
        for (field, share) in shares {
            within(field, share, LEAST_TOLERATED, 0.5)?;
        }
        let rate = self.tolerated.patch_trouble_per_hour;
        within(
            "tolerated.patch_trouble_per_hour",
            rate,
            LEAST_TOLERATED,
            1.0,
        )
    }
}

fn check_step(number: usize, step: &Step) -> Result<(), Fault> {
    above_zero(&format!("steps[{number}].share"), step.share, 1.0)?;
    lasts(&format!("steps[{number}].soak_secs"), step.soak_secs)
}

fn check_window(number: usize, window: &Window) -> Result<(), Fault> {
    if window.days.is_empty() {
        return fault(
            format!("windows[{number}].days"),
            "expected at least one day",
        );
    }
    let zone = &window.time_zone;
    TimeZoneDatabase::bundled().get(zone).map_err(|_| {
        let reason = format!("no time zone `{zone}`; expected a name such as `Europe/Berlin`");
        (format!("windows[{number}].time_zone"), reason)
    })?;
    Ok(())
}

fn fault(field: impl Into<String>, reason: impl Into<String>) -> Result<(), Fault> {
    Err((field.into(), reason.into()))
}

fn within(field: &str, number: f64, least: f64, most: f64) -> Result<(), Fault> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    fault(field, format!("{number}; expected {least} to {most}"))
}

fn above_zero(field: &str, number: f64, most: f64) -> Result<(), Fault> {
    if number > 0.0 && number <= most {
        return Ok(());
    }
    fault(
        field,
        format!("{number}; expected more than 0, and at most {most}"),
    )
}

fn lasts(field: &str, secs: u64) -> Result<(), Fault> {
    if (1..=LONGEST_SECS).contains(&secs) {
        return Ok(());
    }
    fault(
        field,
        format!("{secs}; expected 1 to {LONGEST_SECS} seconds"),
    )
}
