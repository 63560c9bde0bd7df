//! What a store can say no to.

use suture_protocol::MachineId;
use suture_rollout::{InvalidPhase, RolloutId, Scope};
use thiserror::Error;

use crate::{AccountId, EmailAddress, OperatorKeyId, Plan, TokenId};

/// An error of the database itself.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("there is already an account for `{email}`")]
    EmailTaken { email: EmailAddress },
    #[error("there is no account `{account}`")]
    UnknownAccount { account: AccountId },
    #[error("there is no account for `{email}`")]
    UnknownEmail { email: EmailAddress },
    #[error("there is no token `{token}`")]
    UnknownTokenId { token: TokenId },
    /// A token was presented that was never issued, or was revoked.
    #[error("the token is not known, or was revoked")]
    UnknownToken,
    /// A machine secret was presented that holds no more.
    #[error("the machine's secret is not known, or the machine was released")]
    UnknownMachine,
    #[error("account `{account}` has no machine `{machine}`")]
    UnknownMachineId {
        account: AccountId,
        machine: MachineId,
    },
    #[error("the {plan} plan covers {limit} machines, and {limit} are enrolled")]
    MachineLimit { plan: Plan, limit: u32 },
    /// A machine wanted to be told apart from others, and there are none.
    #[error("no other machine checks in with this machine's secret")]
    NotCopied,
    #[error("there is no rollout `{id}`")]
    UnknownRollout { id: RolloutId },
    #[error("rollout `{id}` covers `{scope}` already; withdraw it first")]
    RolloutExists { id: RolloutId, scope: Scope },
    #[error("rollout `{id}` cannot be changed like that")]
    RolloutPhase { id: RolloutId, source: InvalidPhase },
    /// An operator's key was presented that was never made, or was revoked.
    #[error("the operator's key is not known, or was revoked")]
    UnknownOperator,
    #[error("there is no operator's key `{key}`")]
    UnknownOperatorKey { key: OperatorKeyId },
    /// A link from an e-mail was presented that was used, is over, or was never sent.
    #[error("the link is not known, was used, or is over")]
    UnknownLink,
    /// Another account has this identity.
    #[error("this identity signs in to another account")]
    IdentityTaken,
    /// An authenticator made a passkey that is known already.
    #[error("this passkey is known already")]
    PasskeyTaken,
    #[error("an account has at most {limit} of these; remove one first")]
    TooManyWays { limit: u32 },
    #[error("this is the only way to sign in that the account has")]
    LastWay,
    #[error(transparent)]
    InconsistentRow(#[from] InconsistentRow),
    #[error("the system gives no random bytes")]
    NoRandomBytes,
    #[error("the database failed to {doing}")]
    Database {
        doing: &'static str,
        source: BoxError,
    },
}

/// A row that this program would never have written.
#[derive(Debug, Error)]
#[error("the database holds an unreadable value in column `{column}` of table `{table}`")]
pub struct InconsistentRow {
    pub table: &'static str,
    pub column: &'static str,
    pub source: BoxError,
}

impl InconsistentRow {
    pub fn new(table: &'static str, column: &'static str, source: impl Into<BoxError>) -> Self {
        Self {
            table,
            column,
            source: source.into(),
        }
    }
}
