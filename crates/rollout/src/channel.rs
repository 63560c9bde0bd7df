//! Channels: lists of versions that an operator let through.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use suture_kernel::{InvalidName, text_type};

/// A channel's name, e.g. `stable`: 1 to 32 lowercase letters, digits or `-`, the first a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(String);

impl ChannelName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if begins_well && text.len() <= 32 && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "expected 1 to 32 lowercase letters, digits or `-`, the first a letter";
        Err(InvalidName::new("channel", text, expected))
    }
}

text_type!(ChannelName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["stable", "a", "beta-2", &"a".repeat(32)] {
            assert_eq!(name.parse::<ChannelName>().unwrap().as_str(), name);
        }
        for name in ["", "2nd", "-a", "Stable", "a b", "a/b", &"a".repeat(33)] {
            assert!(name.parse::<ChannelName>().is_err(), "{name}");
        }
    }
}
