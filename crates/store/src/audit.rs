//! Who changed what, and when.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use suture_kernel::InvalidName;
use suture_protocol::MachineId;
use suture_rollout::{ChannelName, RolloutId};

use crate::{AccountId, GroupName, OperatorKeyId, OperatorName, TokenId};

/// A line of the audit log. Lines are added in the transaction of the change that they tell of,
/// and never changed.
///
/// Check-ins are no changes of that kind: each replaces the machine's latest report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub actor: Actor,
    pub action: Action,
    /// The account that was changed, or whose part was; none for what belongs to nobody.
    pub account: Option<AccountId>,
    pub subject: Subject,
    /// Why, where a person or the evidence gave a reason.
    pub reason: Option<String>,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person at the vendor's command line.
    Operator(OperatorName),
    /// Whoever holds the token.
    Token(TokenId),
    /// Whoever signed in for the account.
    Owner(AccountId),
    /// The machine itself.
    Machine(MachineId),
    /// The service, by its plan and the evidence.
    Service,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    CreateAccount,
    ChangePlan,
    ChangeMachineLimit,
    ChangeSubscription,
    ChangeGroupPolicy,
    PromoteVersion,
    DemoteVersion,
    ChangeLetters,
    CreateToken,
    RevokeToken,
    EnrolMachine,
    RenewMachine,
    ReleaseMachine,
    CreateRollout,
    StartRollout,
    WidenRollout,
    HaltRollout,
    ResumeRollout,
    WithdrawRollout,
    CompleteRollout,
    ChangeEarlyPreference,
    ChangeMachineGroup,
    CreateOperatorKey,
    RevokeOperatorKey,
    SetPassword,
    AddIdentity,
    RemoveIdentity,
    AddPasskey,
    RemovePasskey,
    EndSessions,
    DeleteAccount,
}

impl Action {
    pub const ALL: [Self; 31] = [
        Self::CreateAccount,
        Self::ChangePlan,
        Self::ChangeMachineLimit,
        Self::ChangeSubscription,
        Self::ChangeGroupPolicy,
        Self::PromoteVersion,
        Self::DemoteVersion,
        Self::ChangeLetters,
        Self::CreateToken,
        Self::RevokeToken,
        Self::EnrolMachine,
        Self::RenewMachine,
        Self::ReleaseMachine,
        Self::CreateRollout,
        Self::StartRollout,
        Self::WidenRollout,
        Self::HaltRollout,
        Self::ResumeRollout,
        Self::WithdrawRollout,
        Self::CompleteRollout,
        Self::ChangeEarlyPreference,
        Self::ChangeMachineGroup,
        Self::CreateOperatorKey,
        Self::RevokeOperatorKey,
        Self::SetPassword,
        Self::AddIdentity,
        Self::RemoveIdentity,
        Self::AddPasskey,
        Self::RemovePasskey,
        Self::EndSessions,
        Self::DeleteAccount,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateAccount => "create-account",
            Self::ChangePlan => "change-plan",
            Self::ChangeMachineLimit => "change-machine-limit",
            Self::ChangeSubscription => "change-subscription",
            Self::ChangeGroupPolicy => "change-group-policy",
            Self::PromoteVersion => "promote-version",
            Self::DemoteVersion => "demote-version",
            Self::ChangeLetters => "change-letters",
            Self::CreateToken => "create-token",
            Self::RevokeToken => "revoke-token",
            Self::EnrolMachine => "enrol-machine",
            Self::RenewMachine => "renew-machine",
            Self::ReleaseMachine => "release-machine",
            Self::CreateRollout => "create-rollout",
            Self::StartRollout => "start-rollout",
            Self::WidenRollout => "widen-rollout",
            Self::HaltRollout => "halt-rollout",
            Self::ResumeRollout => "resume-rollout",
            Self::WithdrawRollout => "withdraw-rollout",
            Self::CompleteRollout => "complete-rollout",
            Self::ChangeEarlyPreference => "change-early-preference",
            Self::ChangeMachineGroup => "change-machine-group",
            Self::CreateOperatorKey => "create-operator-key",
            Self::RevokeOperatorKey => "revoke-operator-key",
            Self::SetPassword => "set-password",
            Self::AddIdentity => "add-identity",
            Self::RemoveIdentity => "remove-identity",
            Self::AddPasskey => "add-passkey",
            Self::RemovePasskey => "remove-passkey",
            Self::EndSessions => "end-sessions",
            Self::DeleteAccount => "delete-account",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| InvalidName::new("audited action", text, "expected a known action"))
    }
}

/// What it was done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Account(AccountId),
    Token(TokenId),
    Machine(MachineId),
    Rollout(RolloutId),
    OperatorKey(OperatorKeyId),
    Group(GroupName),
    Channel(ChannelName),
}

const EXPECTED: &str = "expected a known kind and its name, like `token:UUID`";

/// Written as `kind:name`, in the database and for people alike.
impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(formatter, "operator:{name}"),
            Self::Token(id) => write!(formatter, "token:{id}"),
            Self::Owner(id) => write!(formatter, "owner:{id}"),
            Self::Machine(id) => write!(formatter, "machine:{id}"),
            Self::Service => formatter.write_str("service"),
        }
    }
}

impl FromStr for Actor {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let actor = match text.split_once(':') {
            Some(("operator", name)) => name.parse().ok().map(Self::Operator),
            Some(("token", id)) => id.parse().ok().map(Self::Token),
            Some(("owner", id)) => id.parse().ok().map(Self::Owner),
            Some(("machine", id)) => id.parse().ok().map(Self::Machine),
            None if text == "service" => Some(Self::Service),
            _ => None,
        };
        actor.ok_or_else(|| InvalidName::new("audited actor", text, EXPECTED))
    }
}

/// Written as `kind:name`, in the database and for people alike.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(formatter, "account:{id}"),
            Self::Token(id) => write!(formatter, "token:{id}"),
            Self::Machine(id) => write!(formatter, "machine:{id}"),
            Self::Rollout(id) => write!(formatter, "rollout:{id}"),
            Self::OperatorKey(id) => write!(formatter, "operator-key:{id}"),
            Self::Group(name) => write!(formatter, "group:{name}"),
            Self::Channel(name) => write!(formatter, "channel:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let subject = match text.split_once(':') {
            Some(("account", id)) => id.parse().ok().map(Self::Account),
            Some(("token", id)) => id.parse().ok().map(Self::Token),
            Some(("machine", id)) => id.parse().ok().map(Self::Machine),
            Some(("rollout", id)) => id.parse().ok().map(Self::Rollout),
            Some(("operator-key", id)) => id.parse().ok().map(Self::OperatorKey),
            Some(("group", name)) => name.parse().ok().map(Self::Group),
            Some(("channel", name)) => name.parse().ok().map(Self::Channel),
            _ => None,
        };
        subject.ok_or_else(|| InvalidName::new("audited subject", text, EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse(), Ok(action));
        }
        let id = TokenId::random();
        let actors = [
            Actor::Token(id),
            Actor::Owner(AccountId::random()),
            Actor::Operator("root".parse().unwrap()),
            Actor::Service,
        ];
        for actor in actors {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        let subject = Subject::Account(AccountId::random());
        assert_eq!(subject.to_string().parse(), Ok(subject));
        assert!("ghost:1".parse::<Actor>().is_err());
        assert!("machine:1".parse::<Subject>().is_err());
    }
}
