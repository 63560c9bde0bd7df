//! What a patch does to machines.

use std::fmt;

/// A patch's defect, or none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defect {
    pub effect: Effect,
    /// Share of all machines that it hits, 0 to 1.
    pub share: f64,
    /// Only on hardware that [`crate::population::RISKY_HARDWARE`] of the machines have; of these
    /// accordingly more.
    pub some_hardware: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    /// The machine goes down and comes back without the patch.
    Crash(Delay),
    /// Like a crash, before the transition ends; whoever survives it is safe.
    TransitionCrash,
    /// The machine hangs within an hour or so and is never heard of again.
    SilentDeath,
    /// The machine refuses the patch and goes on.
    ApplyFailure,
    /// The kernel prints a warning that names the patch, within an hour or so.
    Warning,
}

/// When a crash comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Within a minute.
    AtOnce,
    /// Exponential with a mean of 15 minutes.
    Minutes,
    /// Exponential with a mean of four hours.
    Hours,
}

impl Delay {
    /// Mean in minutes, for those that wait.
    pub fn mean(self) -> Option<f64> {
        match self {
            Self::AtOnce => None,
            Self::Minutes => Some(15.0),
            Self::Hours => Some(240.0),
        }
    }
}

impl Defect {
    pub const NONE: Self = Self {
        effect: Effect::None,
        share: 0.0,
        some_hardware: false,
    };

    pub fn new(effect: Effect, share: f64) -> Self {
        Self {
            effect,
            share,
            some_hardware: false,
        }
    }

    pub fn crash(delay: Delay, share: f64) -> Self {
        Self::new(Effect::Crash(delay), share)
    }

    pub fn on_some_hardware(self) -> Self {
        Self {
            some_hardware: true,
            ..self
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.effect {
            Effect::None => return formatter.write_str("none"),
            Effect::Crash(Delay::AtOnce) => "crash at once",
            Effect::Crash(Delay::Minutes) => "crash in minutes",
            Effect::Crash(Delay::Hours) => "crash in hours",
            Effect::TransitionCrash => "crash in transition",
            Effect::SilentDeath => "silent death",
            Effect::ApplyFailure => "cannot be applied",
            Effect::Warning => "kernel warning",
        };
        write!(formatter, "{what}, {}%", self.share * 100.0)?;
        if self.some_hardware {
            formatter.write_str(", some hardware")?;
        }
        Ok(())
    }
}
