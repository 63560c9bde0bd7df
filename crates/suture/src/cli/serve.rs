//! `suture serve`

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use suture_remote::{Address, Source, follow};
use suture_repository::Layout;
use suture_server::{Keep, MailConfig, OpenIdConfig, Secret, ServerConfig, StripeConfig, Tls};
use suture_store::SystemClock;
use tokio::sync::oneshot;
use url::Url;

use super::database::DatabaseArgs;
use super::repository::mirror;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Folder of the repository.
    #[arg(long)]
    repository: PathBuf,
    #[command(flatten)]
    follow: FollowArgs,
    /// TLS certificate chain (PEM).
    #[arg(long, requires = "tls_key", required_unless_present = "plain_http")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Serve without TLS, behind a proxy that adds it.
    #[arg(long, conflicts_with = "tls_certificate")]
    plain_http: bool,
    /// Seconds between two check-ins of a machine.
    #[arg(long, default_value_t = ServerConfig::DEFAULT_CHECK_IN_INTERVAL_SECS)]
    check_in_interval_secs: u64,
    /// Plan by which each published version goes out by itself: `standard`, `urgent`,
    /// `immediate`, a TOML file, or `none` to start rollouts by hand.
    #[arg(long, default_value = "standard", value_name = "PLAN")]
    rollout_plan: String,
    /// Seconds between two looks at a rollout's evidence.
    #[arg(long, default_value_t = ServerConfig::DEFAULT_LOOK_INTERVAL_SECS)]
    look_interval_secs: u64,
    /// TOML file with what to tell the machines of a kernel: until when it is covered, and the
    /// holes that could not be live patched. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    notices: Option<PathBuf>,
    /// TOML file with who is told of what the audit log says, by webhooks, in a chat or by e-mail:
    /// of rollouts that begin, halt and end, for example. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    hooks: Option<PathBuf>,
    /// Release machines that were not heard of for so many days; 0: never.
    #[arg(long, value_name = "DAYS", default_value_t = ServerConfig::DEFAULT_RELEASE_SILENT_DAYS)]
    release_silent_days: u32,
    /// Days for which what single machines told of a rollout is kept after the rollout is over;
    /// what harmed is kept longer, how it went for ever.
    #[arg(long, value_name = "DAYS", default_value_t = ServerConfig::DEFAULT_KEEP_DETAILS_DAYS)]
    keep_details_days: u32,
    /// Days for which what harmed machines is kept after its rollout is over.
    #[arg(long, value_name = "DAYS", default_value_t = ServerConfig::DEFAULT_KEEP_HARM_DAYS)]
    keep_harm_days: u32,
    /// Where people reach the service, like `https://patches.example.org`, for links in e-mails
    /// [default: where it listens].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Write e-mails into this folder, a file each, instead of sending them.
    #[arg(long, value_name = "FOLDER", conflicts_with = "smtp_url_file")]
    mail_folder: Option<PathBuf>,
    /// File with the mail server's address, like `smtps://user:password@mail.example.org`. Without
    /// this and `--mail-folder` nobody can register by themselves.
    #[arg(long, value_name = "FILE", requires = "mail_from")]
    smtp_url_file: Option<PathBuf>,
    /// Sender of e-mails, like `Suture <suture@example.org>`.
    #[arg(long, value_name = "ADDRESS")]
    mail_from: Option<String>,
    #[command(flatten)]
    stripe: StripeArgs,
    #[command(flatten)]
    openid: OpenIdArgs,
}

/// Where the client's secret may stand: other users can't read a program's environment.
const OPENID_SECRET: &str = "SUTURE_OPENID_CLIENT_SECRET";

