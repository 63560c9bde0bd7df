//! `suture repository`

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::SignedDuration;
use suture_repository::{Expiries, InitOptions, OnlineRole, Publisher, init};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a repository and its keys.
    Init(InitArgs),
    /// Sign the metadata again before it expires; run it daily where the keys are.
    Refresh(PublisherArgs),
    /// Sign the root again with the same keys before it expires; needs the root keys.
    RenewRoot(RenewRootArgs),
    /// Replace the root keys; the next root is signed by the old keys and the new ones.
    RotateRoot(RotateRootArgs),
    /// Replace the key of targets, snapshot or timestamp; needs the root keys.
    RotateKey(RotateKeyArgs),
}

#[derive(Debug, clap::Args)]
pub struct RenewRootArgs {
    /// Folder with the root keys.
    #[arg(long)]
    root_keys: PathBuf,
    #[command(flatten)]
    publisher: PublisherArgs,
}

#[derive(Debug, clap::Args)]
pub struct RotateRootArgs {
    /// Folder with the present root keys.
    #[arg(long)]
    root_keys: PathBuf,
    /// Folder for the new root keys.
    #[arg(long)]
    new_root_keys: PathBuf,
    /// Number of new root keys.
    #[arg(long, default_value_t = 1)]
    root_key_count: u64,
    /// How many of them must sign a new root.
    #[arg(long, default_value_t = 1)]
    root_threshold: u64,
    #[command(flatten)]
    publisher: PublisherArgs,
}

#[derive(Debug, clap::Args)]
pub struct RotateKeyArgs {
    #[arg(value_parser = parse_role, value_name = "ROLE")]
    role: OnlineRole,
    /// Folder with the root keys.
    #[arg(long)]
    root_keys: PathBuf,
    #[command(flatten)]
    publisher: PublisherArgs,
}

fn parse_role(text: &str) -> Result<OnlineRole, &'static str> {
    match text {
        "targets" => Ok(OnlineRole::Targets),
        "snapshot" => Ok(OnlineRole::Snapshot),
        "timestamp" => Ok(OnlineRole::Timestamp),
        _ => Err("expected targets, snapshot or timestamp"),
    }
}

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Folder of the repository, to be served as it is.
    #[arg(long)]
    repository: PathBuf,
    /// Folder for the keys of targets, snapshot and timestamp; they stay with the publisher.
    #[arg(long)]
    keys: PathBuf,
    /// Folder for the root keys; move it to media off line.
    #[arg(long)]
    root_keys: PathBuf,
    /// Number of root keys.
    #[arg(long, default_value_t = 1)]
    root_key_count: u64,
    /// How many root keys must sign a new root.
    #[arg(long, default_value_t = 1)]
    root_threshold: u64,
    /// Where to write the root metadata that machines are to trust.
    #[arg(long, value_name = "FILE")]
    root_output: PathBuf,
    #[command(flatten)]
    expiry: ExpiryArgs,
}

/// Where a publisher works.
#[derive(Debug, clap::Args)]
pub struct PublisherArgs {
    /// Folder of the repository.
    #[arg(long)]
    pub repository: PathBuf,
    /// Folder with the keys of targets, snapshot and timestamp.
    #[arg(long)]
    pub keys: PathBuf,
    #[command(flatten)]
    pub expiry: ExpiryArgs,
}

/// How long signed metadata holds.
#[derive(Debug, clap::Args)]
pub struct ExpiryArgs {
    /// Seconds until the timestamp expires: how long a machine may be kept from news unnoticed.
    /// A negative number makes metadata that has expired already, to see what machines say.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    timestamp_expires_secs: Option<i64>,
}

impl ExpiryArgs {
    pub fn expiries(&self) -> Expiries {
        let mut expiries = Expiries::default();
        if let Some(seconds) = self.timestamp_expires_secs {
            expiries.timestamp = SignedDuration::from_secs(seconds);
        }
        expiries
    }
}

impl PublisherArgs {
    pub fn publisher(&self) -> Publisher {
        let mut publisher = Publisher::new(&self.repository, &self.keys);
        publisher.expiries = self.expiry.expiries();
        publisher
    }
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => run_init(args).await,
        Command::Refresh(args) => {
            let versions = args.publisher().refresh(crate::clock::now()).await?;
            println!("signed again: {versions:?}");
            Ok(())
        }
        Command::RenewRoot(RenewRootArgs {
            root_keys,
            publisher,
        }) => {
            let now = crate::clock::now();
            report_root(publisher.publisher().renew_root(&root_keys, now).await?);
            Ok(())
        }
        Command::RotateRoot(args) => {
            let keys = (args.root_key_count, args.root_threshold);
            let (old, new) = (&args.root_keys, &args.new_root_keys);
            let publisher = args.publisher.publisher();
            report_root(
                publisher
                    .rotate_root_keys(old, new, keys, crate::clock::now())
                    .await?,
            );
            Ok(())
        }
        Command::RotateKey(RotateKeyArgs {
            role,
            root_keys,
            publisher,
        }) => {
            let now = crate::clock::now();
            report_root(
                publisher
                    .publisher()
                    .rotate_role_key(role, &root_keys, now)
                    .await?,
            );
            Ok(())
        }
    }
}

fn report_root(version: u64) {
    println!("root version {version} is signed; machines take it at their next check-in");
}

async fn run_init(args: InitArgs) -> anyhow::Result<()> {
    let mut options = InitOptions::new(&args.repository, &args.keys, &args.root_keys);
    options.root_key_count = args.root_key_count;
    options.root_threshold = args.root_threshold;
    options.expiries = args.expiry.expiries();
    let root = init(&options, crate::clock::now()).await?;
    std::fs::write(&args.root_output, root)
        .with_context(|| format!("cannot write `{}`", args.root_output.display()))?;
    println!("repository      {}", args.repository.display());
    println!("keys            {}", args.keys.display());
    println!(
        "root keys       {} (move them off line)",
        args.root_keys.display()
    );
    println!(
        "trusted root    {} (machines need it as /etc/livepatch/root.json)",
        args.root_output.display()
    );
    Ok(())
}
