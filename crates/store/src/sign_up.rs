//! Applications for accounts, passwords, and links that are sent by e-mail.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Account, AccountId, EmailAddress, InvalidText, LinkSecret, SessionSecret, StoreError};

/// A password's hash as a PHC string of argon2id (source: RFC 9106, and the PHC string format).
/// Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Longest hash that is kept, in characters; the usual one has 97.
    const LIMIT: usize = 200;

    /// The PHC string itself: for the database and for checking a password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.starts_with("$argon2id$") && text.len() <= Self::LIMIT {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidText {
                what: "password hash",
                expected: "a PHC string of argon2id",
            })
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// Somebody who wants an account and has not yet shown that the address is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    pub email: EmailAddress,
    pub password: PasswordHash,
}

/// What signs an owner in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub account: AccountId,
    /// None: the account was made by an operator, and its owner has chosen no password yet.
    pub password: Option<PasswordHash>,
}

/// Links of one kind that are open for an address at the same time. More are not sent, or anybody
/// could fill a stranger's mailbox.
pub const OPEN_LINKS: u32 = 3;

/// Applications, passwords and links, in a database. As in [`crate::Store`], every method is one
/// transaction.
///
/// An account comes into being when an application is confirmed by whoever reads the address's
/// mail, and by nothing before: so nobody can take an address that is another's.
#[async_trait]
pub trait SignUpStore: Send + Sync {
    /// Keeps an application until a time, and makes the link that confirms it; none if too many
    /// are open for the address.
    async fn apply_for_account(
        &self,
        application: &Application,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<LinkSecret>, StoreError>;

    /// The application that a link confirms; none if it was used, is over or was never made.
    async fn application(
        &self,
        link: &LinkSecret,
        now: Timestamp,
    ) -> Result<Option<Application>, StoreError>;

    /// Makes the account of an application, on the free plan, and ends all applications for its
    /// address.
    async fn confirm_application(
        &self,
        link: &LinkSecret,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// What signs the owner of an address in; none if there is no such account.
    async fn credentials(&self, email: &EmailAddress) -> Result<Option<Credentials>, StoreError>;

    /// Makes a link by which whoever reads the address's mail may choose a password; none if
    /// there is no such account, or too many are open.
    async fn begin_reset(
        &self,
        email: &EmailAddress,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<LinkSecret>, StoreError>;

    /// The account whose password a link may set.
    async fn reset(&self, link: &LinkSecret, now: Timestamp)
    -> Result<Option<Account>, StoreError>;

    /// Sets the password, ends every session of the account and every link to reset it.
    async fn finish_reset(
        &self,
        link: &LinkSecret,
        password: &PasswordHash,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// Begins a session of an owner whose password was checked.
    async fn begin_account_session(
        &self,
        account: AccountId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError>;

    /// Ends every session of the account, those that were begun with its tokens included.
    async fn end_sessions(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError>;

    /// Deletes the account at its owner's wish: its machines are released, its tokens revoked,
    /// its sessions ended, its address and password forgotten. Patched machines stay patched.
    /// The audit log keeps what was done under the account's id.
    async fn delete_account(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_of_argon2id_are_kept_and_none_is_printed() {
        let text = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";
        let hash: PasswordHash = text.parse().unwrap();
        assert_eq!(hash.expose(), text);
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
        for bad in ["", "hunter2", "$2b$12$abc"] {
            assert!(bad.parse::<PasswordHash>().is_err(), "{bad}");
        }
    }
}
