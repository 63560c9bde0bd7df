//! Shows the steps of a build: a spinner on a terminal, lines elsewhere.

use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use suture_factory::Progress;

/// Steps on standard error.
pub struct Steps {
    spinner: Option<Mutex<ProgressBar>>,
}

impl Steps {
    pub fn new() -> Self {
        Self {
            spinner: stderr()
                .is_terminal()
                .then(|| Mutex::new(ProgressBar::hidden())),
        }
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Steps {
    fn begin(&self, what: &str) {
        let Some(spinner) = &self.spinner else { return };
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Ok(mut current) = spinner.lock() {
            current.finish_and_clear();
            *current = bar;
        }
    }

    fn end(&self, what: &str, took: Duration) {
        if let Some(Ok(bar)) = self.spinner.as_ref().map(Mutex::lock) {
            bar.finish_and_clear();
        }
        eprintln!("  {:>7.1} s  {what}", took.as_secs_f64());
    }
}
