//! Configuration keys by name, for `livepatch config`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::Fragment;

/// A configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    RemoteServer,
    AllowPlainHttp,
    CaCerts,
    CheckInterval,
    HttpProxy,
    HttpsProxy,
    NoProxy,
    LogLevel,
    Root,
    SettleTime,
    TransitionTimeout,
    ReverseAfter,
    PatchDelay,
    CutoffDate,
}

/// A key or value that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("there is no configuration key `{0}`")]
    Unknown(String),
    #[error("`{value}` is not a value of `{key}`: expected {expected}")]
    Value {
        key: Key,
        value: String,
        expected: &'static str,
    },
}

impl Key {
    pub const ALL: [Self; 14] = [
        Self::RemoteServer,
        Self::CaCerts,
        Self::CheckInterval,
        Self::HttpProxy,
        Self::HttpsProxy,
        Self::NoProxy,
        Self::LogLevel,
        Self::SettleTime,
        Self::TransitionTimeout,
        Self::ReverseAfter,
        Self::PatchDelay,
        Self::CutoffDate,
        Self::Root,
        Self::AllowPlainHttp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RemoteServer => "remote-server",
            Self::AllowPlainHttp => "allow-plain-http",
            Self::CaCerts => "ca-certs",
            Self::CheckInterval => "check-interval",
            Self::HttpProxy => "http-proxy",
            Self::HttpsProxy => "https-proxy",
            Self::NoProxy => "no-proxy",
            Self::LogLevel => "log-level",
            Self::Root => "root",
            Self::SettleTime => "settle-time",
            Self::TransitionTimeout => "transition-timeout",
            Self::ReverseAfter => "reverse-after",
            Self::PatchDelay => "patch-delay",
            Self::CutoffDate => "cutoff-date",
        }
    }

    /// All names, for a hint.
    pub fn list() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The value in `fragment`, as a person writes it.
    pub fn get(self, fragment: &Fragment) -> Option<String> {
        match self {
            Self::RemoteServer => fragment.remote_server.clone(),
            Self::AllowPlainHttp => fragment.allow_plain_http.map(|allow| allow.to_string()),
            Self::CaCerts => fragment.ca_certs.clone(),
            Self::CheckInterval => fragment.check_interval.map(|minutes| minutes.to_string()),
            Self::HttpProxy => fragment.http_proxy.clone(),
            Self::HttpsProxy => fragment.https_proxy.clone(),
            Self::NoProxy => fragment.no_proxy.clone(),
            Self::LogLevel => fragment.log_level.clone(),
            Self::SettleTime => fragment.settle_time.clone(),
            Self::TransitionTimeout => fragment.transition_timeout.clone(),
            Self::ReverseAfter => fragment.reverse_after.clone(),
            Self::PatchDelay => fragment.patch_delay.clone(),
            Self::CutoffDate => fragment.cutoff_date.clone(),
            Self::Root => fragment
                .root
                .as_ref()
                .map(|path| path.display().to_string()),
        }
    }

    /// Sets the value in `fragment`; an empty one clears the key.
    pub fn set(self, fragment: &mut Fragment, text: &str) -> Result<(), KeyError> {
        let value = (!text.is_empty()).then(|| text.to_owned());
        match self {
            Self::RemoteServer => fragment.remote_server = value,
            Self::AllowPlainHttp => {
                fragment.allow_plain_http = self.parse(value, "`true` or `false`")?;
            }
            Self::CaCerts => fragment.ca_certs = value,
            Self::CheckInterval => {
                fragment.check_interval =
                    self.parse(value, "a number of minutes, 0 to switch off")?;
            }
            Self::HttpProxy => fragment.http_proxy = value,
            Self::HttpsProxy => fragment.https_proxy = value,
            Self::NoProxy => fragment.no_proxy = value,
            Self::LogLevel => fragment.log_level = value,
            Self::SettleTime => fragment.settle_time = value,
            Self::TransitionTimeout => fragment.transition_timeout = value,
            Self::ReverseAfter => fragment.reverse_after = value,
            Self::PatchDelay => fragment.patch_delay = value,
            Self::CutoffDate => fragment.cutoff_date = value,
            Self::Root => fragment.root = value.map(Into::into),
        }
        Ok(())
    }

    fn parse<T: FromStr>(
        self,
        value: Option<String>,
        expected: &'static str,
    ) -> Result<Option<T>, KeyError> {
        value
            .map(|text| {
                text.parse().map_err(|_| KeyError::Value {
                    key: self,
                    value: text,
                    expected,
                })
            })
            .transpose()
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|key| key.name() == text)
            .ok_or_else(|| KeyError::Unknown(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set_read_and_cleared() {
        let value = |key| match key {
            Key::AllowPlainHttp => "true",
            Key::CheckInterval => "15",
            _ => "text",
        };
        let mut fragment = Fragment::default();
        for key in Key::ALL {
            assert_eq!(key.name().parse(), Ok(key));
            key.set(&mut fragment, value(key)).unwrap();
            assert_eq!(key.get(&fragment).as_deref(), Some(value(key)), "{key}");
        }
        let written = toml::to_string(&fragment).unwrap();
        assert_eq!(written.lines().count(), Key::ALL.len(), "{written}");
        assert_eq!(toml::from_str::<Fragment>(&written).unwrap(), fragment);
        for key in Key::ALL {
            key.set(&mut fragment, "").unwrap();
        }
        assert_eq!(fragment, Fragment::default());
    }

    #[test]
    fn a_number_of_minutes_is_a_number() {
        let error = Key::CheckInterval
            .set(&mut Fragment::default(), "1h")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`1h` is not a value of `check-interval`: expected a number of minutes, 0 to switch off"
        );
    }
}
