//! Configuration: fragments, merged, then checked settings.

mod fragment;
mod key;
mod settings;
mod span;

pub use fragment::{Fragment, FragmentError};
pub use key::{Key, KeyError};
pub use settings::{CaCerts, LogLevel, ProxySettings, Settings, SettingsError, Times};
pub use span::{NotASpan, Span};

use crate::failure::Failure;
use crate::paths::Paths;

/// Reads and checks the configuration of the machine.
pub fn load(paths: &Paths) -> Result<Settings, Failure> {
    let merged = Fragment::read_all(&paths.config_dirs()).map_err(|error| {
        Failure::from_error(&error).hint(format!("known keys: {}", Key::list()))
    })?;
    Settings::check(&merged, paths).map_err(|error| Failure::from_error(&error))
}
