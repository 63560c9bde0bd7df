//! `suture admin`

use anyhow::Context as _;
use clap::Subcommand;
use suture_protocol::MachineId;
use suture_rollout::EarlyPreference;
use suture_store::{
    Account, Actor, AuditEntry, EmailAddress, GroupName, NewAccount, OperatorKeyEntry,
    OperatorKeyId, OperatorName, Plan, Store, TokenLabel,
};

use super::database::DatabaseArgs;
use super::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Tokens, by which machines are enrolled.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List an account's machines.
    Machines { email: String },
    /// Put a machine into a group that rollout plans name, or out of any.
    Group {
        email: String,
        /// Its id, as `suture admin machines` lists it.
        machine: MachineId,
        /// Name of the group; none: the machine is in no group.
        group: Option<String>,
    },
    /// Keys by which operators change rollouts in a browser or over the API.
    #[command(subcommand)]
    OperatorKey(OperatorKeyCommand),
    /// Show the latest changes, newest first: when, who, what, to what, of which account.
    Audit {
        /// How many.
        #[arg(long, default_value_t = 50)]
        last: u32,
    },
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Make an account.
    Create {
        email: String,
        #[arg(long, default_value = "free")]
        plan: String,
    },
    /// Change an account's plan.
    SetPlan { email: String, plan: String },
    /// Whether an account's machines go first: drawn by lot as its plan says, always, or never.
    Early {
        email: String,
        /// `drawn`, `always` or `never`.
        preference: String,
    },
    /// List all accounts.
    List,
}

#[derive(Debug, Subcommand)]
enum OperatorKeyCommand {
    /// Make a key and print it; it can't be shown again.
    Create {
        /// Who it is for; the audit log names it.
        name: String,
    },
    /// List all keys.
    List,
    /// Revoke a key by its id; whoever is signed in with it is signed out.
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it can't be shown again.
    Create {
        email: String,
        /// What it is for.
        #[arg(long, default_value = "command line")]
        label: String,
    },
    /// List an account's tokens.
    List { email: String },
    /// Revoke a token by its id. Machines that are enrolled stay so.
    Revoke { id: String },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let store = args.database.open().await?;
    let store = store.as_ref();
    let now = crate::clock::now();
    let by = operator()?;
    match args.command {
        Command::Account(AccountCommand::Create { email, plan }) => {
            let new = NewAccount {
                email: email.parse()?,
                plan: parse_plan(&plan)?,
            };
            let account = store.create_account(&new, &by, now).await?;
            println!("{}\t{}", account.email, account.plan.as_str());
        }
        Command::Account(AccountCommand::SetPlan { email, plan }) => {
            let account = find(store, &email).await?;
            let account = store
                .set_plan(account.id, parse_plan(&plan)?, &by, now)
                .await?;
            println!("{}\t{}", account.email, account.plan.as_str());
        }
        Command::Account(AccountCommand::Early { email, preference }) => {
            let account = find(store, &email).await?;
            let wanted = parse_preference(&preference)?;
            store
                .set_early_preference(account.id, wanted, &by, now)
                .await?;
            println!("{}\t{preference}", account.email);
        }
        Command::Group {
            email,
            machine,
            group,
        } => {
            let account = find(store, &email).await?;
            let group: Option<GroupName> = group.map(|name| name.parse()).transpose()?;
            let machine = store
                .set_machine_group(account.id, &machine, group.as_ref(), &by, now)
                .await?;
            let group = group.map_or("no group".to_owned(), |name| name.to_string());
            println!("{}\t{}\t{group}", machine.id, machine.hostname);
        }
        Command::OperatorKey(OperatorKeyCommand::Create { name }) => {
            let (_, key) = store.create_operator_key(&name.parse()?, &by, now).await?;
            println!("{}", key.expose());
        }
        Command::OperatorKey(OperatorKeyCommand::List) => {
            for key in store.operator_keys().await? {
                print(&format!("{}\n", operator_key_line(&key)))?;
            }
        }
        Command::OperatorKey(OperatorKeyCommand::Revoke { id }) => {
            let id: OperatorKeyId = id.parse().context("this is no id of a key")?;
            let key = store.revoke_operator_key(id, &by, now).await?;
            println!("{}", operator_key_line(&key));
        }
        Command::Account(AccountCommand::List) => {
            for account in store.accounts().await? {
                print(&format!(
                    "{}\t{}\t{}\n",
                    account.email,
                    account.plan.as_str(),
                    account.created
                ))?;
            }
        }
        Command::Token(TokenCommand::Create { email, label }) => {
            let account = find(store, &email).await?;
            let label: TokenLabel = label.parse()?;
            let issued = store.create_token(account.id, &label, &by, now).await?;
            println!("{}", issued.secret.expose());
        }
        Command::Token(TokenCommand::List { email }) => {
            for token in store.tokens(find(store, &email).await?.id).await? {
                let state = token
                    .revoked
                    .map_or("valid".to_owned(), |at| format!("revoked {at}"));
                print(&format!(
                    "{}\t{}\t{}\t{state}\n",
                    token.id, token.label, token.created
                ))?;
            }
        }
        Command::Token(TokenCommand::Revoke { id }) => {
            let token = store.revoke_token(id.parse()?, &by, now).await?;
            println!("revoked {}", token.id);
        }
        Command::Machines { email } => {
            for machine in store.machines(find(store, &email).await?.id).await? {
                let seen = machine
                    .last_check_in
                    .map_or("never".to_owned(), |last| last.at.to_string());
                print(&format!(
                    "{}\t{}\t{}\t{seen}\n",
                    machine.id, machine.hostname, machine.kernel.release
                ))?;
            }
        }
        Command::Audit { last } => {
            for entry in store.audit_log(None, last).await? {
                print(&audit_line(&entry))?;
            }
        }
    }
    Ok(())
}

