//! A person with a browser: from registering to a machine whose state changes before their eyes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use fantoccini::Locator;
use suture::scenario::Guest;
use tokio::task::block_in_place;

use crate::browser::{Browser, link};
use crate::planted::{MACHINE_SECRET, Planted, assert_at_home, assert_machine_keeps_its_own};
use crate::site::{Site, assert_kernel_is_well};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "four slow grey geese";
const HOOK_PATH: &str = "T024BE7LD-B01-nine-red-foxes";
/// What the firmware calls the machine.
const SYSTEM_UUID: &str = "4c4c4544-0051-3510-8052-b4c04f4a4d32";
const HOOK_SECRET: &str = "whsec_Ml8rcSpTZcxPdnmc5qhQ1dCYvUdhXgTmW8nF0jx2b6c=";

/// Waits until the server logs a line with these words.
fn until_logged(site: &Site, words: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if std::fs::read_to_string(site.vendor.path("server.log"))?.contains(words) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("the server never logged `{words}`")
}

/// Another system on the same hardware, as far as the agent can see: other machine id, nothing kept.
fn install_anew(guest: &Guest) -> anyhow::Result<()> {
    guest.stop_daemon()?;
    let script = "rm -rf /var/lib/livepatch && printf '%032x\\n' 11 > /etc/machine-id";
    let changed = guest.vm.shell(script)?;
    anyhow::ensure!(changed.success(), "{changed:?}");
    guest.start_daemon()
}

/// What a link from an e-mail proves.
fn secret_of(link: &str) -> &str {
    link.split_once("?link=").map_or(link, |(_, secret)| secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_sees_their_machine_come_and_change() -> anyhow::Result<()> {
    let site = block_in_place(Site::new)?;
    block_in_place(|| site.build_seccomp("1.1", "patch"))?;
    let mail = site.vendor.path("mail");
    // Whoever is told cannot be reached, which is logged.
    let hooks = format!(
        "[[hook]]\nname = 'on-call'\nkind = 'webhook'\nurl = 'http://127.0.0.1:9/{HOOK_PATH}'\n\
         secret = '{HOOK_SECRET}'\n"
    );
    site.vendor.write_private("hooks.toml", hooks.as_bytes())?;
    let made = ["admin", "operator-key", "create", "grace"];
    let key = block_in_place(|| site.vendor.suture(&made))?;
    let key = key.lines().find(|line| line.starts_with("suture_o_"));
    let key = key.context("the key is printed")?.to_owned();
    site.vendor.write_private("operator.key", key.as_bytes())?;
    let mut options = vec!["--mail-folder", "mail", "--rollout-plan", "immediate"];
    options.extend(["--hooks", "hooks.toml"]);
    let server = block_in_place(|| site.vendor.serve_with("127.0.0.1:0", &options))?;
    let browser = Browser::open().await?;
    let page = &browser.client;

    page.goto(&server.url()).await?;
    let register = browser.element(Locator::LinkText("Register")).await?;
    register.click().await?;
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
    let issued = browser.element(Locator::Css(".issued code")).await?;
    let line = issued.text().await?;
    let token = line.strip_prefix("sudo canonical-livepatch enable ");
    let token = token.context(line.clone())?;

    page.goto(&format!("{}/machines", server.url())).await?;
    browser.until_it_says("None yet").await?;
    let machine = site.machine(&server)?.system_uuid(SYSTEM_UUID);
    let guest = block_in_place(|| Guest::boot(machine))?;
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

    let ask = [
        "admin",
        "--server",
        &server.url(),
        "--ca",
        "tls.crt",
        "--key-file",
    ];
    let ask = |more: &[&str]| site.vendor.suture(&[&ask[..], more].concat());
    let accounts = block_in_place(|| ask(&["operator.key", "account", "list"]))?;
    assert!(accounts.contains(EMAIL), "{accounts}");
    let own = String::from_utf8(guest.vm.read_file(MACHINE_SECRET)?)?;
    let session = page.get_named_cookie("__Host-suture-session").await?;
    let session = session.value().to_owned();
    let at = |names: &[&str]| names.iter().map(|name| site.vendor.path(name)).collect();
    let planted = |name, text: &str, homes: &[&str]| Planted {
        name,
        text: text.trim().to_owned(),
        homes: at(homes),
    };
    let secrets = [
        planted("token", token, &[]),
        planted("password", PASSWORD, &[]),
        planted("session", &session, &[]),
        planted("machine's secret", &own, &[]),
        planted("operator's key", &key, &["operator.key"]),
        planted("hook's secret", HOOK_SECRET, &["hooks.toml"]),
        planted("hook's address", HOOK_PATH, &["hooks.toml"]),
        planted("link", secret_of(&link), &["mail"]),
    ];
    for seen in [
        "/",
        "/account",
        "/machines",
        "/patches",
        "/rollouts",
        "/metrics",
    ] {
        page.goto(&format!("{}{seen}", server.url())).await?;
        let source = page.source().await?;
        for secret in &secrets {
            assert!(!source.contains(&secret.text), "{seen}: {}", secret.name);
        }
    }
    block_in_place(|| until_logged(&site, "did not take line"))?;
    block_in_place(|| assert_at_home(&site.vendor.path("."), &secrets));
    let others: Vec<_> = secrets.iter().filter(|it| it.text != own.trim()).collect();
    block_in_place(|| assert_machine_keeps_its_own(&guest, own.trim(), &others));

    block_in_place(|| install_anew(&guest))?;
    let enabled = block_in_place(|| guest.livepatch(&["enable", token]))?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    page.goto(&format!("{}/machines", server.url())).await?;
    browser.until_it_says("was installed anew").await?;
    assert_kernel_is_well(&guest);
    browser.close().await?;
    block_in_place(|| server.stop())
}
