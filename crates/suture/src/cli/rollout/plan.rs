//! Plans: read, shown, previewed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_rollout::preview::{Circumstances, Preview};
use suture_rollout::{Plan, Scope};
use suture_server::ServerConfig;
use suture_store::Store;

use super::show::Format;
use crate::cli::output::print;

#[derive(Debug, clap::Args)]
pub struct PreviewArgs {
    /// The published version; without it, all machines are taken.
    version: Option<PatchVersion>,
    /// Folder of the repository.
    #[arg(long, requires = "version")]
    repository: Option<PathBuf>,
    /// `standard`, `urgent`, `immediate`, or a TOML file.
    #[arg(long, default_value = "standard")]
    plan: String,
    /// When it begins [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Seconds between two check-ins of a machine.
    #[arg(long, default_value_t = ServerConfig::DEFAULT_CHECK_IN_INTERVAL_SECS)]
    check_in_interval_secs: u64,
    /// Unclean ends per machine and hour that are to be expected without any patch.
    #[arg(long, default_value_t = Circumstances::USUAL_CRASHES_PER_HOUR)]
    crashes_per_hour: f64,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A built-in plan by its name, or one from a TOML file, which is checked.
pub fn read(name: &str) -> anyhow::Result<Plan> {
    if let Some(plan) = Plan::named(name) {
        return Ok(plan);
    }
    let path = Path::new(name);
    anyhow::ensure!(
        path.exists(),
        "`{name}` is neither a file nor one of the plans {}",
        Plan::NAMES.join(", ")
    );
    let text = crate::cli::read_input_text(path)?;
    let plan: Plan =
        toml::from_str(&text).with_context(|| format!("`{}` is no plan", path.display()))?;
    plan.check()?;
    Ok(plan)
}

/// Prints a plan as TOML: a start for one's own.
pub fn print_plan(name: &str) -> anyhow::Result<()> {
    let plan = read(name)?;
    let text = toml::to_string_pretty(&plan).context("the plan cannot be written as TOML")?;
    print(&text)
}

pub async fn preview(store: &dyn Store, args: &PreviewArgs) -> anyhow::Result<()> {
    let plan = read(&args.plan)?;
    let now = crate::clock::now();
    let sizes = match (args.version, &args.repository) {
        (Some(version), Some(repository)) => {
            let published = super::published(repository).await?;
            let scope = Scope {
                version,
                kernel: None,
            };
            store.fleet_sizes(&scope, &published, now).await?
        }
        (Some(version), None) => {
            anyhow::bail!("name the repository with --repository, to see what {version} covers")
        }
        (None, _) => all_machines(store).await?,
    };
    let preview = Preview::new(
        &plan,
        &Circumstances {
            free_accounts: sizes.free_accounts,
            paid_accounts: sizes.paid_accounts,
            free_machines: sizes.free_machines,
            paid_machines: sizes.paid_machines,
            check_in_secs: args.check_in_interval_secs,
            crashes_per_hour: args.crashes_per_hour,
            starts: args.at.unwrap_or(now),
        },
    )?;
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&preview)? + "\n")),
        Format::Text => print(&(preview.summary().join("\n") + "\n")),
    }
}

/// As if every enrolled machine were covered.
async fn all_machines(store: &dyn Store) -> anyhow::Result<suture_store::FleetSizes> {
    use suture_store::{FleetSizes, Plan};
    let mut sizes = FleetSizes::default();
    for account in store.accounts().await? {
        let machines = store.machines(account.id).await?.len() as u64;
        match account.plan {
            Plan::Free => {
                sizes.free_accounts += 1;
                sizes.free_machines += machines;
            }
            Plan::Subscription => {
                sizes.paid_accounts += 1;
                sizes.paid_machines += machines;
            }
        }
    }
    Ok(sizes)
}
