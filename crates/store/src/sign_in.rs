//! Ways to sign in beside the password: identities at a provider (OpenID Connect), and passkeys
//! (WebAuthn).

use async_trait::async_trait;
use jiff::Timestamp;

use crate::random_id::random_id;
use crate::{
    Account, AccountId, CeremonySecret, EmailAddress, IdentityName, IdentitySubject, Issuer,
    PasskeyLabel, SessionSecret, StoreError,
};

random_id! {
    /// Identifies an identity that is bound to an account.
    IdentityId
}

random_id! {
    /// Identifies a passkey.
    PasskeyId
}

/// Who somebody is to a provider: the only two claims that never come to mean somebody else
/// (source: OpenID Connect Core 1.0, 5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderIdentity {
    pub issuer: Issuer,
    pub subject: IdentitySubject,
}

/// An identity that is bound to an account: whoever the provider says it is signs in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: IdentityId,
    pub account: AccountId,
    pub provider: ProviderIdentity,
    /// What the provider called the person when it was bound; for the owner's eyes.
    pub name: IdentityName,
    pub created: Timestamp,
    /// When somebody last signed in by it.
    pub used: Option<Timestamp>,
}

/// An identity that is to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    pub provider: ProviderIdentity,
    pub name: IdentityName,
}

/// How a passkey signs, as COSE numbers it (source: IANA, COSE Algorithms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PasskeyAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl PasskeyAlgorithm {
    /// The preferred one first.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    pub fn number(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }

    pub fn from_number(number: i64) -> Option<Self> {
        let is_it = |algorithm: &Self| i64::from(algorithm.number()) == number;
        Self::ALL.into_iter().find(is_it)
    }
}

/// What an authenticator calls a passkey.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialId(Vec<u8>);

impl CredentialId {
    /// Longest one, in bytes (source: WebAuthn Level 3, 7.1).
    pub const LIMIT: usize = 1023;

    /// None if it is empty or too long.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=Self::LIMIT)
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A passkey that an authenticator made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey {
    pub credential: CredentialId,
    pub algorithm: PasskeyAlgorithm,
    /// SubjectPublicKeyInfo, DER (source: RFC 5280, 4.1.2.7).
    pub public_key: Vec<u8>,
    /// Signatures that the authenticator says it made; always 0 where it does not count.
    pub counter: u32,
    pub label: PasskeyLabel,
}

/// A passkey of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    pub id: PasskeyId,
    pub account: AccountId,
    pub key: NewPasskey,
    pub created: Timestamp,
    /// When somebody last signed in by it.
    pub used: Option<Timestamp>,
}

impl Passkey {
    /// Most of one account.
    pub const LIMIT: u32 = 20;
}

impl Identity {
    /// Most of one account.
    pub const LIMIT: u32 = 10;
}

/// What is begun in a browser and comes back from a provider or an authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CeremonyKind {
    OpenId,
    Passkey,
}

impl CeremonyKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenId => "openid",
            Self::Passkey => "passkey",
        }
    }
}

/// A ceremony that is to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewCeremony<'a> {
    pub kind: CeremonyKind,
    /// The owner's session, who adds a way to sign in; none: somebody signs in.
    pub session: Option<&'a SessionSecret>,
    /// The page to go to afterwards; may be empty.
    pub destination: &'a str,
}

/// A ceremony that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// Who adds a way to sign in; none: somebody signs in.
    pub owner: Option<AccountId>,
    pub destination: String,
}

/// Ways to sign in, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait SignInStore: Send + Sync {
    async fn begin_ceremony(
        &self,
        new: NewCeremony<'_>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<CeremonySecret, StoreError>;

    /// Finishes a ceremony, this once. None if it was never begun, was finished, is over, or the
    /// session that began it has ended.
    async fn finish_ceremony(
        &self,
        secret: &CeremonySecret,
        kind: CeremonyKind,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError>;

    /// Begins a session of the account that an identity is bound to; none if it is to none.
    async fn begin_identity_session(
        &self,
        identity: &ProviderIdentity,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SessionSecret>, StoreError>;

    /// Makes an account on the free plan with an address that the identity's provider has
    /// verified. Applications for the address are over then.
    async fn register_identity(
        &self,
        email: &EmailAddress,
        identity: &NewIdentity,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// Binds an identity to its owner's account. One that is bound to it already stays as it is.
    async fn add_identity(
        &self,
        account: AccountId,
        identity: &NewIdentity,
        now: Timestamp,
    ) -> Result<Identity, StoreError>;

    /// The account's identities, oldest first.
    async fn identities(&self, account: AccountId) -> Result<Vec<Identity>, StoreError>;

    /// Unbinds an identity, unless it is the last way to sign in. One that is not the account's
    /// is no error.
    async fn remove_identity(
        &self,
        account: AccountId,
        identity: IdentityId,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Adds a passkey that its owner made.
    async fn add_passkey(
        &self,
        account: AccountId,
        key: &NewPasskey,
        now: Timestamp,
    ) -> Result<Passkey, StoreError>;

    /// The account's passkeys, oldest first.
    async fn passkeys(&self, account: AccountId) -> Result<Vec<Passkey>, StoreError>;

    /// The passkey that an authenticator calls so.
    async fn passkey(&self, credential: &CredentialId) -> Result<Option<Passkey>, StoreError>;

    /// Begins a session by a passkey whose signature was checked, and keeps its counter. None if
    /// the passkey was removed, or the counter is not beyond the one that is kept: then there
    /// are two of it.
    async fn begin_passkey_session(
        &self,
        passkey: PasskeyId,
        counter: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SessionSecret>, StoreError>;

    /// Removes a passkey, unless it is the last way to sign in. One that is not the account's is
    /// no error.
    async fn remove_passkey(
        &self,
        account: AccountId,
        passkey: PasskeyId,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}