/// Where else people may sign in. Without these: nowhere.
#[derive(Debug, clap::Args)]
struct OpenIdArgs {
    /// Let people sign in by OpenID Connect at this provider, written as it writes itself, like
    /// `https://id.example.org`. It must know `/sign-in/openid/back` under `--public-url`.
    #[arg(long, value_name = "URL", requires_all = ["openid_client_id", "public_url"])]
    openid_issuer: Option<String>,
    /// What this service is called at the provider.
    #[arg(long, value_name = "ID", requires = "openid_issuer")]
    openid_client_id: Option<String>,
    /// File with the secret that the provider gave this service [default: what
    /// `SUTURE_OPENID_CLIENT_SECRET` says].
    #[arg(long, value_name = "FILE", requires = "openid_issuer")]
    openid_client_secret_file: Option<PathBuf>,
    /// What people call the provider, for the button.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "OpenID Connect",
        requires = "openid_issuer"
    )]
    openid_name: String,
    /// Make accounts only for e-mail addresses of this domain, like `example.org`; may be given
    /// several times [default: for all that the provider verified].
    #[arg(
        long = "openid-domain",
        value_name = "DOMAIN",
        requires = "openid_issuer"
    )]
    openid_domains: Vec<String>,
}

impl OpenIdArgs {
    fn config(&self) -> anyhow::Result<Option<OpenIdConfig>> {
        let (Some(issuer), Some(client_id)) = (&self.openid_issuer, &self.openid_client_id) else {
            return Ok(None);
        };
        let client_secret = match &self.openid_client_secret_file {
            Some(file) => secret(file)?,
            None => std::env::var(OPENID_SECRET)
                .with_context(|| {
                    format!(
                        "give the client's secret by --openid-client-secret-file or {OPENID_SECRET}"
                    )
                })?
                .into(),
        };
        Ok(Some(OpenIdConfig {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            client_secret,
            name: self.openid_name.clone(),
            domains: self.openid_domains.clone(),
        }))
    }
}

/// Where the repository's folder is kept up to date from. Without these a publisher writes into
/// the folder itself.
#[derive(Debug, clap::Args)]
struct FollowArgs {
    /// Keep the repository's folder a copy of this: `s3://BUCKET/FOLDER`, `https://HOST/PATH`, or
    /// a folder. A bucket's keys, region and endpoint come from the environment:
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL. So does a token for
    /// a service that hands out modules: SUTURE_MIRROR_TOKEN.
    #[arg(long, value_name = "ADDRESS")]
    follow: Option<Address>,
    /// Seconds between two looks at it.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        requires = "follow"
    )]
    follow_interval_secs: NonZeroU64,
    /// Root metadata that machines of this repository trust; for the first copy.
    #[arg(long, value_name = "FILE", requires = "follow")]
    trusted_root: Option<PathBuf>,
}

impl FollowArgs {
    /// Makes the first copy, if there is none; then the copy follows in the background.
    async fn start(&self, repository: &Path) -> anyhow::Result<()> {
        let Some(address) = &self.follow else {
            return Ok(());
        };
        let source = Source::open(address, std::env::vars())?;
        let mirror = mirror(repository, self.trusted_root.as_deref())?;
        if !Layout::new(repository).timestamp().exists() {
            let mirrored = source.update(&mirror, crate::clock::now());
            mirrored
                .await
                .with_context(|| format!("cannot copy the repository from `{address}`"))?;
        }
        let every = Duration::from_secs(self.follow_interval_secs.get());
        tokio::spawn(follow(source, mirror, every, crate::clock::now));
        Ok(())
    }
}

/// How subscriptions are sold. Without these none are: operators give plans and limits.
#[derive(Debug, clap::Args)]
struct StripeArgs {
    /// Sell the plan without a limit at this price of Stripe's, like `price_1MoBy5LkdIwHu7ix`.
    #[arg(long, value_name = "ID", requires_all = ["stripe_key_file", "stripe_webhook_secret_file"])]
    stripe_price: Option<String>,
    /// File with Stripe's key, `sk_…` or `rk_…`.
    #[arg(long, value_name = "FILE", requires = "stripe_price")]
    stripe_key_file: Option<PathBuf>,
    /// File with the secret by which Stripe signs what it sends to `/v1/stripe`, `whsec_…`.
    #[arg(long, value_name = "FILE", requires = "stripe_price")]
    stripe_webhook_secret_file: Option<PathBuf>,
    /// Where Stripe's API is.
    #[arg(long, value_name = "URL", default_value = "https://api.stripe.com")]
    stripe_api: Url,
}

