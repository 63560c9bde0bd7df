//! `suture repository`

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::SignedDuration;
use suture_remote::{Address, Place, Source};
use suture_repository::{Copied, Expiries, InitOptions, Mirror, OnlineRole, Publisher, init};

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
    /// Bring a bucket to the state of a publisher's folder.
    Push(PushArgs),
    /// Bring a folder to the state of a repository elsewhere, proven from the trusted root on.
    Mirror(MirrorArgs),
    /// Write a repository into one file, for a site that no network reaches.
    Export(ExportArgs),
    /// Bring a folder to the state of an exported file, proven from the trusted root on.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Bucket: `s3://BUCKET/FOLDER`. Keys, region and endpoint come from the environment:
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.
    to: Address,
    /// Folder of the repository.
    #[arg(long)]
    repository: PathBuf,
}

/// A copy of a repository.
#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    /// Folder of the copy; it is made if it is missing.
    #[arg(long)]
    repository: PathBuf,
    /// Root metadata that machines of this repository trust. Later updates of a copy know it.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct MirrorArgs {
    /// Where it lies: `s3://BUCKET/FOLDER`, `https://HOST/PATH`, or a folder. A bucket's keys,
    /// region and endpoint come from the environment (AWS_ACCESS_KEY_ID and the like), as does a
    /// token for a service that hands out modules: SUTURE_MIRROR_TOKEN.
    from: Address,
    #[command(flatten)]
    copy: CopyArgs,
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// What `suture repository export` wrote.
    file: PathBuf,
    #[command(flatten)]
    copy: CopyArgs,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Where to write it.
    file: PathBuf,
    /// Folder of the repository.
    #[arg(long)]
    repository: PathBuf,
}

impl CopyArgs {
    fn mirror(&self) -> anyhow::Result<Mirror> {
        mirror(&self.repository, self.trusted_root.as_deref())
    }
}

/// A copy in a folder; its root is read from the file that was named.
pub fn mirror(dir: &Path, trusted_root: Option<&Path>) -> anyhow::Result<Mirror> {
    let root = trusted_root.map(super::read_input).transpose()?;
    Ok(Mirror::new(dir, root))
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
    /// Bring this bucket to the same state afterwards: `s3://BUCKET/FOLDER`.
    #[arg(long, value_name = "BUCKET")]
    push: Option<Address>,
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

    /// Brings the bucket that was named, if any, to the folder's state. To be called after each
    /// change.
    pub async fn push(&self) -> anyhow::Result<()> {
        match &self.push {
            Some(to) => push(&self.repository, to).await,
            None => Ok(()),
        }
    }
}

async fn push(dir: &Path, to: &Address) -> anyhow::Result<()> {
    let place = Place::open(to, std::env::vars())?;
    report_copy(to, &suture_remote::push(dir, &place).await?);
    Ok(())
}

fn report_copy(place: impl Display, copied: &Copied) {
    for name in &copied.added {
        println!("copied {name}");
    }
    let state = if copied.changed {
        "is now"
    } else {
        "was already"
    };
    let version = copied.versions.timestamp;
    println!("{place} {state} at timestamp version {version}");
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    let now = crate::clock::now();
    match command {
        Command::Init(args) => run_init(args).await,
        Command::Refresh(args) => {
            let versions = args.publisher().refresh(now).await?;
            println!("signed again: {versions:?}");
            args.push().await
        }
        Command::RenewRoot(RenewRootArgs {
            root_keys,
            publisher,
        }) => {
            report_root(publisher.publisher().renew_root(&root_keys, now).await?);
            publisher.push().await
        }
        Command::RotateRoot(args) => {
            let keys = (args.root_key_count, args.root_threshold);
            let (old, new) = (&args.root_keys, &args.new_root_keys);
            let publisher = args.publisher.publisher();
            report_root(publisher.rotate_root_keys(old, new, keys, now).await?);
            args.publisher.push().await
        }
        Command::RotateKey(RotateKeyArgs {
            role,
            root_keys,
            publisher,
        }) => {
            let rotated = publisher.publisher();
            report_root(rotated.rotate_role_key(role, &root_keys, now).await?);
            publisher.push().await
        }
        Command::Push(args) => push(&args.repository, &args.to).await,
        Command::Mirror(args) => {
            let mirror = args.copy.mirror()?;
            let source = Source::open(&args.from, std::env::vars())?;
            let copied = source.update(&mirror, now).await?;
            report_copy(mirror.dir.display(), &copied);
            Ok(())
        }
        Command::Export(args) => {
            let files = suture_remote::export(&args.repository, &args.file).await?;
            println!(
                "{} holds {} targets, at timestamp version {}",
                args.file.display(),
                files.targets.len(),
                files.versions.timestamp
            );
            Ok(())
        }
        Command::Import(args) => {
            let mirror = args.copy.mirror()?;
            let copied = suture_remote::import(&args.file, &mirror, now).await?;
            report_copy(mirror.dir.display(), &copied);
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
