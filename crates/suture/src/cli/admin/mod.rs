//! `suture admin`

mod client;
mod desk;
mod lines;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::MachineId;
use suture_rollout::{ChannelName, EarlyPreference};
use suture_server::lists;
use suture_server::view::PolicyView;
use suture_store::{Actor, ChannelChange, GroupName, OperatorKey, OperatorName, Plan};
use url::Url;

use super::database::DatabaseArgs;
use super::output::print;
use client::Client;
use desk::{Desk, MachineFilter};
use lines::Format;

/// Where the key is looked for: other users can't read a program's environment.
const KEY_VARIABLE: &str = "SUTURE_OPERATOR_KEY";

/// Bytes of a file with a key.
const MAX_KEY_FILE: u64 = 4096;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Ask a running service instead of a database, e.g. `https://patches.example.org`. The
    /// operator's key is taken from `SUTURE_OPERATOR_KEY` or from --key-file.
    #[arg(long, global = true, value_name = "ADDRESS")]
    server: Option<Url>,
    /// File with the operator's key.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    key_file: Option<PathBuf>,
    /// Certificate of the service's own authority, a PEM file.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// How answers are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
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
    /// Count all machines, by state, version and kernel.
    Fleet,
    /// List machines, of one account or of all: id, name, kernel, last check-in, state, version,
    /// account, group.
    Machines {
        /// The account's address [default: all accounts].
        email: Option<String>,
        #[command(flatten)]
        filter: MachineFilter,
    },
    /// Release a machine: it keeps the live patch that it has and gets no new ones.
    Release {
        email: String,
        /// Its id, as `suture admin machines` lists it.
        machine: MachineId,
    },
    /// Put a machine into a group that rollout plans name, or out of any.
    Group {
        email: String,
        /// Its id, as `suture admin machines` lists it.
        machine: MachineId,
        /// Name of the group; none: the machine is in no group.
        group: Option<String>,
    },
    /// List all groups: name, machines, policy.
    Groups,
    /// Set what holds for a group's machines from their next check-in on: they only ever wait.
    Policy(PolicyArgs),
    /// List all channels: name, the groups that follow it, its versions.
    Channels,
    /// Let a version through to the groups that follow a channel, from each machine's next
    /// check-in on.
    Promote {
        version: PatchVersion,
        channel: ChannelName,
    },
    /// Let all versions of one channel through to another as well.
    PromoteAll { from: ChannelName, to: ChannelName },
    /// Take a version out of a channel: machines that were offered it keep it, others wait.
    Demote {
        version: PatchVersion,
        channel: ChannelName,
    },
    /// List what the service's operators are told by: name, where, when it was told last, what
    /// was given up, trouble.
    Hooks,
    /// Send a hook a message that only says that it works.
    TestHook {
        /// As `suture admin hooks` lists it.
        name: String,
    },
    /// Keys by which operators change rollouts in a browser or over the API.
    #[command(subcommand)]
    OperatorKey(OperatorKeyCommand),
    /// Show the latest changes, newest first: when, who, what, to what, of which account, why.
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
        plan: Plan,
    },
    /// Change an account's plan.
    SetPlan { email: String, plan: Plan },
    /// Set the most machines of an account, whatever its plan says.
    SetLimit {
        email: String,
        /// A number of machines, or `plan`: what the plan says.
        #[arg(value_parser = limit)]
        machines: Limit,
    },
    /// Whether an account's machines go first: drawn by lot as its plan says, always, or never.
    Early {
        email: String,
        /// `drawn`, `always` or `never`.
        preference: EarlyPreference,
    },
    /// List all accounts: address, plan, since when, early groups, machines,
    /// the limit that was set.
    List,
}

/// None: what the plan says.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "plan" => Ok(Limit(None)),
        text => text
            .parse()
            .map(|machines| Limit(Some(machines)))
            .map_err(|_| "expected a number of machines, or `plan`".to_owned()),
    }
}

/// What holds for a group's machines.
#[derive(Debug, clap::Args)]
struct PolicyArgs {
    /// Name of the group.
    name: String,
    /// Nothing new at all.
    #[arg(long)]
    hold: bool,
    /// Nothing later than this version.
    #[arg(long, value_name = "VERSION")]
    pin: Option<PatchVersion>,
    /// Days from the begin of a version's rollout until the group may have it.
    #[arg(long, value_name = "DAYS")]
    delay_days: Option<u16>,
    /// Nothing whose rollout began after this day (UTC), or this very time.
    #[arg(long, value_name = "DAY", value_parser = cut_off)]
    cut_off: Option<Timestamp>,
    /// Nothing that was not promoted to this channel.
    #[arg(long)]
    channel: Option<ChannelName>,
    /// Take the policy away.
    #[arg(long, conflicts_with_all = ["hold", "pin", "delay_days", "cut_off", "channel"],
        required_unless_present_any = ["hold", "pin", "delay_days", "cut_off", "channel"])]
    none: bool,
}

