//! The [`SignInStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    Account, AccountId, Ceremony, CeremonyKind, CeremonySecret, CredentialId, EmailAddress,
    Identity, IdentityId, NewCeremony, NewIdentity, NewPasskey, Passkey, PasskeyId,
    ProviderIdentity, SessionSecret, SignInStore, StoreError,
};

use super::dialect::{self, Database};
use super::{ceremony, identity, passkey};

#[async_trait]
impl SignInStore for Database {
    async fn begin_ceremony(
        &self,
        new: NewCeremony<'_>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<CeremonySecret, StoreError> {
        transaction!(self, |connection| ceremony::begin(
            connection, new, until, now
        ))
    }

    async fn finish_ceremony(
        &self,
        secret: &CeremonySecret,
        kind: CeremonyKind,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError> {
        transaction!(self, |connection| ceremony::finish(
            connection, secret, kind, now
        ))
    }

    async fn begin_identity_session(
        &self,
        identity: &ProviderIdentity,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SessionSecret>, StoreError> {
        transaction!(self, |connection| identity::begin_session(
            connection, identity, until, now
        ))
    }

    async fn register_identity(
        &self,
        email: &EmailAddress,
        identity: &NewIdentity,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        transaction!(self, |connection| identity::register(
            connection, email, identity, now
        ))
    }

    async fn add_identity(
        &self,
        account: AccountId,
        identity: &NewIdentity,
        now: Timestamp,
    ) -> Result<Identity, StoreError> {
        transaction!(self, |connection| identity::add(
            connection, account, identity, now
        ))
    }

    async fn identities(&self, account: AccountId) -> Result<Vec<Identity>, StoreError> {
        identity::of_account(&mut *self.read().await?, account).await
    }

    async fn remove_identity(
        &self,
        account: AccountId,
        identity: IdentityId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| identity::remove(
            connection, account, identity, now
        ))
    }

    async fn add_passkey(
        &self,
        account: AccountId,
        key: &NewPasskey,
        now: Timestamp,
    ) -> Result<Passkey, StoreError> {
        transaction!(self, |connection| passkey::add(
            connection, account, key, now
        ))
    }

    async fn passkeys(&self, account: AccountId) -> Result<Vec<Passkey>, StoreError> {
        passkey::of_account(&mut *self.read().await?, account).await
    }

    async fn passkey(&self, credential: &CredentialId) -> Result<Option<Passkey>, StoreError> {
        passkey::find(&mut *self.read().await?, credential).await
    }

    async fn begin_passkey_session(
        &self,
        passkey: PasskeyId,
        counter: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SessionSecret>, StoreError> {
        transaction!(self, |connection| passkey::begin_session(
            connection, passkey, counter, until, now
        ))
    }

    async fn remove_passkey(
        &self,
        account: AccountId,
        passkey: PasskeyId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| passkey::remove(
            connection, account, passkey, now
        ))
    }
}
