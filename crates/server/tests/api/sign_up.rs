//! From registering to a token, and what an owner does afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use suture_store::{Action, Actor, Plan};

use crate::rollouts::{OWN, set_cookie, sign_in, token};
use crate::world::{Answer, World, now};

pub const EMAIL: &str = "ada@example.org";
pub const PASSWORD: &str = "four slow grey geese";

/// Opens a form and sends it, as a browser without scripts does.
fn submit(world: &World, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
    let form = world.get(page);
    let cookie = set_cookie(&form);
    let token = token(&form.text(), action);
    let fields = [&[("token", token.as_str())], fields].concat();
    world.post_form(action, &[OWN, ("cookie", &cookie)], &fields)
}

/// The letters in the mail folder that were not read yet; waits until there is one.
pub fn letters(folder: &Path) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let whole: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "eml"))
            .collect();
        if !whole.is_empty() {
            let read = |path: &std::path::PathBuf| {
                let text = std::fs::read_to_string(path).unwrap();
                std::fs::remove_file(path).unwrap();
                text
            };
            return whole.iter().map(read).collect();
        }
        assert!(Instant::now() < deadline, "no letter came");
        std::thread::yield_now();
    }
}

/// The address in a letter, without the service's own part.
fn link(letter: &str) -> String {
    // Quoted-printable breaks long lines and escapes `=`.
    let text = letter.replace("=\r\n", "").replace("=3D", "=");
    let line = text
        .lines()
        .find(|line| line.starts_with("https://patches.example.org/"));
    let line = line.unwrap_or_else(|| panic!("no link in {letter}"));
    line["https://patches.example.org".len()..]
        .trim()
        .to_owned()
}

fn secret_of(link: &str) -> &str {
    link.split_once("link=").unwrap().1
}

/// Registers and confirms; returns the session's cookie.
pub fn registered(world: &World) -> String {
    let applied = submit(
        world,
        "/register",
        "/register",
        &[("email", EMAIL), ("password", PASSWORD)],
    );
    assert_eq!(applied.status, 200, "{}", applied.text());
    let link = link(&letters(&world.mail())[0]);
    let confirmed = submit(
        world,
        &link,
        "/register/confirm",
        &[("link", secret_of(&link)), ("password", PASSWORD)],
    );
    assert_eq!(confirmed.header("location"), Some("/account"));
    set_cookie(&confirmed)
}

/// Has a link sent and chooses a password by it; returns the session's cookie.
pub fn chosen_password(world: &World, email: &str, password: &str) -> String {
    submit(world, "/password", "/password", &[("email", email)]);
    let link = link(&letters(&world.mail())[0]);
    let fields = [("link", secret_of(&link)), ("password", password)];
    let chosen = submit(world, &link, "/password/new", &fields);
    assert_eq!(chosen.header("location"), Some("/account"));
    set_cookie(&chosen)
}

