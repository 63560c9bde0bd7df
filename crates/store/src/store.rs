//! What a database does for the service.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_protocol::MachineId;

use crate::{
    Account, AccountId, AccountToken, Actor, AttentionStore, AuditEntry, BillingStore,
    ChannelStore, EmailAddress, Enrolment, FleetStore, GroupStore, HookStore, IssuedToken,
    LeaseStore, Machine, MachineSecret, NewAccount, NewMachine, OperatorStore, Plan,
    RetentionStore, RolloutStore, SignInStore, SignUpStore, StoreError, Token, TokenGrant, TokenId,
    TokenLabel,
};

/// Accounts, tokens, machines and the audit log, in a database, with all that the other parts
/// of the service keep there.
///
/// Every method is one transaction: it happens wholly, with its audit entry, or not at all.
/// Times are kept to the millisecond.
#[async_trait]
pub trait Store:
    RolloutStore
    + OperatorStore
    + SignUpStore
    + SignInStore
    + LeaseStore
    + FleetStore
    + BillingStore
    + GroupStore
    + ChannelStore
    + AttentionStore
    + RetentionStore
    + HookStore
{
    /// Reads something, to see that the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    async fn create_account(
        &self,
        new: &NewAccount,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// All accounts, by e-mail address.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;

    async fn account(&self, id: AccountId) -> Result<Account, StoreError>;

    async fn account_by_email(&self, email: &EmailAddress) -> Result<Account, StoreError>;

    /// Changes the plan that an operator grants. A smaller plan releases no machine: those that
    /// came last and exceed it get nothing new, and no other is admitted.
    async fn set_plan(
        &self,
        account: AccountId,
        plan: Plan,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// Sets the most machines of one account, whatever its plan says; none: what the plan says.
    async fn set_machine_limit(
        &self,
        account: AccountId,
        limit: Option<u32>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    async fn create_token(
        &self,
        account: AccountId,
        label: &TokenLabel,
        by: &Actor,
        now: Timestamp,
    ) -> Result<IssuedToken, StoreError>;

    /// The account's tokens, oldest first, revoked ones included.
    async fn tokens(&self, account: AccountId) -> Result<Vec<Token>, StoreError>;

    /// Revokes a token; one that was revoked before keeps its first time and is no error.
    async fn revoke_token(
        &self,
        token: TokenId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Token, StoreError>;

    /// The account that a presented token stands for.
    async fn authenticate_token(&self, token: &AccountToken) -> Result<TokenGrant, StoreError>;

    /// Enrols a machine for the token's account, or gives an enrolled one a new secret.
    ///
    /// The plan's limit holds also when several machines enrol at the same moment.
    async fn enrol_machine(
        &self,
        token: &AccountToken,
        machine: &NewMachine,
        now: Timestamp,
    ) -> Result<Enrolment, StoreError>;

    /// The machine that a presented secret stands for.
    async fn authenticate_machine(&self, secret: &MachineSecret) -> Result<Machine, StoreError>;

    /// Makes one of several machines that check in with the same secret, because a disk was
    /// copied, a machine of its own with this id: the one that checked in last. It counts. Asked
    /// again with the id, as when the answer was lost, it gets a new secret.
    async fn split_machine(
        &self,
        secret: &MachineSecret,
        id: &MachineId,
        now: Timestamp,
    ) -> Result<Enrolment, StoreError>;

    /// Releases the machine that the secret stands for: `livepatch disable`.
    async fn release_self(
        &self,
        secret: &MachineSecret,
        now: Timestamp,
    ) -> Result<Machine, StoreError>;

    /// Releases a machine that cannot do so itself any more.
    async fn release_machine(
        &self,
        account: AccountId,
        machine: &MachineId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError>;

    /// The account's machines, by host name.
    async fn machines(&self, account: AccountId) -> Result<Vec<Machine>, StoreError>;

    /// The latest entries, newest first; of one account or of all.
    async fn audit_log(
        &self,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
}
