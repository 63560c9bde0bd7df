//! A person with a browser: from registering to a machine whose state changes before their eyes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use suture::scenario::Guest;
use tokio::task::block_in_place;

use crate::site::{Site, assert_kernel_is_well};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "four slow grey geese";

/// Twice the time in which a page asks for news, and what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Chromium without a window, and its driver.
struct Browser {
    driver: Child,
    client: Client,
}

impl Browser {
    async fn open() -> anyhow::Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver; `scripts/setup` installs it")?;
        let lines = BufReader::new(driver.stdout.take().context("its output")?).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("successfully on port ")?.1.to_owned()))
            .context("chromedriver ends without listening")?;
        let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--window-size=420,900",
        ];
        let capabilities = json!({
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": arguments },
        });
        let capabilities = capabilities.as_object().context("an object")?.clone();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&address)
            .await;
        match client {
            Ok(client) => Ok(Self { driver, client }),
            Err(error) => {
                driver.kill()?;
                driver.wait()?;
                Err(error).context("Chromium does not start")
            }
        }
    }

    async fn fill(&self, field: &str, text: &str) -> anyhow::Result<()> {
        let field = self.client.find(Locator::Id(field)).await?;
        Ok(field.send_keys(text).await?)
    }

    /// Presses the button with these words.
    async fn press(&self, words: &str) -> anyhow::Result<()> {
        let button = format!("//main//button[normalize-space()='{words}']");
        let button = self.client.find(Locator::XPath(&button)).await;
        Ok(button.with_context(|| words.to_owned())?.click().await?)
    }

    async fn text(&self) -> anyhow::Result<String> {
        let main = self.client.find(Locator::Id("main")).await?;
        Ok(main.text().await?)
    }

    /// Waits until the open page tells this by itself: nothing is loaded or pressed.
    async fn until_it_says(&self, words: &str) -> anyhow::Result<()> {
        self.until(words, |text| text.contains(words)).await
    }

    async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The page may be replacing what is asked for.
            let text = self.text().await.unwrap_or_default();
            if holds(&text) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "no `{what}` in:\n{text}");
            tokio::task::yield_now().await;
        }
    }

    async fn close(mut self) -> anyhow::Result<()> {
        self.client.clone().close().await?;
        self.driver.kill()?;
        self.driver.wait()?;
        Ok(())
    }
}

/// The link in the only letter, as an address of this server.
fn link(mail: &Path, server: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let entries = std::fs::read_dir(mail).into_iter().flatten().flatten();
        let mut letters = entries.filter(|entry| entry.path().extension() == Some("eml".as_ref()));
        if let Some(letter) = letters.next() {
            let text = std::fs::read_to_string(letter.path())?;
            // Quoted-printable breaks long lines and escapes `=`.
            let text = text.replace("=\r\n", "").replace("=3D", "=");
            let mut lines = text.lines();
            let found = lines.find(|line| line.starts_with(server));
            return found
                .map(|line| line.trim().to_owned())
                .context(text.clone());
        }
        anyhow::ensure!(Instant::now() < deadline, "no letter came");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_sees_their_machine_come_and_change() -> anyhow::Result<()> {
    let site = block_in_place(Site::new)?;
    block_in_place(|| site.build_seccomp("1.1", "patch"))?;
    let mail = site.vendor.path("mail");
    let options = ["--mail-folder", "mail", "--rollout-plan", "immediate"];
    let server = block_in_place(|| site.vendor.serve_with("127.0.0.1:0", &options))?;
    let browser = Browser::open().await?;
    let page = &browser.client;

    page.goto(&server.url()).await?;
    page.find(Locator::LinkText("Register"))
        .await?
        .click()
        .await?;
    browser.fill("email", EMAIL).await?;
    browser.fill("password", PASSWORD).await?;
    browser.press("Register").await?;
    browser.until_it_says("Look into your mailbox").await?;
    let link = block_in_place(|| link(&mail, &server.url()))?;
    page.goto(&link).await?;
    browser.fill("password", PASSWORD).await?;
    browser.press("Confirm and sign in").await?;
    browser.until_it_says("My account").await?;
    browser.fill("label", "the browser's machine").await?;
    browser.press("Make a token").await?;
    let line = page
        .find(Locator::Css(".issued code"))
        .await?
        .text()
        .await?;
    let token = line.strip_prefix("sudo canonical-livepatch enable ");
    let token = token.context(line.clone())?;

    page.goto(&format!("{}/machines", server.url())).await?;
    browser.until_it_says("None yet").await?;
    let guest = block_in_place(|| Guest::boot(site.machine(&server)?))?;
    let enabled = block_in_place(|| guest.livepatch(&["enable", token]))?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    browser.until_it_says(site.picked.release.as_str()).await?;
    let unpatched = "no live patch in force";
    browser.until_it_says(unpatched).await?;

    block_in_place(|| site.vendor.publish_untested("patch"))?;
    let refreshed = block_in_place(|| guest.livepatch(&["refresh"]))?;
    assert!(refreshed.success(), "{refreshed:?}");
    let patched = |text: &str| text.contains("live patch in force") && !text.contains(unpatched);
    browser.until("live patch in force", patched).await?;

    // Nothing that a reader may see holds the token.
    assert!(!page.source().await?.contains(token));
    let log = std::fs::read_to_string(site.vendor.path("server.log"))?;
    assert!(!log.contains(token) && !log.contains(PASSWORD));
    assert_kernel_is_well(&guest);
    browser.close().await?;
    block_in_place(|| server.stop())
}
