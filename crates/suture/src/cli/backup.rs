//! `suture backup` and `suture restore`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture_store::{Clock as _, SystemClock};
use suture_store_sql::BackupSummary;

use super::database::DatabaseArgs;

#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// File to write; one that exists is left alone. It is as confidential as the database.
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Backup of an SQLite file or of a PostgreSQL database; either goes into either.
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub async fn back_up(args: BackupArgs) -> anyhow::Result<()> {
    let path = &args.file;
    let address = args.database.existing()?;
    let whole = || format!("cannot write `{}`", path.display());
    // Readable by its owner only, and there under its name when it is whole.
    let hidden = tempfile::Builder::new()
        .prefix(".backup-")
        .tempfile_in(folder(path))
        .with_context(whole)?;
    let file = hidden.reopen().with_context(whole)?;
    let made = suture_store_sql::backup(&address, file, SystemClock.now()).await?;
    let named = hidden.persist_noclobber(path).map_err(|error| error.error);
    named.with_context(whole)?;
    let flushed = std::fs::File::open(folder(path)).and_then(|folder| folder.sync_all());
    flushed.with_context(whole)?;
    println!("backed up {} into `{}`", counted(&made), path.display());
    Ok(())
}

pub async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let path = &args.file;
    let address = args.database.address()?;
    let restored = suture_store_sql::restore(&address, path)
        .await
        .with_context(|| format!("cannot restore `{}` into {address}", path.display()))?;
    let (rows, made) = (counted(&restored), restored.made);
    println!("restored {rows} into {address}, as they were at {made}");
    Ok(())
}

fn counted(summary: &BackupSummary) -> String {
    format!("{} rows of {} tables", summary.rows, summary.tables)
}

fn folder(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}
