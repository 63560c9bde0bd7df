//! The draw of the early group: its record, and the check that anyone can make.

use std::path::PathBuf;

use anyhow::Context as _;
use suture_rollout::{DrawRecord, Place};
use suture_store::{Rollout, Store};

use crate::cli::output::print;

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The record, as `suture rollout draw` prints it or the service answers it.
    record: PathBuf,
    /// What the service published before the rollout started.
    #[arg(long, value_name = "HEX")]
    commitment: Option<String>,
    /// An account's id, or `ACCOUNT/MACHINE` where machines were drawn: tells where it was.
    #[arg(long, value_name = "ID")]
    unit: Option<String>,
}

pub async fn print_record(store: &dyn Store, rollout: &Rollout) -> anyhow::Result<()> {
    let list = store.draw_list(rollout.id).await?;
    let record = suture_server::view::DrawRecord::new(rollout, &list);
    print(&(serde_json::to_string_pretty(&record)? + "\n"))
}

pub fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let path = args.record.display();
    let record: DrawRecord = serde_json::from_slice(&super::super::read_input(&args.record)?)
        .with_context(|| format!("`{path}` is no record of a draw"))?;
    if let Some(expected) = &args.commitment {
        anyhow::ensure!(
            record.commitment.eq_ignore_ascii_case(expected),
            "the record's commitment is {}, not the one you noted",
            record.commitment
        );
    }
    record
        .verify()
        .with_context(|| format!("the draw in `{path}` does not hold"))?;
    let DrawRecord {
        drawn, eligible, ..
    } = &record;
    print(&format!(
        "The draw holds: {drawn} of {eligible} were drawn by the seed that was committed to\n"
    ))?;
    if let Some(unit) = &args.unit {
        let place = match record.place(unit)? {
            Place::NotListed => "was not in the list",
            Place::NotDrawn => "was in the list and not drawn",
            Place::Drawn => "was drawn",
        };
        print(&format!("{unit} {place}\n"))?;
    }
    Ok(())
}
