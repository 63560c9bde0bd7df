//! A person with a browser: from registering to a machine whose state changes before their eyes.

use anyhow::Context as _;
use fantoccini::Locator;
use suture::scenario::Guest;
use tokio::task::block_in_place;

use crate::browser::{Browser, link};
use crate::site::{Site, assert_kernel_is_well};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "four slow grey geese";

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
