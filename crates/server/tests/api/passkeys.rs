//! What a passkey's answer must not do, told with a key in place of an authenticator. A real browser
//! and its authenticator are in the stories of the whole system.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::rollouts::{OWN, set_cookie, sign_in, token};
use crate::sign_up::{EMAIL, registered};
use crate::world::{Answer, World};

const ADD: &str = "/account/passkeys";
const SIGN_IN: &str = "/sign-in/passkey";

/// Present and recognised; and with a credential.
const FLAGS: u8 = 0b101;
const WITH_CREDENTIAL: u8 = FLAGS | 1 << 6;

/// What a browser and its authenticator send.
struct Key {
    pair: EcdsaKeyPair,
    name: [u8; 16],
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn client_data(kind: &str, wanted: &Value) -> String {
    let origin = "https://patches.example.org";
    json!({ "type": kind, "challenge": wanted["challenge"], "origin": origin }).to_string()
}

fn data(flags: u8, counter: u32) -> Vec<u8> {
    let party = digest(&SHA256, b"patches.example.org");
    [party.as_ref(), &[flags], &counter.to_be_bytes()].concat()
}

impl Key {
    fn new(name: u8) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let name = [name; 16];
        Self { pair, name }
    }

    fn make(&self, wanted: &Value) -> Vec<(&'static str, String)> {
        let public_key: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        let attested = [
            &data(WITH_CREDENTIAL, 0)[..],
            &[0; 16],
            &[0, 16],
            &self.name,
        ]
        .concat();
        vec![
            ("client_data", text(client_data("webauthn.create", wanted))),
            ("authenticator_data", text(attested)),
            ("credential", text(self.name)),
            ("algorithm", "-7".to_owned()),
            ("public_key", text(public_key.as_ref())),
        ]
    }

    fn sign(&self, wanted: &Value, handle: &str) -> Vec<(&'static str, String)> {
        let said = client_data("webauthn.get", wanted);
        let data = data(FLAGS, 0);
        let signed = [&data[..], digest(&SHA256, said.as_bytes()).as_ref()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        vec![
            ("client_data", text(said)),
            ("authenticator_data", text(data)),
            ("credential", text(self.name)),
            ("signature", text(signature)),
            ("user_handle", text(handle)),
        ]
    }
}

/// What the page's form says of itself beside its fields.
fn begin_token(page: &str, action: &str) -> String {
    let form = page.split(&format!("action=\"{action}\"")).nth(1).unwrap();
    let value = form.split("data-token=\"").nth(1).unwrap();
    value.split('"').next().unwrap().to_owned()
}

/// A page with a form for passkeys, as the browser with this cookie sees it.
struct Open<'world> {
    world: &'world World,
    page: String,
    cookie: String,
    action: &'static str,
}

impl<'world> Open<'world> {
    fn account(world: &'world World, session: &str) -> Self {
        let page = world.get_with("/account", &[("cookie", session)]).text();
        let cookie = session.to_owned();
        Self {
            world,
            page,
            cookie,
            action: ADD,
        }
    }

    fn sign_in(world: &'world World) -> Self {
        let page = world.get("/sign-in");
        Self {
            world,
            cookie: set_cookie(&page),
            page: page.text(),
            action: SIGN_IN,
        }
    }

    fn begin(&self) -> Value {
        let form = begin_token(&self.page, self.action);
        let headers = [OWN, ("cookie", self.cookie.as_str())];
        let address = format!("{}/begin", self.action);
        let begun = self
            .world
            .post_form(&address, &headers, &[("token", &form)]);
        assert_eq!(begun.header("cache-control"), Some("private, no-store"));
        begun.json()
    }

