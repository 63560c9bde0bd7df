//! Names of a kernel: what `uname -r` prints, the architecture, the build id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not the name that it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {what}: {expected}")]
pub struct InvalidName {
    /// What was being read, e.g. `kernel release`.
    pub what: &'static str,
    /// The rejected text, shortened to 80 characters.
    pub text: String,
    /// What it should have looked like.
    pub expected: &'static str,
}

impl InvalidName {
    /// Describes a rejected text; only its first 80 characters are kept.
    pub fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

/// Implements `Display` and what `#[serde(try_from = "String", into = "String")]` asks for, through
/// `FromStr` and `as_str`, so that every door into the program applies the same rule.
#[macro_export]
macro_rules! text_type {
    ($name:ident) => {
        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
        impl ::std::convert::TryFrom<String> for $name {
            type Error = $crate::InvalidName;
            fn try_from(text: String) -> Result<Self, $crate::InvalidName> {
                text.parse()
            }
        }
        impl ::std::convert::From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }
    };
}

/// What `uname -r` prints, e.g. `6.1.0-53-amd64` or `6.12.117+deb13-amd64`.
///
/// At most 64 bytes (the kernel's `__NEW_UTS_LEN`) of ASCII letters, digits, `.`, `-`, `+`, `_`
/// and `~`, starting with a digit. It is safe as a file name and as part of a URL path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelRelease(String);

impl KernelRelease {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KernelRelease {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_~".contains(&byte);
        let starts_with_digit = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if text.len() <= 64 && starts_with_digit && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::new(
                "kernel release",
                text,
                "expected what `uname -r` prints, like `6.1.0-53-amd64`",
            ))
        }
    }
}

text_type!(KernelRelease);

/// A processor architecture, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Architecture {
    /// x86-64; the kernel's `uname -m` says `x86_64`.
    Amd64,
}

impl Architecture {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
        }
    }
}

impl FromStr for Architecture {
    type Err = InvalidName;

    /// Reads Debian's name or the kernel's (`uname -m`).
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            _ => Err(InvalidName::new(
                "supported architecture",
                text,
                "expected `amd64`",
            )),
        }
    }
}

text_type!(Architecture);

/// The GNU build id of a kernel image: the content of its `NT_GNU_BUILD_ID` note, as lowercase
/// hex (SHA-1, 40 digits, with the linkers that distributions use).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildId(String);

impl BuildId {
    /// From the bytes of the note's descriptor (8 to 64 bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidName> {
        hex::encode(bytes).parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits: enough to tell builds apart in file names.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for BuildId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let length = (16..=128).contains(&text.len()) && text.len().is_multiple_of(2);
        if length && text.bytes().all(lower_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::new(
                "GNU build id",
                text,
                "expected 16 to 128 lowercase hex digits",
            ))
        }
    }
}

text_type!(BuildId);

/// One exact kernel binary. A live patch is made for one kernel build and refuses all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelBuild {
    pub release: KernelRelease,
    pub architecture: Architecture,
    pub build_id: BuildId,
}

impl fmt::Display for KernelBuild {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} ({}, build id {})",
            self.release, self.architecture, self.build_id
        )
    }
}

/// What livepatch calls an object: `vmlinux`, or a module by the name it has in memory
/// (underscores, no `.ko`), at most 55 bytes (kernel: `MODULE_NAME_LEN` less its terminator).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(String);

impl ObjectName {
    pub fn vmlinux() -> Self {
        Self("vmlinux".to_owned())
    }

    pub fn is_vmlinux(&self) -> bool {
        self.0 == "vmlinux"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = InvalidName;

    /// A hyphen becomes an underscore, as in the kernel.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.replace('-', "_");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if (1..=55).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(InvalidName::new(
                "livepatch object",
                text,
                "expected `vmlinux` or a module's name",
            ))
        }
    }
}

text_type!(ObjectName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_can_never_leave_its_folder() {
        assert!("6.1.0-53-amd64".parse::<KernelRelease>().is_ok());
        assert!("6.12.117+deb13-amd64".parse::<KernelRelease>().is_ok());
        for bad in ["", "../6.1", "6.1/..", "amd64", "6.1 0", &"6".repeat(65)] {
            assert!(bad.parse::<KernelRelease>().is_err(), "{bad}");
        }
    }

    #[test]
    fn architectures_have_two_names_and_one_meaning() {
        assert_eq!("x86_64".parse::<Architecture>().unwrap().as_str(), "amd64");
        assert!("riscv64".parse::<Architecture>().is_err());
    }

    #[test]
    fn a_module_is_named_as_in_memory() {
        assert_eq!("snd-seq".parse::<ObjectName>().unwrap().as_str(), "snd_seq");
        assert!("a.b".parse::<ObjectName>().is_err());
    }

    #[test]
    fn build_ids_are_lowercase_hex() {
        assert_eq!(
            BuildId::from_bytes(&[0xab; 20]).unwrap().as_str(),
            "ab".repeat(20)
        );
        assert!("ABCDABCDABCDABCD".parse::<BuildId>().is_err());
    }
}
