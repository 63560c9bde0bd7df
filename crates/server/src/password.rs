//! Passwords: what one may be, and its hash.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use suture_store::PasswordHash;
use tokio::sync::Semaphore;

use crate::problem::{ApiError, ApiResult};

/// Shortest password, in characters (source: NIST SP 800-63B asks for 8 at least, and for 15 where
/// nothing else is asked; the limits on guesses here are strict).
pub const LEAST_CHARS: usize = 10;

/// Longest password, in bytes: long enough for any sentence, and short enough to hash.
pub const MOST_BYTES: usize = 256;

/// Hashes at the same time. Each takes 19 MiB and some 30 ms.
const AT_ONCE: usize = 4;

/// A hash of nobody's password, so that an unknown address takes as long as a known one.
static NOBODYS: LazyLock<Option<String>> = LazyLock::new(|| hash("no such account").ok());

/// Hashes and checks passwords by argon2id with 19 MiB, 2 passes and 1 lane (source: OWASP Password
/// Storage Cheat Sheet), a few at a time.
#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    pub async fn hash(&self, password: &str) -> ApiResult<PasswordHash> {
        let password = password.to_owned();
        let text = self.work(move || hash(&password)).await??;
        text.parse::<PasswordHash>().map_err(ApiError::from)
    }

    /// Whether it is the password of this hash. Takes its time also where there is none.
    pub async fn is(&self, password: &str, hash: Option<&PasswordHash>) -> ApiResult<bool> {
        let password = password.to_owned();
        let known = hash.map(|hash| hash.expose().to_owned());
        self.work(move || {
            let is_known = known.is_some();
            let hash = known.or_else(|| NOBODYS.clone()).unwrap_or_default();
            verify(&password, &hash) && is_known
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let failed = |source| ApiError::Internal {
            doing: "hash a password",
            source,
        };
        let _one_of_few = self
            .0
            .acquire()
            .await
            .map_err(|error| failed(error.into()))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| failed(error.into()))
    }
}

fn hash(password: &str) -> ApiResult<String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| ApiError::Internal {
            doing: "hash a password",
            source: error.to_string().into(),
        })
}

fn verify(password: &str, hash: &str) -> bool {
    phc::PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// What is wrong with a new password, for its owner; none if it can be taken.
pub fn fault(password: &str, email: &str) -> Option<&'static str> {
    if password.chars().count() < LEAST_CHARS {
        Some("The password is too short: take ten characters at least. A few words are good.")
    } else if password.len() > MOST_BYTES {
        Some("The password is too long: take 256 bytes at most.")
    } else if password.eq_ignore_ascii_case(email) {
        Some("The password is the e-mail address; take another one.")
    } else if password.chars().all(|char| password.starts_with(char)) {
        Some("The password is one character over and over; take another one.")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_only_it() {
        let passwords = Passwords::default();
        let hash = passwords.hash("four slow grey geese").await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(hash, passwords.hash("four slow grey geese").await.unwrap());
        assert!(
            passwords
                .is("four slow grey geese", Some(&hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .is("four slow grey goose", Some(&hash))
                .await
                .unwrap()
        );
        assert!(!passwords.is("no such account", None).await.unwrap());
    }

    #[test]
    fn weak_passwords_are_refused_with_what_to_do() {
        let fault = |password: &str| fault(password, "ada@example.org");
        assert!(fault("short").unwrap().contains("too short"));
        assert!(fault(&"x".repeat(257)).unwrap().contains("too long"));
        assert!(fault("Ada@example.org").unwrap().contains("address"));
        assert!(fault("aaaaaaaaaaaa").unwrap().contains("over and over"));
        assert_eq!(fault("zwölf Käfer"), None);
    }
}