fn cut_off(text: &str) -> Result<Timestamp, String> {
    let time = text.parse::<Timestamp>().ok();
    let day = || lists::end_of(text.parse().ok()?).ok();
    time.or_else(day)
        .ok_or_else(|| "expected a day like `2026-12-31`, or a time in UTC".to_owned())
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
    let format = args.format;
    let desk = match args.server {
        Some(server) => {
            let key = operator_key(args.key_file.as_deref())?;
            Desk::Service(Client::new(server, key, args.ca.as_deref())?)
        }
        None => Desk::Database {
            store: args.database.open().await?,
            by: operator()?,
            now: crate::clock::now(),
        },
    };
    match args.command {
        Command::Account(command) => account(&desk, command, format).await,
        Command::Token(command) => token(&desk, command, format).await,
        Command::OperatorKey(command) => operator_keys(&desk, command, format).await,
        Command::Fleet => format.show(&desk.fleet().await?),
        Command::Machines { email, filter } => {
            format.list(&desk.machines(email.as_deref(), &filter).await?)
        }
        Command::Release { email, machine } => {
            desk.release(&email, &machine).await?;
            done(format, "released", &machine.to_string())
        }
        Command::Group {
            email,
            machine,
            group,
        } => {
            let group: Option<GroupName> = group.map(|name| name.parse()).transpose()?;
            desk.set_group(&email, &machine, group.as_ref()).await?;
            let group = group.map_or("no group".to_owned(), |name| name.to_string());
            done(format, &group, &machine.to_string())
        }
        Command::Hooks => format.list(&desk.hooks()?),
        Command::TestHook { name } => {
            let outcome = desk.test_hook(&name)?;
            format.show(&outcome)?;
            anyhow::ensure!(outcome.trouble.is_none(), "the test of `{name}` failed");
            Ok(())
        }
        Command::Groups => format.list(&desk.groups().await?),
        Command::Policy(args) => {
            let policy = PolicyView {
                hold: args.hold,
                pin: args.pin,
                delay_days: args.delay_days,
                cut_off: args.cut_off,
                channel: args.channel,
            };
            format.show(&desk.set_policy(&args.name, &policy).await?)
        }
        Command::Channels => format.list(&desk.channels().await?),
        Command::Promote { version, channel } => {
            let promoted = ChannelChange {
                version,
                channel,
                promoted: true,
            };
            format.show(&desk.change_channel(&promoted).await?)
        }
        Command::PromoteAll { from, to } => format.show(&desk.promote_all(&from, &to).await?),
        Command::Demote { version, channel } => {
            let demoted = ChannelChange {
                version,
                channel,
                promoted: false,
            };
            format.show(&desk.change_channel(&demoted).await?)
        }
        Command::Audit { last } => format.list(&desk.audit(last).await?),
    }
}

async fn account(desk: &Desk, command: AccountCommand, format: Format) -> anyhow::Result<()> {
    let account = match command {
        AccountCommand::Create { email, plan } => desk.create_account(&email, plan).await?,
        AccountCommand::SetPlan { email, plan } => desk.set_plan(&email, plan).await?,
        AccountCommand::SetLimit { email, machines } => desk.set_limit(&email, machines.0).await?,
        AccountCommand::Early { email, preference } => desk.set_early(&email, preference).await?,
        AccountCommand::List => return format.list(&desk.accounts().await?),
    };
    format.show(&account)
}

async fn token(desk: &Desk, command: TokenCommand, format: Format) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { email, label } => {
            secret(format, &desk.create_token(&email, &label).await?)
        }
        TokenCommand::List { email } => format.list(&desk.tokens(&email).await?),
        TokenCommand::Revoke { id } => format.show(&desk.revoke_token(&id).await?),
    }
}

async fn operator_keys(
    desk: &Desk,
    command: OperatorKeyCommand,
    format: Format,
) -> anyhow::Result<()> {
    match command {
        OperatorKeyCommand::Create { name } => {
            secret(format, &desk.create_operator_key(&name).await?)
        }
        OperatorKeyCommand::List => format.list(&desk.operator_keys().await?),
        OperatorKeyCommand::Revoke { id } => format.show(&desk.revoke_operator_key(&id).await?),
    }
}

fn secret(format: Format, made: &desk::Made) -> anyhow::Result<()> {
    match format {
        Format::Text => print(&format!("{}\n", made.secret)),
        Format::Json => {
            let made = serde_json::json!({ "id": made.id, "secret": made.secret });
            print(&format!("{made:#}\n"))
        }
    }
}

fn done(format: Format, what: &str, machine: &str) -> anyhow::Result<()> {
    match format {
        Format::Text => print(&format!("{machine}\t{what}\n")),
        Format::Json => {
            let done = serde_json::json!({ "machine": machine, "done": what });
            print(&format!("{done:#}\n"))
        }
    }
}

/// From a file or the environment; never from the arguments, which every user can read.
fn operator_key(file: Option<&Path>) -> anyhow::Result<OperatorKey> {
    let text = match file {
        Some(path) => {
            read_key(path).with_context(|| format!("cannot read `{}`", path.display()))?
        }
        None => std::env::var(KEY_VARIABLE).with_context(|| {
            format!(
                "an operator's key is needed: name its file by --key-file, or set {KEY_VARIABLE}"
            )
        })?,
    };
    let key = text.trim().parse();
    key.ok().context(
        "this is no operator's key: expected `suture_o_…` as `suture admin operator-key create` \
         printed it",
    )
}

fn read_key(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_KEY_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Who is at the keyboard, for the audit log.
pub(super) fn operator() -> anyhow::Result<Actor> {
    let name = ["SUDO_USER", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let name: OperatorName = name.unwrap_or_else(|| "root".to_owned()).parse()?;
    Ok(Actor::Operator(name))
}
