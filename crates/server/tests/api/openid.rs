//! Signing in at a provider of identities that others wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use suture_store::{
    Account, Action, Clock as _, NewAccount, NewIdentity, Plan, ProviderIdentity, SystemClock,
};

use crate::provider::Provider;
use crate::rollouts::{OWN, set_cookie, token};
use crate::sign_up::{EMAIL, PASSWORD, letters, registered, sign_in_with};
use crate::world::{Answer, World, operator};

const SUBJECT: &str = "248289761001";
const BEGIN: &str = "/sign-in/openid";
const ADD: &str = "/account/identities";
const REMOVE: &str = "/account/identities/remove";

/// A service and a provider that knows Ada.
struct Door {
    world: World,
    provider: Arc<Provider>,
    /// Tells the people of this test from others' at the provider.
    number: usize,
}

impl Door {
    async fn open() -> Self {
        Self::with(Provider::shared()).await
    }

    async fn with(provider: Arc<Provider>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let world = World::with_openid(provider.config()).await;
        // Tokens are over by the real time.
        let ahead = SystemClock.now().duration_since(world.clock.now());
        world.clock.advance(ahead);
        let door = Self {
            world,
            provider,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        };
        door.knows(SUBJECT, json!({ "email": EMAIL, "email_verified": true }));
        door
    }

    /// From now on the provider knows a person by this name.
    fn knows(&self, name: &str, claims: serde_json::Value) {
        self.provider.knows(&self.subject(name), claims);
    }

    /// Somebody says at the provider that they are this person.
    fn confirm(&self, page: &str, name: &str) -> String {
        self.provider.act(page, "sub", &self.subject(name))
    }

    fn subject(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    /// Presses the button on the page for signing in.
    fn begin(&self) -> Begun {
        let page = self.world.get("/sign-in?next=/machines");
        assert!(page.text().contains("Sign in with Example ID"));
        let (cookie, form) = (set_cookie(&page), token(&page.text(), BEGIN));
        let fields = [("token", form.as_str()), ("next", "/machines")];
        begun(
            self.world
                .post_form(BEGIN, &[OWN, ("cookie", &cookie)], &fields),
        )
    }

    /// Presses the button on the account's page.
    fn begin_adding(&self, session: &str) -> Begun {
        let page = self.account_page(session);
        let form = token(&page, ADD);
        let headers = [OWN, ("cookie", session)];
        begun(self.world.post_form(ADD, &headers, &[("token", &form)]))
    }

    fn account_page(&self, session: &str) -> String {
        let page = self.world.get_with("/account", &[("cookie", session)]);
        assert_eq!(page.status, 200, "{}", page.text());
        page.text()
    }

    /// Comes back from the provider, as a browser with this cookie alone.
    fn back(&self, way: &str, cookie: &str) -> Answer {
        self.world.visit(way, cookie)
    }

    /// The whole way of somebody who says that they are this person.
    fn sign_in(&self, subject: &str) -> Answer {
        let begun = self.begin();
        let way = self.confirm(&begun.page, subject);
        self.back(&way, &begun.cookie)
    }

    async fn ada(&self) -> Account {
        let email = EMAIL.parse().unwrap();
        self.world.store.account_by_email(&email).await.unwrap()
    }
}

/// Somebody on the way to the provider.
struct Begun {
    page: String,
    cookie: String,
}

fn begun(answer: Answer) -> Begun {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly; SameSite=Lax; Max-Age=600"), "{set}");
    Begun {
        page: onward(&answer),
        cookie: set_cookie(&answer),
    }
}

/// Where a page leads.
fn onward(answer: &Answer) -> String {
    let text = answer.text();
    let to = text.split("content=\"0; url=").nth(1);
    let to = to.unwrap_or_else(|| panic!("{text}"));
    to.split('"').next().unwrap().replace("&#38;", "&")
}

/// The session that an answer begins.
fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = set_cookie(answer);
    assert!(cookie.starts_with("__Host-suture-session="), "{cookie}");
    cookie
}

fn assert_refused(answer: &Answer, words: &str) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains(words), "{}", answer.text());
    assert_eq!(answer.header("set-cookie"), None);
}

fn code_in(way: &str) -> &str {
    let code = way.split_once("code=").unwrap().1;
    code.split('&').next().unwrap()
}