/// Sends the form for signing in.
pub fn sign_in_with(world: &World, email: &str, password: &str) -> Answer {
    let fields = [("email", email), ("password", password)];
    submit(world, "/sign-in", "/sign-in", &fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_gets_a_token_that_enables_machines() {
    let world = World::new().await;
    let weak = submit(
        &world,
        "/register",
        "/register",
        &[("email", EMAIL), ("password", "short")],
    );
    assert_eq!(weak.status, 422);
    assert!(weak.text().contains("too short"), "{}", weak.text());
    let cookie = registered(&world);

    let account = world
        .store
        .account_by_email(&EMAIL.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(account.plan, Plan::Free);
    let page = world.get_with("/account", &[("cookie", &cookie)]).text();
    let form = token(&page, "/account/tokens");
    let made = world.post_form(
        "/account/tokens",
        &[OWN, ("cookie", &cookie)],
        &[("token", &form), ("label", "web servers")],
    );
    let page = made.text();
    let shown = page.split("canonical-livepatch enable ").nth(1).unwrap();
    let shown = shown.split('<').next().unwrap();
    let again = world.get_with("/account", &[("cookie", &cookie)]).text();
    assert!(
        !again.contains(shown) && again.contains("web servers"),
        "{again}"
    );

    let grant = world
        .store
        .authenticate_token(&shown.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(grant.account.id, account.id);
    let issued = suture_store::IssuedToken {
        token: grant.token.clone(),
        secret: shown.parse().unwrap(),
    };
    world.enrolled(&issued, 1);
    let machines = world.get_with("/machines", &[("cookie", &cookie)]).text();
    assert!(machines.contains("web-1"), "{machines}");
    let release = token(&machines, "/machines/release");
    let id = world.store.machines(account.id).await.unwrap()[0]
        .id
        .to_string();
    let released = world.post_form(
        "/machines/release",
        &[OWN, ("cookie", &cookie)],
        &[("token", &release), ("machine", &id)],
    );
    assert_eq!(released.status, 303);
    assert!(world.store.machines(account.id).await.unwrap().is_empty());

    let revoke = token(&again, "/account/tokens/revoke");
    let id = grant.token.id.to_string();
    world.post_form(
        "/account/tokens/revoke",
        &[OWN, ("cookie", &cookie)],
        &[("token", &revoke), ("id", &id)],
    );
    assert!(
        world
            .store
            .authenticate_token(&shown.parse().unwrap())
            .await
            .is_err()
    );
    let log = world.store.audit_log(Some(account.id), 1).await.unwrap();
    assert_eq!(
        (log[0].action, &log[0].actor),
        (Action::RevokeToken, &Actor::Owner(account.id))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_which_addresses_have_accounts_and_nobody_takes_one() {
    let world = World::new().await;
    // An applicant who does not read the address's mail comes first.
    let theirs = [("email", EMAIL), ("password", "the password of another")];
    let first = submit(&world, "/register", "/register", &theirs).text();
    let stolen = link(&letters(&world.mail())[0]);
    // The owner opens that link and does not know its password.
    let wrong = submit(
        &world,
        &stolen,
        "/register/confirm",
        &[("link", secret_of(&stolen)), ("password", PASSWORD)],
    );
    assert_eq!(wrong.status, 403);
    assert!(
        world
            .store
            .credentials(&EMAIL.parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );

    registered(&world);
    let gone = world.get(&stolen);
    assert_eq!(gone.status, 404, "the other application is over");
    let again = submit(&world, "/register", "/register", &theirs).text();
    assert_eq!(
        again, first,
        "the answer does not tell that there is an account"
    );
    let letter = letters(&world.mail()).remove(0);
    assert!(letter.contains("You have an account already"), "{letter}");
    let credentials = world
        .store
        .credentials(&EMAIL.parse().unwrap())
        .await
        .unwrap();
    let unknown = submit(
        &world,
        "/password",
        "/password",
        &[("email", "nobody@example.org")],
    );
    assert_eq!(unknown.status, 200);
    assert!(credentials.unwrap().password.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_chosen_anew_and_ends_other_sessions() {
    let world = World::new().await;
    let cookie = registered(&world);
    submit(&world, "/password", "/password", &[("email", EMAIL)]);
    let link = link(&letters(&world.mail())[0]);
    let new = "five quick red foxes";
    let chosen = submit(
        &world,
        &link,
        "/password/new",
        &[("link", secret_of(&link)), ("password", new)],
    );
    assert_eq!(chosen.header("location"), Some("/account"));
    let old = world.get_with("/account", &[("cookie", &cookie)]);
    assert!(old.text().contains("<h1>Sign in</h1>"), "{}", old.text());
    assert_eq!(world.get(&link).status, 404, "a link works once");

    let by = |password| [("email", EMAIL), ("password", password)];
    assert_eq!(
        submit(&world, "/sign-in", "/sign-in", &by(PASSWORD)).status,
        403
    );
    let signed_in = submit(&world, "/sign-in", "/sign-in", &by(new));
    assert_eq!(signed_in.header("location"), Some("/account"));
    let cookie = set_cookie(&signed_in);
    let page = world.get_with("/account", &[("cookie", &cookie)]).text();
    let everywhere = token(&page, "/account/sign-out-everywhere");
    let out = world.post_form(
        "/account/sign-out-everywhere",
        &[OWN, ("cookie", &cookie)],
        &[("token", &everywhere)],
    );
    assert_eq!(out.header("location"), Some("/"));
    let after = world.get_with("/account", &[("cookie", &cookie)]);
    assert!(
        after.text().contains("<h1>Sign in</h1>"),
        "{}",
        after.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_ends_and_the_owner_still_gets_in() {
    let world = World::new().await;
    registered(&world);
    let wrong = [("email", EMAIL), ("password", "not it at all")];
    for _ in 0..10 {
        assert_eq!(submit(&world, "/sign-in", "/sign-in", &wrong).status, 403);
    }
    let stopped = submit(&world, "/sign-in", "/sign-in", &wrong);
    assert_eq!(stopped.status, 429);
    assert!(stopped.header("retry-after").is_some());
    chosen_password(&world, EMAIL, PASSWORD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_enough_to_change_an_account() {
    let world = World::new().await;
    let (account, owner) = world.account(Plan::Free).await;
    let (_, cookie) = sign_in(&world, owner.secret.expose());
    for page in ["/account", "/account/delete"] {
        let refused = world.get_with(page, &[("cookie", &cookie)]);
        assert_eq!(refused.status, 403, "{page}");
        assert!(refused.text().contains("a token is not enough"));
    }
    let machines = world.get_with("/machines", &[("cookie", &cookie)]).text();
    assert!(
        !machines.contains("action=\"/machines/early\""),
        "{machines}"
    );
    assert!(world.store.account(account.id).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_and_its_address_is_free() {
    let world = World::new().await;
    let cookie = registered(&world);
    let page = world
        .get_with("/account/delete", &[("cookie", &cookie)])
        .text();
    let form = token(&page, "/account/delete");
    let delete = |password: &str, confirmed: &str| {
        let fields = [
            ("token", form.as_str()),
            ("password", password),
            ("confirmed", confirmed),
        ];
        world.post_form("/account/delete", &[OWN, ("cookie", &cookie)], &fields)
    };
    assert_eq!(delete(PASSWORD, "").status, 403);
    assert_eq!(delete("not it at all", "yes").status, 403);
    assert_eq!(delete(PASSWORD, "yes").header("location"), Some("/"));
    assert!(
        world
            .store
            .credentials(&EMAIL.parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    registered(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_end_with_their_time() {
    let world = World::new().await;
    submit(
        &world,
        "/register",
        "/register",
        &[("email", EMAIL), ("password", PASSWORD)],
    );
    let link = link(&letters(&world.mail())[0]);
    world.clock.advance(jiff::SignedDuration::from_hours(24));
    let over = world.get(&link);
    assert_eq!(over.status, 404);
    assert!(
        over.text().contains("This link was used, is over"),
        "{}",
        over.text()
    );
    assert!(now() < suture_store::Clock::now(world.clock.as_ref()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_of_a_machine_that_failed_and_may_ask_for_silence() {
    let world = World::new().await;
    let cookie = registered(&world);
    let account = world.store.account_by_email(&EMAIL.parse().unwrap()).await;
    let account = account.unwrap();
    let (label, by) = ("first".parse().unwrap(), crate::world::operator());
    let issued = world
        .store
        .create_token(account.id, &label, &by, now())
        .await;
    let secret = world.enrolled(&issued.unwrap(), 1);
    let failed = suture_protocol::CheckInRequest {
        state: suture_protocol::MachineState::ApplyFailed,
        failure: Some("EBUSY".to_owned()),
        ..crate::world::check_in_request()
    };
    world.check_in(&secret, &failed);
    let letter = &letters(&world.mail())[0];
    assert!(
        letter.contains("Subject: Machines of yours need attention"),
        "{letter}"
    );
    assert!(
        letter.contains("- web-1: a live patch could not be applied"),
        "{letter}"
    );
    assert_eq!(link(letter), "/machines");
    let page = world.get_with("/account", &[("cookie", &cookie)]).text();
    let form = token(&page, "/account/letters");
    let sent = world.post_form(
        "/account/letters",
        &[OWN, ("cookie", &cookie)],
        &[("token", &form)],
    );
    assert_eq!(sent.status, 303);
    assert!(!world.store.account(account.id).await.unwrap().letters);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_mail_takes_no_registrations_and_says_so() {
    let world = World::plain().await;
    for page in ["/register", "/password"] {
        let refused = world.get(page);
        assert_eq!(refused.status, 403);
        assert!(
            refused.text().contains("sends no e-mails"),
            "{}",
            refused.text()
        );
    }
    assert!(!world.get("/").text().contains("/register"));
}

/// A mail server that others wrote, which prints what it gets.
struct MailServer {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    url: String,
}

impl MailServer {
    fn start() -> Self {
        use std::io::BufRead as _;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = std::process::Command::new("/usr/bin/aiosmtpd");
        command
            .args(["--nosetuid", "--listen", &address.to_string()])
            .args(["--class", "aiosmtpd.handlers.Debugging", "stdout"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(std::process::Stdio::piped());
        let started = command.spawn();
        let mut child = started.expect("aiosmtpd; `scripts/setup` installs it");
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "aiosmtpd does not listen");
            std::thread::yield_now();
        }
        let url = format!("smtp://{address}");
        Self { child, lines, url }
    }

    /// The next message, with its header.
    fn message(&mut self) -> String {
        let lines = self.lines.by_ref().map(Result::unwrap);
        let message: Vec<String> = lines
            .skip_while(|line| !line.contains("MESSAGE FOLLOWS"))
            .take_while(|line| !line.contains("END MESSAGE"))
            .collect();
        message.join("\r\n")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_reach_a_mail_server() {
    let mut server = MailServer::start();
    let world = World::with_mail_server(server.url.clone()).await;
    submit(
        &world,
        "/register",
        "/register",
        &[("email", EMAIL), ("password", PASSWORD)],
    );
    let message = server.message();
    for line in [
        "From: Suture <suture@example.org>",
        "To: ada@example.org",
        "Subject: Confirm your e-mail address",
    ] {
        assert!(message.contains(line), "no `{line}` in {message}");
    }
    assert_eq!(world.get(&link(&message)).status, 200);
}
