//! What an operator does, in a database of this machine or at a running service.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use suture_protocol::MachineId;
use suture_rollout::{ChannelName, EarlyPreference};
use suture_server::lists;
use suture_server::view::{
    AccountPage, AccountSummary, AuditLine, AuditPage, ChannelView, FleetView, GroupView,
    HookTestView, HookView, MachinePage, MachineRow, OperatorKeySummary, PolicyView, TokenSummary,
    read_place,
};
use suture_store::{
    Account, AccountQuery, Actor, ChannelChange, GroupName, MachineQuery, NewAccount, Plan, Store,
    TokenLabel,
};

use super::client::Client;

/// Lines that are asked for at a time.
const PIECE: u32 = 200;

/// Where the work is done.
pub enum Desk {
    Database {
        store: Arc<dyn Store>,
        by: Actor,
        now: Timestamp,
    },
    Service(Client),
}

/// Which machines to list.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MachineFilter {
    /// Only machines with this in their host name, or ids that begin so.
    #[arg(long)]
    pub text: Option<String>,
    /// Only kernels with this in their release.
    #[arg(long)]
    pub kernel: Option<String>,
    /// Only this state: `applied`, `applying`, `unapplied` or `apply-failed`.
    #[arg(long)]
    pub state: Option<suture_protocol::MachineState>,
    /// Only machines with this version in force.
    #[arg(long, value_name = "VERSION")]
    pub applied: Option<suture_advisory::PatchVersion>,
    /// Only machines that were not heard of for so many hours.
    #[arg(long, value_name = "HOURS")]
    pub silent: Option<u32>,
}

/// A secret that was just made; it can't be shown again.
pub struct Made {
    pub id: String,
    pub secret: String,
}

impl Desk {
    pub async fn create_account(&self, email: &str, plan: Plan) -> anyhow::Result<AccountSummary> {
        match self {
            Self::Database { store, by, now } => {
                let new = NewAccount {
                    email: email.parse()?,
                    plan,
                };
                let account = store.create_account(&new, by, *now).await?;
                Ok(AccountSummary::new(&account, 0))
            }
            Self::Service(client) => {
                let new = json!({ "email": email, "plan": plan.as_str() });
                client.send("POST", &["accounts"], &new)
            }
        }
    }