/// When, who, what, to what, of which account, why; separated by tabs.
fn audit_line(entry: &AuditEntry) -> String {
    let AuditEntry {
        at,
        actor,
        action,
        account,
        subject,
        reason,
    } = entry;
    let account = account.map_or("-".to_owned(), |account| format!("account:{account}"));
    let reason = reason
        .as_ref()
        .map_or(String::new(), |why| format!("\t{why}"));
    format!("{at}\t{actor}\t{action}\t{subject}\t{account}{reason}\n")
}

async fn find(store: &dyn Store, email: &str) -> anyhow::Result<Account> {
    let email: EmailAddress = email.parse()?;
    Ok(store.account_by_email(&email).await?)
}

fn parse_plan(text: &str) -> anyhow::Result<Plan> {
    Plan::ALL
        .into_iter()
        .find(|plan| plan.as_str() == text)
        .with_context(|| format!("`{text}` is no plan; expected `free` or `subscription`"))
}

fn parse_preference(text: &str) -> anyhow::Result<EarlyPreference> {
    match text {
        "drawn" => Ok(EarlyPreference::Drawn),
        "always" => Ok(EarlyPreference::Always),
        "never" => Ok(EarlyPreference::Never),
        other => anyhow::bail!("`{other}` is none of `drawn`, `always` and `never`"),
    }
}

fn operator_key_line(key: &OperatorKeyEntry) -> String {
    let state = key
        .revoked
        .map_or("valid".to_owned(), |at| format!("revoked {at}"));
    format!("{}\t{}\t{}\t{state}", key.id, key.name, key.created)
}

/// Who is at the keyboard, for the audit log.
pub(super) fn operator() -> anyhow::Result<Actor> {
    let name = ["SUDO_USER", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let name: OperatorName = name.unwrap_or_else(|| "root".to_owned()).parse()?;
    Ok(Actor::Operator(name))
}

#[cfg(test)]
mod tests {
    use suture_store::{AccountId, Action, Subject};

    use super::*;

    #[test]
    fn a_line_of_the_audit_log_is_for_people_and_for_cut() {
        let account: AccountId = "6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11".parse().unwrap();
        let entry = AuditEntry {
            at: "2026-11-20T08:00:00Z".parse().unwrap(),
            actor: Actor::Operator("root".parse().unwrap()),
            action: Action::ChangePlan,
            account: Some(account),
            subject: Subject::Account(account),
            reason: Some("paid by transfer".to_owned()),
        };
        assert_eq!(
            audit_line(&entry),
            "2026-11-20T08:00:00Z\toperator:root\tchange-plan\t\
             account:6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11\t\
             account:6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11\tpaid by transfer\n"
        );
    }
}
