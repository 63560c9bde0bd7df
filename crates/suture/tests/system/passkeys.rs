//! A passkey from its making to its end, in a real browser with an authenticator of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use fantoccini::Locator;
use serde_json::{Value, json};
use suture_repository::InitOptions;
use suture_server::{MailConfig, ServerConfig, Tls};
use suture_store::{Account, Action, Clock as _, Store, SystemClock};
use suture_store_sql::SqliteStore;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use crate::browser::{Browser, link};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "four slow grey geese";
const SIGN_IN: &str = "Sign in with a passkey";

/// A service at a name that browsers take for protected: this machine's own.
struct Service {
    folder: TempDir,
    store: Arc<dyn Store>,
    url: String,
    _stop: oneshot::Sender<()>,
}

impl Service {
    async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
        suture_repository::init(&options, SystemClock.now()).await?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&at("suture.db")).await?);
        // Passkeys are for the whole address, which has to be known before.
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let url = format!("http://localhost:{}", free.port());
        let mut config = ServerConfig::new(free, Tls::Plain, at("repository"));
        config.public_url = Some(url.clone());
        config.mail = Some(MailConfig::Folder { folder: at("mail") });
        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let (served, clock) = (Arc::clone(&store), Arc::new(SystemClock));
        tokio::spawn(suture_server::serve(config, served, clock, ready, shutdown));
        listening.await?;
        Ok(Self {
            folder,
            store,
            url,
            _stop: stop,
        })
    }

    fn mail(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    async fn ada(&self) -> anyhow::Result<Account> {
        Ok(self.store.account_by_email(&EMAIL.parse()?).await?)
    }
}

/// Ada's browser with an authenticator in it that recognises her.
struct Ada {
    browser: Browser,
    /// Where the authenticator is told what to do (source: Web Authentication Level 3, 11).
    authenticator: String,
}

impl Ada {
    async fn new() -> anyhow::Result<Self> {
        let browser = Browser::open().await?;
        let session = browser.client.session_id().await?.context("a session")?;
        let all = format!(
            "{}/session/{session}/webauthn/authenticator",
            browser.address
        );
        let wanted = json!({ "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true });
        let id = call("POST", &all, &wanted)?;
        let id = id.as_str().context("an authenticator")?;
        Ok(Self {
            authenticator: format!("{all}/{id}"),
            browser,
        })
    }

    async fn open(&self, address: &str) -> anyhow::Result<()> {
        Ok(self.browser.client.goto(address).await?)
    }

    async fn register(&self, service: &Service) -> anyhow::Result<()> {
        self.open(&format!("{}/register", service.url)).await?;
        self.browser.fill("email", EMAIL).await?;
        self.browser.fill("password", PASSWORD).await?;
        self.browser.press("Register").await?;
        self.browser.until_it_says("Look into your mailbox").await?;
        let link = block_in_place(|| link(&service.mail(), &service.url))?;
        self.open(&link).await?;
        self.browser.fill("password", PASSWORD).await?;
        self.browser.press("Confirm and sign in").await?;
        self.browser.until_it_says("My account").await
    }

    async fn sign_out(&self, service: &Service) -> anyhow::Result<()> {
        self.open(&format!("{}/account", service.url)).await?;
        let button = Locator::XPath("//nav//button");
        self.browser.element(button).await?.click().await?;
        self.browser.until_it_says("TOKEN").await?;
        self.open(&format!("{}/sign-in", service.url)).await
    }

    async fn sign_in_with_password(&self, service: &Service) -> anyhow::Result<()> {
        self.open(&format!("{}/sign-in", service.url)).await?;
        self.browser.fill("email", EMAIL).await?;
        self.browser.fill("password", PASSWORD).await?;
        self.browser.press("Sign in").await?;
        self.browser.until_it_says("My account").await
    }

    /// Puts the passkey back as it was before it signed anything: what a copy of it would be.
    fn go_back_to_a_copy(&self) -> anyhow::Result<()> {
        let all = call(
            "GET",
            &format!("{}/credentials", self.authenticator),
            &Value::Null,
        )?;
        let mut copy = all[0].clone();
        let id = copy["credentialId"].as_str().context("a credential")?;
        let one = format!("{}/credentials/{id}", self.authenticator);
        anyhow::ensure!(copy["signCount"].as_i64() > Some(1), "{copy}");
        copy["signCount"] = json!(1);
        call("DELETE", &one, &Value::Null)?;
        call("POST", &format!("{}/credential", self.authenticator), &copy)?;
        Ok(())
    }
}

/// A command of WebDriver that the browser's client does not know.
fn call(method: &str, address: &str, body: &Value) -> anyhow::Result<Value> {
    let config = ureq::Agent::config_builder().proxy(None);
    let agent: ureq::Agent = config.http_status_as_error(false).build().into();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = ureq::http::Request::builder().method(method).uri(address);
    let mut answer = block_in_place(|| agent.run(request.body(body)?))?;
    let told: Value = answer.body_mut().read_json()?;
    anyhow::ensure!(answer.status().is_success(), "{method} {address}: {told}");
    Ok(told["value"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_signs_in_until_it_is_copied_or_removed() -> anyhow::Result<()> {
    let (service, ada) = (Service::new().await?, Ada::new().await?);
    let browser = &ada.browser;
    ada.register(&service).await?;
    browser.fill("passkey-label", "Ada's phone").await?;
    browser.press("Add a passkey").await?;
    browser.until_it_says("Ada's phone").await?;
    let account = service.ada().await?.id;
    let log = service.store.audit_log(Some(account), 1).await?;
    assert_eq!(log[0].action, Action::AddPasskey);
    browser.fill("passkey-label", "the same phone").await?;
    browser.press("Add a passkey").await?;
    browser
        .until_it_says("has a passkey for the account already")
        .await?;

    for _ in 0..2 {
        ada.sign_out(&service).await?;
        browser.press(SIGN_IN).await?;
        browser.until_it_says("My account").await?;
    }
    let passkeys = service.store.passkeys(account).await?;
    assert!(
        passkeys[0].used.is_some() && passkeys[0].key.counter > 1,
        "{passkeys:?}"
    );

    ada.sign_out(&service).await?;
    let recognises = format!("{}/uv", ada.authenticator);
    call("POST", &recognises, &json!({ "isUserVerified": false }))?;
    browser.press(SIGN_IN).await?;
    browser.until_it_says("No passkey was used").await?;
    call("POST", &recognises, &json!({ "isUserVerified": true }))?;
    ada.go_back_to_a_copy()?;
    browser.press(SIGN_IN).await?;
    browser.until_it_says("somebody may have a copy").await?;

    ada.sign_in_with_password(&service).await?;
    let remove = Locator::Css("[aria-label=\"Remove Ada's phone\"]");
    browser.element(remove).await?.click().await?;
    let gone = |text: &str| text.contains("My account") && !text.contains("Ada's phone");
    browser.until("account without a passkey", gone).await?;
    ada.sign_out(&service).await?;
    browser.press(SIGN_IN).await?;
    browser.until_it_says("does not know the passkey").await?;
    ada.browser.close().await
}
