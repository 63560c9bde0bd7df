//! `suture rollout show`

use std::time::{Duration, Instant};

use suture_server::view::{self, Audience, RolloutView};
use suture_store::{Rollout, Store};

use crate::cli::output::print;

/// Between two looks at the database while waiting for a phase.
const POLL: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its version, or its id.
    rollout: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Wait until it comes to this phase: `running`, `halted`, `withdrawn` or `complete`.
    #[arg(long, value_name = "PHASE", value_parser = ["running", "halted", "withdrawn", "complete"])]
    wait: Option<String>,
    /// Longest wait, in seconds.
    #[arg(long, default_value_t = 3600, requires = "wait")]
    timeout_secs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

pub async fn show(store: &dyn Store, args: &Args) -> anyhow::Result<()> {
    let rollout = wait(store, args).await?;
    let id = rollout.id;
    let looks = store.looks(id, view::MAX_LOOKS).await?;
    let events = store
        .rollout_events(id, None, false, view::MAX_EVENTS)
        .await?;
    let machines = store.exposed_machines(id, view::MAX_MACHINES).await?;
    let now = crate::clock::now();
    let view = RolloutView::new(
        &rollout,
        &looks,
        &machines,
        &events,
        now,
        Audience::Operator,
    );
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&view)? + "\n")),
        Format::Text => print(&super::text::text(&view)),
    }
}

async fn wait(store: &dyn Store, args: &Args) -> anyhow::Result<Rollout> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout_secs);
    loop {
        let found = super::find(store, &args.rollout).await;
        let Some(wanted) = &args.wait else {
            return found;
        };
        let phase = found.as_ref().ok().map(|rollout| rollout.phase.as_str());
        if phase == Some(wanted) {
            return found;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "rollout `{}` is {} after {} seconds, not {wanted}",
            args.rollout,
            phase.unwrap_or("not there"),
            args.timeout_secs
        );
        tokio::time::sleep(POLL).await;
    }
}