    pub async fn set_plan(&self, email: &str, plan: Plan) -> anyhow::Result<AccountSummary> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                store.set_plan(account.id, plan, by, *now).await?;
                self.account(email).await
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                let change = json!({ "plan": plan.as_str() });
                client.send("PATCH", &["accounts", &account.id], &change)
            }
        }
    }

    pub async fn set_limit(
        &self,
        email: &str,
        limit: Option<u32>,
    ) -> anyhow::Result<AccountSummary> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                store.set_machine_limit(account.id, limit, by, *now).await?;
                self.account(email).await
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                let change = json!({ "limit": limit });
                client.send("PATCH", &["accounts", &account.id], &change)
            }
        }
    }

    pub async fn groups(&self) -> anyhow::Result<Vec<GroupView>> {
        match self {
            Self::Database { store, .. } => {
                let groups = store.groups().await?;
                Ok(groups.iter().map(GroupView::from).collect())
            }
            Self::Service(client) => client.get(&["groups"], &[]),
        }
    }

    pub fn hooks(&self) -> anyhow::Result<Vec<HookView>> {
        self.service_for_hooks()?.get(&["hooks"], &[])
    }

    pub fn test_hook(&self, name: &str) -> anyhow::Result<HookTestView> {
        let path = ["hooks", name, "test"];
        self.service_for_hooks()?.send("POST", &path, &json!({}))
    }

    /// Hooks are in a file that the running service was started with.
    fn service_for_hooks(&self) -> anyhow::Result<&Client> {
        match self {
            Self::Service(client) => Ok(client),
            Self::Database { .. } => anyhow::bail!(
                "a database knows no hooks: they are in the file of the running service, which \
                 --server asks"
            ),
        }
    }

    pub async fn set_policy(&self, name: &str, policy: &PolicyView) -> anyhow::Result<PolicyView> {
        match self {
            Self::Database { store, by, now } => {
                let (name, policy): (GroupName, _) = (name.parse()?, policy.clone().try_into()?);
                store.set_group_policy(&name, &policy, by, *now).await?;
                Ok(policy.into())
            }
            Self::Service(client) => client.send("PUT", &["groups", name, "policy"], policy),
        }
    }

    pub async fn channels(&self) -> anyhow::Result<Vec<ChannelView>> {
        match self {
            Self::Database { store, .. } => {
                let (channels, groups) = (store.channels().await?, store.groups().await?);
                Ok(ChannelView::all(&channels, &groups))
            }
            Self::Service(client) => client.get(&["channels"], &[]),
        }
    }

    async fn channel(&self, name: &ChannelName) -> anyhow::Result<ChannelView> {
        let mut channels = self.channels().await?.into_iter();
        let nothing = || ChannelView::of(name, &[], &[]);
        let found = channels.find(|channel| channel.name == name.as_str());
        Ok(found.unwrap_or_else(nothing))
    }

    pub async fn change_channel(&self, change: &ChannelChange) -> anyhow::Result<ChannelView> {
        let channel = &change.channel;
        match self {
            Self::Database { store, by, now } => {
                store.change_channel(change, by, *now).await?;
                self.channel(channel).await
            }
            Self::Service(client) => {
                let version = change.version.to_string();
                let place = ["channels", channel.as_str(), "versions", &version];
                match change.promoted {
                    true => client.send("PUT", &place, &json!({})),
                    false => client.delete(&place),
                }
            }
        }
    }

    /// What was promoted already is so once more, so it may be called again after an error.
    pub async fn promote_all(
        &self,
        from: &ChannelName,
        to: &ChannelName,
    ) -> anyhow::Result<ChannelView> {
        let there = self.channel(from).await?;
        anyhow::ensure!(
            !there.promotions.is_empty(),
            "nothing was promoted to the channel `{from}`; `suture admin channels` lists all"
        );
        // The oldest first, as somebody would who does it one by one.
        for promotion in there.promotions.iter().rev() {
            let change = ChannelChange {
                version: promotion.version,
                channel: to.clone(),
                promoted: true,
            };
            self.change_channel(&change).await?;
        }
        self.channel(to).await
    }

    pub async fn set_early(
        &self,
        email: &str,
        early: EarlyPreference,
    ) -> anyhow::Result<AccountSummary> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                let id = account.id;
                store.set_early_preference(id, early, by, *now).await?;
                self.account(email).await
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                let change = json!({ "early": early });
                client.send("PATCH", &["accounts", &account.id], &change)
            }
        }
    }

    async fn account(&self, email: &str) -> anyhow::Result<AccountSummary> {
        match self {
            Self::Database { store, .. } => {
                let account = find(store.as_ref(), email).await?;
                Ok(lists::account(store.as_ref(), account.id).await?)
            }
            Self::Service(client) => client.get(&["accounts", email], &[]),
        }
    }

    pub async fn accounts(&self) -> anyhow::Result<Vec<AccountSummary>> {
        let mut accounts = Vec::new();
        let mut after = None;
        loop {
            let page = self.account_page(after.as_deref()).await?;
            accounts.extend(page.accounts);
            match page.next {
                Some(next) => after = Some(next),
                None => break Ok(accounts),
            }
        }
    }

    async fn account_page(&self, after: Option<&str>) -> anyhow::Result<AccountPage> {
        match self {
            Self::Database { store, .. } => {
                let query = AccountQuery {
                    after: after.map(str::parse).transpose()?,
                    limit: PIECE,
                    ..AccountQuery::default()
                };
                Ok(lists::accounts(store.as_ref(), &query).await?)
            }
            Self::Service(client) => {
                let query: Vec<_> = after.iter().map(|after| ("after", *after)).collect();
                client.get(&["accounts"], &query)
            }
        }
    }

    pub async fn create_token(&self, email: &str, label: &str) -> anyhow::Result<Made> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                let label: TokenLabel = label.parse()?;
                let issued = store.create_token(account.id, &label, by, *now).await?;
                Ok(Made {
                    id: issued.token.id.to_string(),
                    secret: issued.secret.expose().to_owned(),
                })
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                let path = ["accounts", &account.id, "tokens"];
                made(client.send("POST", &path, &json!({ "label": label }))?)
            }
        }
    }

    pub async fn tokens(&self, email: &str) -> anyhow::Result<Vec<TokenSummary>> {
        match self {
            Self::Database { store, .. } => {
                let account = find(store.as_ref(), email).await?;
                let tokens = store.tokens(account.id).await?;
                Ok(tokens.iter().map(TokenSummary::from).collect())
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                client.get(&["accounts", &account.id, "tokens"], &[])
            }
        }
    }

    pub async fn revoke_token(&self, id: &str) -> anyhow::Result<TokenSummary> {
        match self {
            Self::Database { store, by, now } => {
                let token = store.revoke_token(id.parse()?, by, *now).await?;
                Ok(TokenSummary::from(&token))
            }
            Self::Service(client) => client.delete(&["tokens", id]),
        }
    }

    /// Machines of an account or of all.
    pub async fn machines(
        &self,
        email: Option<&str>,
        filter: &MachineFilter,
    ) -> anyhow::Result<Vec<MachineRow>> {
        let account = match email {
            Some(email) => Some(self.account(email).await?.id),
            None => None,
        };
        let mut machines = Vec::new();
        let mut after = None;
        loop {
            let asked = self.machine_page(account.as_deref(), filter, after.as_deref());
            let page = asked.await?;
            machines.extend(page.machines);
            match page.next {
                Some(next) => after = Some(next),
                None => break Ok(machines),
            }
        }
    }

    async fn machine_page(
        &self,
        account: Option<&str>,
        filter: &MachineFilter,
        after: Option<&str>,
    ) -> anyhow::Result<MachinePage> {
        match self {
            Self::Database { store, now, .. } => {
                let silent =
                    |hours: u32| now.checked_sub(jiff::SignedDuration::from_hours(hours.into()));
                let query = MachineQuery {
                    text: filter.text.clone(),
                    kernel: filter.kernel.clone(),
                    state: filter.state,
                    applied: filter.applied,
                    account: account.map(str::parse).transpose()?,
                    silent_since: filter.silent.map(silent).transpose()?,
                    after: after.and_then(read_place),
                    limit: PIECE,
                };
                Ok(lists::machines(store.as_ref(), &query).await?)
            }
            Self::Service(client) => {
                let texts = [
                    ("account", account.map(str::to_owned)),
                    ("text", filter.text.clone()),
                    ("kernel", filter.kernel.clone()),
                    ("state", filter.state.map(|state| state.as_str().to_owned())),
                    ("applied", filter.applied.map(|version| version.to_string())),
                    ("silent_hours", filter.silent.map(|hours| hours.to_string())),
                    ("after", after.map(str::to_owned)),
                ];
                let query: Vec<_> = texts
                    .iter()
                    .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
                    .collect();
                client.get(&["fleet", "machines"], &query)
            }
        }
    }

    pub async fn release(&self, email: &str, machine: &MachineId) -> anyhow::Result<()> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                store.release_machine(account.id, machine, by, *now).await?;
                Ok(())
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                client.delete(&["accounts", &account.id, "machines", machine.as_str()])
            }
        }
    }

    pub async fn set_group(
        &self,
        email: &str,
        machine: &MachineId,
        group: Option<&GroupName>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Database { store, by, now } => {
                let account = find(store.as_ref(), email).await?;
                let id = account.id;
                store
                    .set_machine_group(id, machine, group, by, *now)
                    .await?;
                Ok(())
            }
            Self::Service(client) => {
                let account = self.account(email).await?;
                let path = [
                    "accounts",
                    &account.id,
                    "machines",
                    machine.as_str(),
                    "group",
                ];
                let group = group.map(GroupName::as_str);
                client.send("PUT", &path, &json!({ "group": group }))
            }
        }
    }

    pub async fn create_operator_key(&self, name: &str) -> anyhow::Result<Made> {
        match self {
            Self::Database { store, by, now } => {
                let name = name.parse()?;
                let (entry, key) = store.create_operator_key(&name, by, *now).await?;
                Ok(Made {
                    id: entry.id.to_string(),
                    secret: key.expose().to_owned(),
                })
            }
            Self::Service(client) => {
                made(client.send("POST", &["operator-keys"], &json!({ "name": name }))?)
            }
        }
    }

    pub async fn operator_keys(&self) -> anyhow::Result<Vec<OperatorKeySummary>> {
        match self {
            Self::Database { store, .. } => {
                let keys = store.operator_keys().await?;
                Ok(keys.iter().map(OperatorKeySummary::from).collect())
            }
            Self::Service(client) => client.get(&["operator-keys"], &[]),
        }
    }

    pub async fn revoke_operator_key(&self, id: &str) -> anyhow::Result<OperatorKeySummary> {
        match self {
            Self::Database { store, by, now } => {
                let key = store.revoke_operator_key(id.parse()?, by, *now).await?;
                Ok(OperatorKeySummary::from(&key))
            }
            Self::Service(client) => client.delete(&["operator-keys", id]),
        }
    }

    /// The latest lines, newest first.
    pub async fn audit(&self, last: u32) -> anyhow::Result<Vec<AuditLine>> {
        let mut lines: Vec<AuditLine> = Vec::new();
        let mut before = None;
        loop {
            let missing = last.saturating_sub(u32::try_from(lines.len())?);
            if missing == 0 {
                break Ok(lines);
            }
            let page = self.audit_page(before, missing.min(PIECE)).await?;
            lines.extend(page.lines);
            match page.next {
                Some(next) => before = Some(next),
                None => break Ok(lines),
            }
        }
    }

    async fn audit_page(&self, before: Option<u64>, limit: u32) -> anyhow::Result<AuditPage> {
        match self {
            Self::Database { store, .. } => {
                Ok(lists::audit(store.as_ref(), before, None, limit).await?)
            }
            Self::Service(client) => {
                let (limit, before) = (limit.to_string(), before.map(|it| it.to_string()));
                let mut query = vec![("limit", limit.as_str())];
                query.extend(before.iter().map(|before| ("before", before.as_str())));
                client.get(&["audit"], &query)
            }
        }
    }

    /// The fleet counted.
    pub async fn fleet(&self) -> anyhow::Result<FleetView> {
        match self {
            Self::Database { store, now, .. } => {
                let groups = store.fleet_groups(*now).await?;
                let samples = store.fleet_samples(Timestamp::UNIX_EPOCH).await?;
                Ok(FleetView::new(&groups, &samples, *now))
            }
            Self::Service(client) => client.get(&["fleet"], &[]),
        }
    }
}

async fn find(store: &dyn Store, email: &str) -> anyhow::Result<Account> {
    Ok(store.account_by_email(&email.parse()?).await?)
}

fn made(answer: serde_json::Value) -> anyhow::Result<Made> {
    let text = |name: &str| {
        let text = answer[name].as_str().map(str::to_owned);
        text.ok_or_else(|| anyhow::anyhow!("the service's answer has no `{name}`"))
    };
    Ok(Made {
        id: text("id")?,
        secret: text("secret")?,
    })
}
