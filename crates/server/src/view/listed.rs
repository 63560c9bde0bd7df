//! Machines, accounts and the audit log in lists, for operators.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{MachineId, MachineState};
use suture_rollout::EarlyPreference;
use suture_store::{
    Account, AccountId, ListedAccount, ListedMachine, NumberedEntry, OperatorKeyEntry, Token,
};
use utoipa::ToSchema;

/// A machine in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineRow {
    #[schema(value_type = String)]
    pub id: MachineId,
    pub account: String,
    /// E-mail address of the account.
    pub owner: String,
    pub hostname: String,
    #[schema(value_type = Object)]
    pub kernel: KernelBuild,
    pub agent_version: String,
    /// None: enrolled and not heard of yet.
    pub state: Option<MachineState>,
    /// Why applying failed, if it did.
    pub failure: Option<String>,
    /// The version in force.
    #[schema(value_type = Option<String>, example = "104.1")]
    pub applied: Option<PatchVersion>,
    pub group: Option<String>,
    #[schema(value_type = String)]
    pub enrolled: Timestamp,
    #[schema(value_type = Option<String>)]
    pub last_check_in: Option<Timestamp>,
}

/// A piece of the list of machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachinePage {
    pub machines: Vec<MachineRow>,
    /// To be sent as `after` for what follows; none: this is the end.
    pub next: Option<String>,
}

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountSummary {
    pub id: String,
    pub email: String,
    /// `free` or `subscription`: what it has.
    pub plan: String,
    /// What an operator granted; the account has more if it pays for it.
    pub granted: String,
    /// The most machines, where an operator set it for this account.
    pub limit: Option<u32>,
    /// `drawn`, `always` or `never`.
    #[schema(value_type = String)]
    pub early: EarlyPreference,
    #[schema(value_type = String)]
    pub created: Timestamp,
    pub machines: u64,
}

/// A piece of the list of accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountPage {
    pub accounts: Vec<AccountSummary>,
    /// To be sent as `after` for what follows; none: this is the end.
    pub next: Option<String>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenSummary {
    pub id: String,
    pub label: String,
    #[schema(value_type = String)]
    pub created: Timestamp,
    #[schema(value_type = Option<String>)]
    pub revoked: Option<Timestamp>,
}

/// An operator's key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorKeySummary {
    pub id: String,
    pub name: String,
    #[schema(value_type = String)]
    pub created: Timestamp,
    #[schema(value_type = Option<String>)]
    pub revoked: Option<Timestamp>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    pub number: u64,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// `kind:name`.
    pub actor: String,
    pub action: String,
    /// `kind:name`.
    pub subject: String,
    pub account: Option<String>,
    pub reason: Option<String>,
}

/// A piece of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    pub lines: Vec<AuditLine>,
    /// To be sent as `before` for what is older; none: this is the end.
    pub next: Option<u64>,
}

impl From<&ListedMachine> for MachineRow {
    fn from(listed: &ListedMachine) -> Self {
        let machine = &listed.machine;
        let last = machine.last_check_in.as_ref();
        let failure = last.and_then(|report| report.state.failure());
        Self {
            id: machine.id.clone(),
            account: machine.account.to_string(),
            owner: listed.owner.to_string(),
            hostname: machine.hostname.to_string(),
            kernel: machine.kernel.clone(),
            agent_version: machine.agent_version.to_string(),
            state: last.map(|report| report.state.name()),
            failure: failure.map(|text| text.as_str().to_owned()),
            applied: last.and_then(|report| report.applied),
            group: machine.group.as_ref().map(ToString::to_string),
            enrolled: machine.enrolled,
            last_check_in: last.map(|report| report.at),
        }
    }
}

impl MachineRow {
    /// Its place in the list, for `after`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.account, self.id)
    }

    pub fn words(&self) -> &'static str {
        state_words(self.state)
    }
}

/// A machine's state for people; none: it was not heard of yet.
pub(super) fn state_words(state: Option<MachineState>) -> &'static str {
    match state {
        None => "enrolled, not heard of yet",
        Some(MachineState::Unapplied) => "no live patch in force",
        Some(MachineState::Applying) => "applying a live patch",
        Some(MachineState::Applied) => "live patch in force",
        Some(MachineState::ApplyFailed) => "could not apply a live patch",
    }
}

/// Of a machine's place in the list.
pub fn read_place(text: &str) -> Option<(AccountId, MachineId)> {
    let (account, machine) = text.split_once('/')?;
    Some((account.parse().ok()?, machine.parse().ok()?))
}

impl AccountSummary {
    pub fn new(account: &Account, machines: u64) -> Self {
        Self {
            id: account.id.to_string(),
            email: account.email.to_string(),
            plan: account.plan.to_string(),
            granted: account.granted.to_string(),
            limit: account.limit,
            early: account.early,
            created: account.created,
            machines,
        }
    }
}

impl From<&ListedAccount> for AccountSummary {
    fn from(listed: &ListedAccount) -> Self {
        Self::new(&listed.account, listed.machines)
    }
}

impl From<&Token> for TokenSummary {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            label: token.label.to_string(),
            created: token.created,
            revoked: token.revoked,
        }
    }
}

impl From<&OperatorKeyEntry> for OperatorKeySummary {
    fn from(key: &OperatorKeyEntry) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            created: key.created,
            revoked: key.revoked,
        }
    }
}

impl From<&NumberedEntry> for AuditLine {
    fn from(numbered: &NumberedEntry) -> Self {
        let entry = &numbered.entry;
        Self {
            number: numbered.number,
            at: entry.at,
            actor: entry.actor.to_string(),
            action: entry.action.to_string(),
            subject: entry.subject.to_string(),
            account: entry.account.map(|account| account.to_string()),
            reason: entry.reason.clone(),
        }
    }
}
