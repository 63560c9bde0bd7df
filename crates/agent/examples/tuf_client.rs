//! The agent's TUF client as the client under test of the TUF project's conformance suite.
//!
//! It speaks the suite's command line (`init`, `refresh`, `download`) and does the work with the
//! functions that the daemon uses: [`Client::update`] over [`HttpTransport`]. The suite looks
//! into the folder of `--metadata-dir`; so what the client trusts afterwards is copied there
//! under the names that the suite expects. See `crates/agent/tests/tuf-conformance`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use suture_agent::config::{Fragment, Settings};
use suture_agent::http;
use suture_agent::paths::Paths;
use suture_agent::transport::{FILE_LIMIT, HttpTransport};
use suture_repository::{Client, Limits, Location};
use url::Url;

/// Longest trusted root that is read.
const ROOT_LIMIT: u64 = 1 << 20;

#[derive(Parser)]
struct Arguments {
    /// Seconds since the epoch. The suite shifts time for programs that are linked dynamically;
    /// this one is told the time by a script that is.
    #[arg(long)]
    now: i64,
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<Url>,
    #[arg(long)]
    target_base_url: Option<Url>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[arg(long)]
    target_name: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init { trusted_root: PathBuf },
    Refresh,
    Download,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::Init { trusted_root } => arguments.init(trusted_root),
        Command::Refresh => arguments.update().await.map(drop),
        Command::Download => arguments.download().await,
    }
}

impl Arguments {
    fn init(&self, trusted_root: &Path) -> Result<()> {
        let root = suture_agent::files::read_bounded(trusted_root, ROOT_LIMIT)?;
        fs::create_dir_all(self.store())?;
        fs::write(self.trusted_root(), &root)?;
        fs::write(self.metadata_dir.join("root.json"), &root)?;
        Ok(())
    }

    async fn update(&self) -> Result<Client> {
        let url = self.metadata_url.clone().context("no --metadata-url")?;
        let targets = self.target_base_url.clone().unwrap_or_else(|| url.clone());
        let settings = Settings::check(&Fragment::default(), &Paths::new("/"))?;
        let transport = HttpTransport::anonymous(http::client(&settings, &url)?, url.clone());
        let location = Location {
            metadata: url,
            targets,
        };
        let limits = Limits {
            target_bytes: FILE_LIMIT,
            ..Limits::default()
        };
        let root = fs::read(self.trusted_root())?;
        let now = Timestamp::from_second(self.now)?;
        let (store, limits) = (self.store(), &limits);
        let updated = Client::update(&root, &store, &location, transport, limits, now).await;
        self.show()?;
        updated.map_err(|error| {
            let hint = error.hint();
            anyhow::Error::new(error).context(hint)
        })
    }

    async fn download(&self) -> Result<()> {
        let client = self.update().await?;
        let folder = self.target_dir.as_ref().context("no --target-dir")?;
        for name in &self.target_name {
            let path = folder.join(name.replace('/', "%2F"));
            let kept = suture_agent::files::read_bounded(&path, FILE_LIMIT);
            if kept.is_ok_and(|bytes| client.check_named(name, &bytes).is_ok()) {
                continue;
            }
            let bytes = client.read_named(name).await?;
            suture_agent::files::write_atomic(&path, &bytes, 0o600)?;
        }
        Ok(())
    }

    /// The client's own folder, in the suite's, which looks only at names that end in `.json`.
    fn store(&self) -> PathBuf {
        self.metadata_dir.join("store")
    }

    fn trusted_root(&self) -> PathBuf {
        self.store().join("trusted-root")
    }

    /// Copies what is trusted now to where the suite looks for it.
    fn show(&self) -> Result<()> {
        let kept = self.store().join("metadata");
        let mut roots = 0;
        for name in names(&kept)? {
            let role = match name.split('.').collect::<Vec<_>>()[..] {
                ["timestamp", "json"] => "timestamp",
                [_, role @ ("snapshot" | "targets"), "json"] => role,
                [version, "root", "json"] => {
                    roots = roots.max(version.parse::<u64>()?);
                    continue;
                }
                _ => continue,
            };
            self.copy(&kept.join(&name), &format!("{role}.json"))?;
        }
        if roots > 0 {
            self.copy(&kept.join(format!("{roots}.root.json")), "root.json")?;
        }
        // What an update proved that failed afterwards.
        let seen = self.store().join("seen");
        for name in names(&seen)? {
            self.copy(&seen.join(&name), &name)?;
        }
        Ok(())
    }

    fn copy(&self, from: &Path, name: &str) -> Result<()> {
        fs::copy(from, self.metadata_dir.join(name))?;
        Ok(())
    }
}

/// The names in a folder; none if there is no folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
