//! A browser, and the mailbox of whoever sits before it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

/// Twice the time in which a page asks for news, and what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Chromium without a window, and its driver.
pub struct Browser {
    driver: Child,
    /// Where the driver listens.
    pub address: String,
    pub client: Client,
}

impl Browser {
    pub async fn open() -> anyhow::Result<Self> {
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
            Ok(client) => Ok(Self {
                driver,
                address,
                client,
            }),
            Err(error) => {
                driver.kill()?;
                driver.wait()?;
                Err(error).context("Chromium does not start")
            }
        }
    }

    /// An element of the open page, or of the one that a press is about to open.
    pub async fn element(&self, place: Locator<'_>) -> anyhow::Result<Element> {
        let wait = self.client.wait().at_most(PATIENCE);
        Ok(wait.for_element(place).await?)
    }

    pub async fn fill(&self, field: &str, text: &str) -> anyhow::Result<()> {
        let field = self.element(Locator::Id(field)).await?;
        Ok(field.send_keys(text).await?)
    }

    /// Presses the button with these words.
    pub async fn press(&self, words: &str) -> anyhow::Result<()> {
        let button = format!("//main//button[normalize-space()='{words}']");
        let button = self.element(Locator::XPath(&button)).await;
        Ok(button.with_context(|| words.to_owned())?.click().await?)
    }

    pub async fn text(&self) -> anyhow::Result<String> {
        let main = self.client.find(Locator::Id("main")).await?;
        Ok(main.text().await?)
    }

    /// Waits until the open page tells this by itself: nothing is loaded or pressed.
    pub async fn until_it_says(&self, words: &str) -> anyhow::Result<()> {
        self.until(words, |text| text.contains(words)).await
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
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

    pub async fn close(mut self) -> anyhow::Result<()> {
        self.client.clone().close().await?;
        self.driver.kill()?;
        self.driver.wait()?;
        Ok(())
    }
}

/// The link in the only letter, as an address of this server.
pub fn link(mail: &Path, server: &str) -> anyhow::Result<String> {
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
