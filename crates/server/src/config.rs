//! What the service is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

use suture_rollout::Plan;
use url::Url;

use crate::retention::Keep;

/// Settings of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one, which `serve` reports when it is ready.
    pub listen: SocketAddr,
    pub tls: Tls,
    /// The repository's folder, with `metadata` and `targets` in it. It is only read.
    pub repository: PathBuf,
    /// Seconds between two check-ins of a machine (default: 3,600).
    pub check_in_interval_secs: u64,
    /// The plan by which each published version goes out by itself (default: the standard plan).
    /// None: versions wait until a person makes their rollouts.
    pub default_plan: Option<Plan>,
    /// Seconds between two looks at a rollout, at least 5 (default: 60). Far below
    /// [`suture_store::Rollout::AWAY_SECS`], else the service takes itself for absent.
    pub look_interval_secs: u64,
    /// What to tell the machines of a kernel, a TOML file (default: nothing).
    pub notices: Option<PathBuf>,
    /// Who is told of what the audit log says, a TOML file (default: nobody).
    pub hooks: Option<PathBuf>,
    /// Days after which a machine that is not heard of is released (default: 90); none: never.
    pub release_silent_days: Option<u32>,
    /// How long history is kept.
    pub keep: Keep,
    /// How e-mails leave (default: none do, and nobody can register).
    pub mail: Option<MailConfig>,
    /// Where people reach the service, e.g. `https://patches.example.org`, for links in e-mails
    /// (default: where it listens).
    pub public_url: Option<String>,
    /// How subscriptions are sold (default: not at all; operators give plans and limits).
    pub stripe: Option<StripeConfig>,
    /// Where else people may sign in (default: nowhere). Needs `public_url`.
    pub openid: Option<OpenIdConfig>,
}

/// How e-mails leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailConfig {
    /// Into a folder, a file each: for development.
    Folder { folder: PathBuf },
    /// To a mail server, by SMTP.
    Smtp {
        /// `smtps://user:password@mail.example.org` (TLS from the start), `smtp://…?tls=required`
        /// (STARTTLS), or `smtp://localhost:25` without either.
        url: Secret,
        /// The sender, e.g. `Suture <suture@example.org>`.
        from: String,
    },
}

/// How subscriptions are sold through Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeConfig {
    /// `https://api.stripe.com`, or a stand-in for tests.
    pub api: Url,
    /// `sk_…` or `rk_…`. Needs customers, subscriptions, Checkout and the customer portal to
    /// write, and prices to read.
    pub key: Secret,
    /// `whsec_…`, of the endpoint `/v1/stripe`.
    pub webhook_secret: Secret,
    /// What is sold, e.g. `price_1MoBy5LkdIwHu7ixZhnattbh`: the plan without a limit.
    pub price: String,
}

/// A provider of identities, by OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIdConfig {
    /// Its address exactly as it writes it itself, e.g. `https://id.example.org`.
    pub issuer: String,
    /// What this service is called there.
    pub client_id: String,
    pub client_secret: Secret,
    /// What people call the provider, for the button.
    pub name: String,
    /// Whose addresses may have a new account, e.g. `example.org` (default: everybody's whom the
    /// provider signs in).
    pub domains: Vec<String>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl ServerConfig {
    /// An hour: a High or Critical hole is to be closed within about that time.
    pub const DEFAULT_CHECK_IN_INTERVAL_SECS: u64 = 3600;

    /// A minute: a small part of the time in which a halt is to happen.
    pub const DEFAULT_LOOK_INTERVAL_SECS: u64 = 60;

    /// A quarter: longer than a machine is switched off and still somebody's.
    pub const DEFAULT_RELEASE_SILENT_DAYS: u32 = 90;

    /// A quarter: the course of two or three regular updates.
    pub const DEFAULT_KEEP_DETAILS_DAYS: u32 = 90;

    /// A year and a month, to compare with the year before.
    pub const DEFAULT_KEEP_HARM_DAYS: u32 = 400;

    /// With the defaults.
    pub fn new(listen: SocketAddr, tls: Tls, repository: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            tls,
            repository: repository.into(),
            check_in_interval_secs: Self::DEFAULT_CHECK_IN_INTERVAL_SECS,
            default_plan: Some(Plan::standard()),
            look_interval_secs: Self::DEFAULT_LOOK_INTERVAL_SECS,
            notices: None,
            hooks: None,
            release_silent_days: Some(Self::DEFAULT_RELEASE_SILENT_DAYS),
            keep: Keep {
                details_days: Self::DEFAULT_KEEP_DETAILS_DAYS,
                harm_days: Self::DEFAULT_KEEP_HARM_DAYS,
            },
            mail: None,
            public_url: None,
            stripe: None,
            openid: None,
        }
    }
}

/// A setting in words, without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    pub value: String,
}

impl ServerConfig {
    /// All settings in words, as operators read them; `public_url` is the one in force.
    pub(crate) fn settings(&self, public_url: &str) -> Vec<Setting> {
        let file = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "none".to_owned(),
        };
        let tls = match &self.tls {
            Tls::Pem { cert, .. } => format!("TLS, certificate {}", cert.display()),
            Tls::Plain => "none; a proxy adds TLS".to_owned(),
        };
        let plan = self.default_plan.as_ref();
        let silent = self.release_silent_days;
        let rows = [
            ("Address", public_url.to_owned()),
            ("Listens on", self.listen.to_string()),
            ("Protection", tls),
            ("Repository", self.repository.display().to_string()),
            (
                "Seconds between check-ins",
                self.check_in_interval_secs.to_string(),
            ),
            (
                "Seconds between looks at rollouts",
                self.look_interval_secs.to_string(),
            ),
            (
                "Plan of new versions",
                plan.map_or("none: rollouts are made by hand".to_owned(), |it| {
                    it.name.clone()
                }),
            ),
            (
                "Silent machines are released",
                silent.map_or("never".to_owned(), |days| format!("after {days} days")),
            ),
            (
                "History",
                format!(
                    "details {} days, harm {} days",
                    self.keep.details_days, self.keep.harm_days
                ),
            ),
            (
                "E-mails",
                self.mail
                    .as_ref()
                    .map_or("none".to_owned(), MailConfig::words),
            ),
            (
                "Subscriptions",
                self.stripe
                    .as_ref()
                    .map_or("not sold".to_owned(), |stripe| {
                        format!("Stripe, price {}", stripe.price)
                    }),
            ),
            (
                "OpenID Connect",
                self.openid.as_ref().map_or("none".to_owned(), |openid| {
                    format!("{} ({})", openid.issuer, openid.name)
                }),
            ),
            ("Notices", file(&self.notices)),
            ("Hooks", file(&self.hooks)),
        ];
        let setting = |(name, value)| Setting { name, value };
        rows.into_iter().map(setting).collect()
    }
}

impl MailConfig {
    fn words(&self) -> String {
        match self {
            Self::Folder { folder } => format!("files in {}", folder.display()),
            Self::Smtp { url, from } => {
                let host = Url::parse(url.expose()).ok();
                let host = host.as_ref().and_then(|url| url.host_str());
                format!("by {}, from {from}", host.unwrap_or("a mail server"))
            }
        }
    }
}

/// How connections are protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// TLS 1.2 and 1.3, with a certificate chain and its private key in PEM files. Renewed files
    /// are taken within a minute, without a restart.
    Pem { cert: PathBuf, key: PathBuf },
    /// Plain HTTP, for a listener that only a TLS-terminating proxy reaches. Tokens and secrets
    /// travel readable.
    Plain,
}