impl StripeArgs {
    fn config(&self) -> anyhow::Result<Option<StripeConfig>> {
        let (Some(price), Some(key), Some(webhook_secret)) = (
            &self.stripe_price,
            &self.stripe_key_file,
            &self.stripe_webhook_secret_file,
        ) else {
            return Ok(None);
        };
        Ok(Some(StripeConfig {
            api: self.stripe_api.clone(),
            key: secret(key)?,
            webhook_secret: secret(webhook_secret)?,
            price: price.clone(),
        }))
    }
}

/// What a file holds, without the line's end.
fn secret(file: &Path) -> anyhow::Result<Secret> {
    Ok(super::read_input_text(file)?.trim().to_owned().into())
}

impl Args {
    fn mail(&self) -> anyhow::Result<Option<MailConfig>> {
        if let Some(folder) = self.mail_folder.clone() {
            return Ok(Some(MailConfig::Folder { folder }));
        }
        let (Some(file), Some(from)) = (&self.smtp_url_file, &self.mail_from) else {
            return Ok(None);
        };
        let url = secret(file)?;
        let from = from.clone();
        Ok(Some(MailConfig::Smtp { url, from }))
    }
}

/// A week: a rollout must have counted a silence before the machine is gone.
const FEWEST_SILENT_DAYS: u32 = 7;

fn release_after(days: u32) -> anyhow::Result<Option<u32>> {
    anyhow::ensure!(
        days == 0 || days >= FEWEST_SILENT_DAYS,
        "--release-silent-days {days} would take machines away before a rollout has counted \
         their silence; name at least {FEWEST_SILENT_DAYS}, or 0 for never"
    );
    Ok((days > 0).then_some(days))
}

/// A month: a rollout must be over for everyone before what it rests on may go.
const FEWEST_DETAILS_DAYS: u32 = 30;

fn keep(details_days: u32, harm_days: u32) -> anyhow::Result<Keep> {
    anyhow::ensure!(
        details_days >= FEWEST_DETAILS_DAYS && harm_days >= details_days,
        "--keep-details-days {details_days} --keep-harm-days {harm_days}: the first must be at \
         least {FEWEST_DETAILS_DAYS}, the second no less than the first"
    );
    Ok(Keep {
        details_days,
        harm_days,
    })
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    start_logging();
    let mail = args.mail()?;
    args.follow.start(&args.repository).await?;
    let tls = match (args.tls_certificate, args.tls_key) {
        (Some(cert), Some(key)) => Tls::Pem { cert, key },
        _ => Tls::Plain,
    };
    let scheme = if tls == Tls::Plain { "http" } else { "https" };
    let mut config = ServerConfig::new(args.listen, tls, args.repository);
    config.check_in_interval_secs = args.check_in_interval_secs;
    config.look_interval_secs = args.look_interval_secs;
    config.mail = mail;
    config.stripe = args.stripe.config()?;
    config.openid = args.openid.config()?;
    config.notices = args.notices;
    config.hooks = args.hooks;
    config.release_silent_days = release_after(args.release_silent_days)?;
    config.public_url = args.public_url;
    config.keep = keep(args.keep_details_days, args.keep_harm_days)?;
    config.default_plan = match args.rollout_plan.as_str() {
        "none" => None,
        plan => Some(super::rollout::read_plan(plan)?),
    };
    let store = args.database.open().await?;
    let (ready, is_ready) = oneshot::channel();
    let announce = tokio::spawn(async move {
        if let Ok(address) = is_ready.await {
            // Scripts wait for this line.
            println!("listening on {scheme}://{address}");
        }
    });
    suture_server::serve(config, store, Arc::new(SystemClock), ready, stop_signal()?).await?;
    announce.abort();
    Ok(())
}

/// Completes at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Log lines as JSON on standard error; `RUST_LOG` chooses the level.
fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that goes away must not bring requests down.
        .log_internal_errors(false)
        .init();
}
