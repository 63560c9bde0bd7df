//! Secrets: made here, shown once, kept as a hash.
//!
//! A secret is a prefix that tells what it is (people and secret scanners recognise it) and 32
//! random bytes as base64url. A database keeps the SHA-256 of that text alone. The text has 256
//! random bits, so a plain hash cannot be guessed back, and looking the hash up in an index
//! tells an attacker nothing by its timing: two similar secrets have unrelated hashes.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// Random bytes in a secret.
const RANDOM_BYTES: usize = 32;

/// Why a text is no secret of the wanted kind. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is not a {what}: expected `{prefix}` and 43 characters of base64url")]
pub struct InvalidSecret {
    what: &'static str,
    prefix: &'static str,
}

/// SHA-256 of a secret's text: all that a database ever sees of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

fn random_text(prefix: &'static str) -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn is_secret(prefix: &'static str, text: &str) -> bool {
    // Bounded before it is decoded: 32 bytes are 43 characters.
    let encoded = text.strip_prefix(prefix).filter(|rest| rest.len() == 43);
    let decoded = encoded.and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
    decoded.is_some_and(|bytes| bytes.len() == RANDOM_BYTES)
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// How every secret of this kind starts.
            pub const PREFIX: &'static str = $prefix;

            /// A new secret from the system's random source.
            pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
                random_text($prefix).map(Self)
            }

            /// The secret itself: for the one time that it is shown.
            pub fn expose(&self) -> &str {
                &self.0
            }

            pub fn hash(&self) -> SecretHash {
                SecretHash::of(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidSecret;

            fn from_str(text: &str) -> Result<Self, InvalidSecret> {
                if is_secret($prefix, text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidSecret { what: $what, prefix: $prefix })
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(", $prefix, "…)"))
            }
        }
    };
}

secret! {
    /// What `livepatch enable` takes: lets any number of machines enrol for one account, up to
    /// the plan's limit.
    AccountToken, "suture_t_", "token"
}

secret! {
    /// What one enrolled machine proves itself with.
    MachineSecret, "suture_m_", "machine secret"
}

secret! {
    /// What an operator shows to change rollouts, in a browser or over the API.
    OperatorKey, "suture_o_", "operator key"
}

secret! {
    /// What a link in an e-mail carries: whoever has it reads the address's mail.
    LinkSecret, "suture_l_", "link"
}

secret! {
    /// What a browser shows to finish what was begun in it: signing in at a provider or by a
    /// passkey.
    CeremonySecret, "suture_c_", "ceremony"
}

secret! {
    /// What a browser shows after its person signed in.
    SessionSecret, "suture_s_", "session"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_and_never_printed() {
        let token = AccountToken::generate().unwrap();
        assert_eq!(token.expose().len(), 9 + 43);
        assert_eq!(token.expose().parse::<AccountToken>().unwrap(), token);
        assert_ne!(token, AccountToken::generate().unwrap());
        assert!(
            token.expose().parse::<MachineSecret>().is_err(),
            "another kind"
        );
        let shown = format!("{token:?} {:?}", token.hash());
        assert_eq!(shown, "AccountToken(suture_t_…) SecretHash(…)");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        let long = format!("suture_t_{}", "A".repeat(44));
        let not_canonical = format!("suture_t_{}B", "A".repeat(42));
        for bad in ["", "suture_t_", "suture_t_hunter2", &long, &not_canonical] {
            let error = bad.parse::<AccountToken>().unwrap_err().to_string();
            assert_eq!(
                error,
                "this is not a token: expected `suture_t_` and 43 characters of base64url"
            );
        }
    }

    #[test]
    fn the_hash_is_sha_256_of_the_text() {
        // printf %s suture_m_AAAA… (43 times A) | sha256sum
        let secret: MachineSecret = format!("suture_m_{}", "A".repeat(43)).parse().unwrap();
        let hash: String = secret
            .hash()
            .as_bytes()
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_eq!(
            hash,
            "b3469a537ae77ad90d0c281d5eaf17cfa7afadcb30f46367fa9f9c277505a0e6"
        );
    }
}