    fn send(&self, fields: &[(&'static str, String)]) -> Answer {
        let form = token(&self.page, self.action);
        let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
        let own = [("token", form.as_str()), ("label", "a key")];
        let fields: Vec<_> = own.into_iter().chain(fields).collect();
        let headers = [OWN, ("cookie", self.cookie.as_str())];
        self.world.post_form(self.action, &headers, &fields)
    }
}

/// A service, and the session and the key of somebody who has an account there.
async fn with_a_key() -> (World, String, Key, String) {
    let world = World::new().await;
    let session = registered(&world);
    let key = Key::new(1);
    let account = Open::account(&world, &session);
    let added = account.send(&key.make(&account.begin()));
    assert_eq!(added.status, 303, "{}", added.text());
    let account = world.store.account_by_email(&EMAIL.parse().unwrap()).await;
    (world, session, key, account.unwrap().id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_by_what_an_owner_signs_in() {
    let (world, _, _, owner) = with_a_key().await;
    let key = world.operator_key().await;
    let (_, operator) = sign_in(&world, key.expose());
    let page = world.visit(&format!("/fleet/accounts/{owner}"), &operator);
    let page = page.text();
    assert!(
        page.contains("signs in by a password, a passkey."),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_signs_in_once_and_for_what_it_was_asked() {
    let (world, session, key, owner) = with_a_key().await;
    let door = Open::sign_in(&world);
    let answer = key.sign(&door.begin(), &owner);
    assert_eq!(door.send(&answer).header("location"), Some("/account"));
    let not_begun = "was not begun in this browser";
    let refused = |sent: Answer, words: &str| {
        assert_eq!(sent.status, 403, "{}", sent.text());
        assert!(sent.text().contains(words), "{}", sent.text());
    };
    refused(door.send(&answer), not_begun);
    let account = Open::account(&world, &session);
    refused(door.send(&key.sign(&account.begin(), &owner)), not_begun);
    refused(account.send(&Key::new(2).make(&door.begin())), not_begun);
    let late = door.begin();
    world.clock.advance(jiff::SignedDuration::from_mins(5));
    refused(door.send(&key.sign(&late, &owner)), not_begun);

    let nobody = "does not know the passkey";
    refused(door.send(&Key::new(2).sign(&door.begin(), &owner)), nobody);
    let other = suture_store::AccountId::random().to_string();
    refused(door.send(&key.sign(&door.begin(), &other)), nobody);
    let forged = Key::new(1);
    refused(
        door.send(&forged.sign(&door.begin(), &owner)),
        "its signature is not",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_by_the_account_that_asked_for_it() {
    let (world, session, key, _) = with_a_key().await;
    let account = Open::account(&world, &session);
    let again = account.send(&key.make(&account.begin()));
    assert_eq!(again.status, 409);
    assert!(again.text().contains("known already"), "{}", again.text());
    let new = suture_store::NewAccount {
        email: "grace@example.org".parse().unwrap(),
        plan: suture_store::Plan::Free,
    };
    let by = crate::world::operator();
    let made = world
        .store
        .create_account(&new, &by, crate::world::now())
        .await;
    let other = world.session_of(made.unwrap().id).await;
    let theirs = Open::account(&world, &other);
    let stolen = theirs.send(&Key::new(2).make(&account.begin()));
    assert_eq!(stolen.status, 403);
    let begun = account.begin();
    let ada = world
        .store
        .account_by_email(&EMAIL.parse().unwrap())
        .await
        .unwrap();
    world
        .store
        .end_sessions(ada.id, crate::world::now())
        .await
        .unwrap();
    let late = account.send(&Key::new(3).make(&begun));
    assert_eq!(late.header("location"), Some("/sign-in?next=/account"));
    assert_eq!(world.store.passkeys(ada.id).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_in_is_added_by_who_signed_in_a_moment_ago() {
    let (world, session, _, _) = with_a_key().await;
    let account = Open::account(&world, &session);
    let begun = account.begin();
    let forms = format!("action=\"{ADD}\"");
    assert!(account.page.contains(&forms));
    world.clock.advance(jiff::SignedDuration::from_mins(16));
    let late = account.send(&Key::new(2).make(&begun));
    assert_eq!(late.status, 403);
    assert!(late.text().contains("Sign in again"), "{}", late.text());
    let page = Open::account(&world, &session).page;
    assert!(!page.contains(&forms));
    assert!(page.contains("/sign-in?next=/account"), "{page}");
}
