//! Short texts that come from outside, each with its bound.

use suture_kernel::InvalidName;
use thiserror::Error;

/// Why a text was refused. It does not repeat the text, which may be long or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the {what} is not acceptable: expected {expected}")]
pub struct InvalidText {
    /// What was being read, e.g. `host name`.
    pub what: &'static str,
    pub expected: &'static str,
}

/// The same of a name that other crates read.
impl From<InvalidName> for InvalidText {
    fn from(error: InvalidName) -> Self {
        let expected = error.expected;
        Self {
            what: error.what,
            expected: expected.strip_prefix("expected ").unwrap_or(expected),
        }
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidText;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidText> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($crate::InvalidText { what: $what, expected: $expected })
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text;

/// No control characters, so that a text stays on its line in a log, a table and a terminal.
fn printable(text: &str, at_most: usize) -> bool {
    text.chars().count() <= at_most && !text.chars().any(char::is_control)
}

text! {
    /// An e-mail address, as far as a look at it can tell: one `@` with something on both sides,
    /// no white space, at most 254 characters (source: RFC 5321, 4.5.3.1.3, less the brackets).
    EmailAddress, "e-mail address", "a form like `name@example.org`, at most 254 characters",
    |text| {
        let sides = text.split_once('@');
        let both = sides.is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
        both && printable(text, 254) && !text.contains(char::is_whitespace)
    }
}

text! {
    /// What `uname -n` prints, at most 253 characters. For the owner's eyes; nothing is decided
    /// by it.
    Hostname, "host name", "at most 253 printable characters",
    |text| printable(text, 253)
}

text! {
    /// The version that an agent says it has, at most 64 characters.
    AgentVersion, "agent version", "1 to 64 printable characters",
    |text| !text.is_empty() && printable(text, 64)
}

text! {
    /// The kernel's `/proc/sys/kernel/random/boot_id`: a UUID, new at every boot.
    BootId, "boot id", "a UUID as in `/proc/sys/kernel/random/boot_id`",
    |text| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

text! {
    /// What the owner calls a token, to tell it from others; may be empty.
    TokenLabel, "token label", "at most 100 printable characters",
    |text| printable(text, 100)
}

text! {
    /// What the owner calls a passkey, to tell it from others.
    PasskeyLabel, "passkey's name", "1 to 100 printable characters",
    |text| !text.is_empty() && printable(text, 100)
}

text! {
    /// The address by which a provider of identities names itself, as it writes it.
    Issuer, "issuer", "1 to 500 printable characters",
    |text| !text.is_empty() && printable(text, 500)
}

text! {
    /// What a provider calls a person: never another one's (source: OpenID Connect Core 1.0, 2,
    /// which has at most 255 characters).
    IdentitySubject, "subject of an identity", "1 to 255 printable characters",
    |text| !text.is_empty() && printable(text, 255)
}

text! {
    /// What a provider calls a person for people's eyes: an e-mail address or a name.
    IdentityName, "name of an identity", "at most 254 printable characters",
    |text| printable(text, 254)
}

text! {
    /// Who works at the vendor's command line: a system user's name.
    OperatorName, "operator name", "1 to 100 printable characters",
    |text| !text.is_empty() && printable(text, 100)
}

text! {
    /// An operator's name for a group of machines, e.g. `canary`.
    GroupName, "group name", "1 to 64 letters, digits, `-`, `_` or `.`",
    |text| {
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
        (1..=64).contains(&text.len()) && text.chars().all(fits)
    }
}

/// What went wrong on a machine, in at most 1,000 characters without line breaks.
///
/// A longer text is shortened, not refused: the report of a failure must not fail itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureText(String);

impl FailureText {
    /// Characters that are kept.
    pub const MAX_CHARS: usize = 1000;

    /// Keeps the first characters of `text`; control characters become spaces.
    pub fn shortened(text: &str) -> Self {
        let clean = |char: char| if char.is_control() { ' ' } else { char };
        Self(text.chars().take(Self::MAX_CHARS).map(clean).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_stay_on_one_line() {
        assert!("web-1.example.org".parse::<Hostname>().is_ok());
        assert!(
            "(none)".parse::<Hostname>().is_ok(),
            "a kernel without a name says so"
        );
        for bad in ["a\nb", "\u{1b}[2J", &"x".repeat(254)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?}");
        }
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n"] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
        assert!(
            "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1"
                .parse::<BootId>()
                .is_ok()
        );
        assert!(
            "6b0c1b628b0b4b0e9d582d5ff6c4f2a1"
                .parse::<BootId>()
                .is_err()
        );
    }

    #[test]
    fn a_long_failure_is_shortened_by_characters() {
        let text = FailureText::shortened(&"ü\n".repeat(1000));
        assert_eq!(text.as_str().chars().count(), FailureText::MAX_CHARS);
        assert!(text.as_str().starts_with("ü ü "));
    }
}