/// The address with another value of a parameter.
fn with(address: &str, name: &str, value: &str) -> String {
    let (before, rest) = address.split_once(&format!("{name}=")).unwrap();
    let after = rest.split_once('&').map_or("", |(_, after)| after);
    format!("{before}{name}={value}&{after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_the_provider_gets_an_account_and_finds_it_again() {
    crate::log::keep();
    let door = Door::open().await;
    let begun = door.begin();
    for part in [
        "response_type=code",
        "code_challenge_method=S256",
        "redirect_uri=https%3A%2F%2Fpatches.example.org%2Fsign-in%2Fopenid%2Fback",
    ] {
        assert!(begun.page.contains(part), "{}", begun.page);
    }
    let secret = begun.cookie.split_once('=').unwrap().1;
    assert!(!begun.page.contains(secret) && !begun.page.contains(&door.provider.secret));
    let way = door.confirm(&begun.page, SUBJECT);
    // Another server may get the answer.
    let elsewhere = door.world.beside().await;
    let here = begun.cookie.replace("__Host-", "");
    let came = elsewhere.visit(&way, &here);
    assert_eq!(onward(&came), "https://patches.example.org/machines");
    let first = set_cookie(&came).replace("suture-session", "__Host-suture-session");

    let account = door.ada().await;
    assert_eq!(account.plan, Plan::Free);
    let page = door.account_page(&first);
    assert!(
        page.contains("Example ID") && page.contains("Choose one"),
        "{page}"
    );
    door.knows(SUBJECT, json!({ "email": "elsewhere@example.net" }));
    let again = session(&door.sign_in(SUBJECT));
    assert!(
        door.account_page(&again).contains(EMAIL),
        "bound by the subject"
    );
    assert_eq!(door.world.store.accounts().await.unwrap().len(), 1);
    let logged = crate::log::text();
    assert!(logged.contains("signed in by OpenID Connect"));
    for planted in [
        door.provider.secret.as_str(),
        secret,
        &door.provider.basic(),
    ] {
        assert!(!logged.contains(planted), "{planted} is in the log");
    }
    let log = door
        .world
        .store
        .audit_log(Some(account.id), 9)
        .await
        .unwrap();
    let actions: Vec<_> = log.iter().map(|line| line.action).collect();
    assert_eq!(actions, [Action::AddIdentity, Action::CreateAccount]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_and_only_for_what_this_browser_began() {
    let door = Door::open().await;
    let begun = door.begin();
    let way = door.confirm(&begun.page, SUBJECT);
    let words = "was not begun in this browser";
    assert_refused(&door.back(&way, "other=1"), words);
    assert_refused(
        &door.back(&with(&way, "state", "0000"), &begun.cookie),
        words,
    );
    let another = door.begin();
    assert_refused(&door.back(&way, &another.cookie), words);
    session(&door.back(&way, &begun.cookie));
    assert_refused(&door.back(&way, &begun.cookie), words);

    let code = code_in(&way);
    let fresh = door.confirm(&another.page, SUBJECT);
    let replayed = door.back(&with(&fresh, "code", code), &another.cookie);
    assert_refused(&replayed, "refuses: `invalid_grant`");

    let late = door.begin();
    let way = door.confirm(&late.page, SUBJECT);
    door.world
        .clock
        .advance(jiff::SignedDuration::from_mins(10));
    assert_refused(&door.back(&way, &late.cookie), words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_sign_in_is_refused() {
    let door = Door::open().await;
    let begun = door.begin();
    let other = with(&begun.page, "nonce", "somebody-else-s");
    let way = door.confirm(&other, SUBJECT);
    assert_refused(&door.back(&way, &begun.cookie), "made for another sign-in");
    assert!(door.world.store.accounts().await.unwrap().is_empty());

    let begun = door.begin();
    let way = door.provider.act(&begun.page, "action", "deny");
    // The stand-in forgets the state, which the standard wants.
    let state = begun.page.split_once("state=").unwrap().1;
    let way = format!("{way}&state={}", state.split('&').next().unwrap());
    assert_refused(&door.back(&way, &begun.cookie), "says `access_denied`");

    let begun = door.begin();
    let way = door.confirm(&begun.page, SUBJECT);
    let mixed = format!("{way}&iss=https%3A%2F%2Fid.example.net");
    assert_refused(&door.back(&mixed, &begun.cookie), "is not Example ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_takes_over_no_account() {
    let door = Door::open().await;
    let owner = registered(&door.world);
    let account = door.ada().await;
    assert_refused(&door.sign_in(SUBJECT), "Sign in to it, and add Example ID");
    door.knows("unverified", json!({ "email": "grace@example.org" }));
    let no_address = "does not say that it verified";
    assert_refused(&door.sign_in("unverified"), no_address);
    let claims = json!({ "email": EMAIL, "email_verified": false });
    door.knows("liar", claims);
    assert_refused(&door.sign_in("liar"), no_address);
    let elsewhere = json!({ "email": "ada@example.net", "email_verified": true });
    door.knows("elsewhere", elsewhere);
    assert_refused(
        &door.sign_in("elsewhere"),
        "new accounts are for other addresses",
    );
    assert_eq!(door.world.store.accounts().await.unwrap().len(), 1);

    // Its owner binds what they like.
    let begun = door.begin_adding(&owner);
    let way = door.confirm(&begun.page, "unverified");
    let bound = door.back(&way, &begun.cookie);
    assert_eq!(onward(&bound), "https://patches.example.org/account");
    let letter = letters(&door.world.mail()).remove(0);
    assert!(
        letter.contains("grace@example.org can sign in to your account"),
        "{letter}"
    );
    let signed_in = session(&door.sign_in("unverified"));
    assert!(door.account_page(&signed_in).contains(EMAIL));

    // Another account can't have the same identity.
    let new = NewAccount {
        email: "other@example.org".parse().unwrap(),
        plan: Plan::Free,
    };
    let (by, now) = (operator(), door.world.clock.now());
    let made = door.world.store.create_account(&new, &by, now);
    let other = door.world.session_of(made.await.unwrap().id).await;
    let begun = door.begin_adding(&other);
    let way = door.confirm(&begun.page, "unverified");
    let taken = door.back(&way, &begun.cookie);
    assert_eq!(taken.status, 409, "{}", taken.text());
    assert!(
        taken.text().contains("signs in to another account"),
        "{}",
        taken.text()
    );
    assert_eq!(
        door.world.store.identities(account.id).await.unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_bound_for_who_signed_out_meanwhile() {
    let door = Door::open().await;
    let owner = registered(&door.world);
    let begun = door.begin_adding(&owner);
    let way = door.confirm(&begun.page, SUBJECT);
    let account = door.ada().await.id;
    let now = door.world.clock.now();
    door.world.store.end_sessions(account, now).await.unwrap();
    assert_refused(&door.back(&way, &begun.cookie), "was not begun");
    assert!(
        door.world
            .store
            .identities(account)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_way_in_stays_until_there_is_a_password() {
    let door = Door::open().await;
    let owner = session(&door.sign_in(SUBJECT));
    let account = door.ada().await.id;
    let id = door.world.store.identities(account).await.unwrap()[0]
        .id
        .to_string();
    let remove = |session: &str| {
        let form = token(&door.account_page(session), REMOVE);
        let headers = [OWN, ("cookie", session)];
        let fields = [("token", form.as_str()), ("id", &id)];
        door.world.post_form(REMOVE, &headers, &fields)
    };
    let refused = remove(&owner);
    assert_eq!(refused.status, 409);
    assert!(
        refused.text().contains("the only way to sign in"),
        "{}",
        refused.text()
    );

    let owner = crate::sign_up::chosen_password(&door.world, EMAIL, PASSWORD);
    assert_eq!(remove(&owner).status, 303);
    assert!(letters(&door.world.mail())[0].contains("was removed"));
    let refused = door.sign_in(SUBJECT);
    assert_refused(&refused, "There is an account for");
    assert_eq!(sign_in_with(&door.world, EMAIL, PASSWORD).status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_password_is_deleted_by_its_address() {
    let door = Door::open().await;
    let owner = session(&door.sign_in(SUBJECT));
    let headers = [OWN, ("cookie", owner.as_str())];
    let ask = door.world.get_with("/account/delete", &[headers[1]]).text();
    let form = token(&ask, "/account/delete");
    let delete = |email| {
        let fields = [
            ("token", form.as_str()),
            ("email", email),
            ("confirmed", "yes"),
        ];
        door.world.post_form("/account/delete", &headers, &fields)
    };
    assert_eq!(delete("grace@example.org").status, 403);
    assert_eq!(delete(EMAIL).status, 303);
    assert!(door.world.store.accounts().await.unwrap().is_empty());
    session(&door.sign_in(SUBJECT));
    assert_eq!(door.world.store.accounts().await.unwrap().len(), 1, "anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_away_the_page_says_so() {
    let door = Door::with(Arc::new(Provider::start())).await;
    let Door {
        world, provider, ..
    } = door;
    let page = world.get("/sign-in");
    let (cookie, form) = (set_cookie(&page), token(&page.text(), BEGIN));
    drop(provider);
    let sent = world.post_form(BEGIN, &[OWN, ("cookie", &cookie)], &[("token", &form)]);
    assert_eq!(sent.status, 503);
    assert!(
        sent.text().contains("sign in another way"),
        "{}",
        sent.text()
    );
    registered(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_provider_is_named_nobody_is_sent_to_one() {
    let world = World::new().await;
    let page = world.get("/sign-in");
    assert!(!page.text().contains(BEGIN));
    assert_eq!(world.get("/sign-in/openid/back?state=a&code=b").status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_another_provider_is_called_by_its_address() {
    let door = Door::open().await;
    let owner = session(&door.sign_in(SUBJECT));
    let account = door.ada().await.id;
    let before = NewIdentity {
        provider: ProviderIdentity {
            issuer: "https://id.example.net".parse().unwrap(),
            subject: "7".parse().unwrap(),
        },
        name: "of the time before".parse().unwrap(),
    };
    let now = door.world.clock.now();
    let bound = door.world.store.add_identity(account, &before, now).await;
    bound.unwrap();
    let page = door.account_page(&owner);
    assert!(
        page.contains("<strong>https://id.example.net</strong> of the time before"),
        "{page}"
    );
    assert!(page.contains("<strong>Example ID</strong>"), "{page}");
}
