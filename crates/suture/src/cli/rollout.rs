//! `suture rollout`

mod draw;
mod plan;
mod show;
mod text;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use suture_advisory::PatchVersion;
use suture_kernel::KernelRelease;
use suture_protocol::TargetKind;
use suture_repository::Catalogue;
use suture_rollout::{Published, RolloutId, Scope};
use suture_store::{HandChange, NewRollout, Rollout, Store};

pub use plan::read as read_plan;

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
    /// List all rollouts, the newest first: version, phase, machines exposed, what it says.
    List,
    /// Show a rollout: its steps, its evidence and what is decided.
    Show(show::Args),
    /// Print a built-in plan, or check a plan's file and print it whole.
    Plan {
        /// `standard`, `urgent`, `immediate`, or a TOML file.
        #[arg(default_value = "standard")]
        plan: String,
    },
    /// Tell who would get a version when, and what a bad one could do, before it starts.
    Preview(plan::PreviewArgs),
    /// Make a rollout of a published version. The service does this by itself unless it was
    /// started with `--rollout-plan none`.
    Start(StartArgs),
    /// Stop delivery. Machines that have the version keep it.
    Halt(ChangeArgs),
    /// Go on after a halt; evidence is gathered anew.
    Resume(ChangeArgs),
    /// Stop delivery for good. Machines that have the version are told, and keep it until a later
    /// one replaces it.
    Withdraw(ChangeArgs),
    /// Print the record of the draw: the commitment, and once it is over the seed and the list.
    Draw { rollout: String },
    /// Check a draw's record, and whether an account or machine was drawn.
    Verify(draw::VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    version: PatchVersion,
    /// Folder of the repository.
    #[arg(long)]
    repository: PathBuf,
    /// `standard`, `urgent`, `immediate`, or a TOML file.
    #[arg(long, default_value = "standard")]
    plan: String,
    /// Only for this kernel release, apart from the others.
    #[arg(long, value_name = "RELEASE")]
    kernel: Option<KernelRelease>,
    /// When it begins, like `2026-12-01T08:00:00Z` [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// Its version, or its id.
    rollout: String,
    /// Why, for the audit log and for machines' owners.
    #[arg(long)]
    reason: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    // What needs no database must not make one.
    match args.command {
        Command::Plan { plan } => plan::print_plan(&plan),
        Command::Verify(verify) => draw::verify(&verify),
        command => {
            let store = args.database.open_existing().await?;
            run_on(store.as_ref(), command).await
        }
    }
}

async fn run_on(store: &dyn Store, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List => {
            for rollout in store.rollouts().await? {
                print(&line(&rollout))?;
            }
            Ok(())
        }
        Command::Show(args) => show::show(store, &args).await,
        Command::Preview(args) => plan::preview(store, &args).await,
        Command::Start(args) => start(store, args).await,
        Command::Halt(args) => {
            let reason = args.reason.clone();
            change(store, &args, HandChange::Halt { reason }).await
        }
        Command::Resume(args) => {
            let reason = args.reason.clone();
            change(store, &args, HandChange::Resume { reason }).await
        }
        Command::Withdraw(args) => {
            let reason = args.reason.clone();
            change(store, &args, HandChange::Withdraw { reason }).await
        }
        Command::Draw { rollout } => draw::print_record(store, &find(store, &rollout).await?).await,
        Command::Plan { .. } | Command::Verify(_) => Ok(()),
    }
}

/// Version, phase, machines exposed, what it says; separated by tabs.
fn line(rollout: &Rollout) -> String {
    let sentence = rollout
        .decision
        .as_ref()
        .map_or("not looked at yet", |decision| decision.sentence.as_str());
    format!(
        "{}\t{}\t{}\t{sentence}\n",
        rollout.scope,
        rollout.phase.as_str(),
        rollout.exposed
    )
}

async fn start(store: &dyn Store, args: StartArgs) -> anyhow::Result<()> {
    let published = published(&args.repository).await?;
    let builds: Vec<_> = published
        .iter()
        .filter(|patch| patch.version == args.version)
        .map(|patch| patch.kernel.clone())
        .collect();
    anyhow::ensure!(
        !builds.is_empty(),
        "version {} is not published in `{}`",
        args.version,
        args.repository.display()
    );
    let kernel = match &args.kernel {
        None => None,
        Some(release) => Some(
            builds
                .into_iter()
                .find(|build| build.release == *release)
                .with_context(|| {
                    format!("version {} is not published for {release}", args.version)
                })?,
        ),
    };
    let now = crate::clock::now();
    let new = NewRollout {
        scope: Scope {
            version: args.version,
            kernel,
        },
        plan: plan::read(&args.plan)?,
        starts: args.at.unwrap_or(now),
    };
    let by = super::admin::operator()?;
    let rollout = store.create_rollout(&new, &by, now).await?;
    print(&format!(
        "{}\t{}\t{}\n",
        rollout.id, rollout.scope, rollout.commitment
    ))
}

async fn change(store: &dyn Store, args: &ChangeArgs, change: HandChange) -> anyhow::Result<()> {
    let rollout = find(store, &args.rollout).await?;
    let (by, now) = (super::admin::operator()?, crate::clock::now());
    let rollout = store.change_rollout(rollout.id, &change, &by, now).await?;
    print(&line(&rollout))
}

/// The rollout that a version or an id names; of several of one version, the newest.
async fn find(store: &dyn Store, name: &str) -> anyhow::Result<Rollout> {
    if let Ok(id) = name.parse::<RolloutId>() {
        return Ok(store.rollout(id).await?);
    }
    let version: PatchVersion = name
        .parse()
        .with_context(|| format!("`{name}` is neither a version nor a rollout's id"))?;
    let rollouts = store.rollouts().await?;
    rollouts
        .into_iter()
        .find(|rollout| rollout.scope.version == version)
        .with_context(|| {
            format!("version {version} has no rollout; `suture rollout list` shows all")
        })
}

/// What a repository offers, as far as rollouts are about it.
async fn published(repository: &Path) -> anyhow::Result<Vec<Published>> {
    let catalogue = Catalogue::load(repository, None).await?;
    let modules = catalogue.targets().iter();
    Ok(modules
        .filter(|target| target.name.kind == TargetKind::Module)
        .map(|target| Published {
            kernel: target.name.kernel.clone(),
            version: target.name.version,
        })
        .collect())
}
