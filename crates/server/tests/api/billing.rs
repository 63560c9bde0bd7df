//! A subscription from the first click to its end, at a stand-in for Stripe.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use suture_protocol::{HeldBy, ProblemKind};
use suture_store::{Clock as _, IssuedToken, Plan, SystemClock};

use crate::rollouts::{OWN, token};
use crate::sign_up::{EMAIL, PASSWORD, registered};
use crate::stripe::{KEY, Stripe, WEBHOOK_SECRET};
use crate::world::{Answer, World, check_in_request, kernel};

const PAGE: &str = "/account/subscription";
const CHECKOUT: &str = "/account/subscription/checkout";
const PORTAL: &str = "/account/subscription/portal";

/// A shop and a customer of it, who has a token.
struct Shop {
    world: World,
    stripe: Stripe,
    cookie: String,
    token: IssuedToken,
}

impl Shop {
    async fn open() -> Self {
        let stripe = Stripe::start();
        let world = World::selling(stripe.config()).await;
        // Stripe signs by the real time.
        let ahead = SystemClock.now().duration_since(world.clock.now());
        world.clock.advance(ahead);
        stripe.notify(&format!("http://{}/v1/stripe", world.address));
        let cookie = registered(&world);
        let account = world.store.account_by_email(&EMAIL.parse().unwrap()).await;
        let (account, label) = (account.unwrap().id, "first".parse().unwrap());
        let by = crate::world::operator();
        let now = world.clock.now();
        let token = world.store.create_token(account, &label, &by, now).await;
        Self {
            token: token.unwrap(),
            world,
            stripe,
            cookie,
        }
    }

    fn page(&self) -> String {
        let page = self.world.get_with(PAGE, &[("cookie", &self.cookie)]);
        assert_eq!(page.status, 200, "{}", page.text());
        page.text()
    }

    fn press(&self, action: &str) -> Answer {
        let form = token(&self.page(), action);
        self.send(action, &[("token", &form)])
    }

    fn send(&self, action: &str, fields: &[(&str, &str)]) -> Answer {
        let headers = [OWN, ("cookie", self.cookie.as_str())];
        self.world.post_form(action, &headers, fields)
    }

    /// Where a page of ours leads.
    fn onward(&self, action: &str) -> String {
        let page = self.press(action);
        assert_eq!(page.status, 200, "{}", page.text());
        let text = page.text();
        assert!(!text.contains(KEY) && !text.contains(WEBHOOK_SECRET));
        let to = text
            .split("content=\"0; url=")
            .nth(1)
            .expect("a page onward");
        to.split('"').next().unwrap().to_owned()
    }

    fn pay(&self, card: &str) {
        let back = self.stripe.act(&self.onward(CHECKOUT), "card", card);
        assert_eq!(back, format!("https://patches.example.org{PAGE}/back"));
        // Without the cookie, as a browser comes from another site, and then with it.
        let first = self.world.get(&format!("{PAGE}/back"));
        assert!(first.text().contains("back?again=yes"), "{}", first.text());
        let again = format!("{PAGE}/back?again=yes");
        let came = self.world.visit(&again, &self.cookie);
        assert_eq!(came.header("location"), Some(PAGE), "{}", came.text());
    }

    async fn plan(&self) -> Plan {
        let account = self.token.token.account;
        self.world.store.account(account).await.unwrap().plan
    }

    /// News travel by themselves.
    async fn until_the_plan_is(&self, plan: Plan) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.plan().await != plan {
            assert!(Instant::now() < deadline, "no news came");
            tokio::task::yield_now().await;
        }
    }

    /// Enrols as many as there is room for, one more being refused.
    fn fill(&self) -> Vec<String> {
        let secrets = (1..=3).map(|number| self.world.enrolled(&self.token, number));
        let secrets = secrets.collect();
        let fourth = self.world.enrol(&self.token, 4);
        let problem = fourth.problem();
        assert_eq!(problem.kind, ProblemKind::MachineLimit);
        for way_out in [
            "livepatch disable",
            "$12 a month",
            "https://patches.example.org/account/",
        ] {
            assert!(problem.detail.contains(way_out), "{}", problem.detail);
        }
        secrets
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_has_room_at_once_and_loses_nothing_afterwards() {
    let shop = Shop::open().await;
    let mut secrets = shop.fill();
    assert!(shop.world.get("/").text().contains("$12 a month"));
    assert!(shop.page().contains("Subscribe: $12 a month"));
    let other_tab = token(&shop.page(), CHECKOUT);
    shop.pay("good");
    assert_eq!(shop.plan().await, Plan::Subscription, "before any news");
    let page = shop.page();
    assert!(
        page.contains("subscription is active") && page.contains("Paid until"),
        "{page}"
    );
    let again = shop.send(CHECKOUT, &[("token", &other_tab)]);
    assert_eq!(again.header("location"), Some(PAGE), "nobody pays twice");
    secrets.push(shop.world.enrolled(&shop.token, 4));
    shop.world.publish(&kernel(), "104.1").await;

    let to = shop.stripe.act(&shop.onward(PORTAL), "what", "now");
    assert!(to.ends_with("/back"));
    shop.until_the_plan_is(Plan::Free).await;
    let account = shop.token.token.account;
    let machines = shop.world.store.machines(account).await.unwrap();
    assert_eq!(machines.len(), 4, "all stay");
    let told = shop.world.check_in(&secrets[3], &check_in_request());
    let held = told.held.expect("the last one gets nothing new");
    assert_eq!(held.by, HeldBy::MachineLimit);
    for words in ["covers 3 machines", "keeps what it has", "$12 a month"] {
        assert!(held.detail.contains(words), "{}", held.detail);
    }
    assert_eq!(
        shop.world.check_in(&secrets[0], &check_in_request()).held,
        None
    );
    assert!(shop.page().contains("1 machine more than the plan covers"));
    let machines = shop
        .world
        .get_with("/machines", &[("cookie", &shop.cookie)]);
    assert!(
        machines.text().contains("the plan does not cover it"),
        "{}",
        machines.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_is_declined_buys_nothing() {
    let shop = Shop::open().await;
    shop.pay("declined");
    assert_eq!(shop.plan().await, Plan::Free);
    let page = shop.page();
    assert!(page.contains("first payment is still missing"), "{page}");
    shop.pay("good");
    assert_eq!(shop.plan().await, Plan::Subscription);
}

#[tokio::test(flavor = "multi_thread")]
async fn news_count_if_stripe_signed_them_however_often_they_come() {
    let shop = Shop::open().await;
    shop.pay("good");
    let customer = shop
        .world
        .store
        .subscription(shop.token.token.account)
        .await;
    let customer = customer.unwrap().unwrap().customer;
    // It says that the subscription is over, and Stripe, asked, says that it is not.
    let news = |customer: &str| {
        let object = serde_json::json!({ "object": "subscription", "customer": customer,
            "status": "canceled" });
        let kind = "customer.subscription.deleted";
        serde_json::json!({ "id": "evt_1", "type": kind, "data": { "object": object } }).to_string()
    };
    let body = news(customer.as_str());
    let signed = signature(&body, shop.world.clock.now().as_second(), WEBHOOK_SECRET);
    for _ in 0..3 {
        assert_eq!(notify(&shop, &body, &signed).status, 204);
    }
    assert_eq!(
        shop.plan().await,
        Plan::Subscription,
        "Stripe is asked, not believed"
    );

    let stranger = news("cus_somebody");
    let theirs = signature(
        &stranger,
        shop.world.clock.now().as_second(),
        WEBHOOK_SECRET,
    );
    assert_eq!(notify(&shop, &stranger, &theirs).status, 204);
    let old = signature(
        &body,
        shop.world.clock.now().as_second() - 3600,
        WEBHOOK_SECRET,
    );
    let forged = signature(
        &body,
        shop.world.clock.now().as_second(),
        "whsec_somebody_else",
    );
    for wrong in [old.as_str(), &forged, "t=1", ""] {
        let refused = notify(&shop, &body, wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert_eq!(refused.problem().kind, ProblemKind::BadRequest);
    }
}

fn signature(body: &str, at: i64, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(signature.as_ref()))
}

fn notify(shop: &Shop, body: &str, signature: &str) -> Answer {
    let address = format!("http://{}/v1/stripe", shop.world.address);
    shop.world
        .post_raw(&address, &[("stripe-signature", signature)], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_deletes_the_account_pays_no_more() {
    let shop = Shop::open().await;
    shop.pay("good");
    assert_eq!(shop.stripe.subscriptions(), ["active"]);
    let ask = shop
        .world
        .get_with("/account/delete", &[("cookie", &shop.cookie)]);
    let form = token(&ask.text(), "/account/delete");
    let fields = [
        ("token", form.as_str()),
        ("password", PASSWORD),
        ("confirmed", "yes"),
    ];
    let deleted = shop.send("/account/delete", &fields);
    assert_eq!(deleted.status, 303, "{}", deleted.text());
    assert_eq!(shop.stripe.subscriptions(), ["canceled"]);
    let gone = shop.world.store.account(shop.token.token.account).await;
    assert!(gone.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_nothing_is_sold_and_nothing_is_lost() {
    let Shop {
        world,
        stripe,
        cookie,
        token: issued,
    } = Shop::open().await;
    let page = |world: &World| world.get_with(PAGE, &[("cookie", &cookie)]).text();
    let shop_page = page(&world);
    let form = token(&shop_page, CHECKOUT);
    drop(stripe);
    let headers = [OWN, ("cookie", cookie.as_str())];
    let refused = world.post_form(CHECKOUT, &headers, &[("token", &form)]);
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().contains("Try again later"),
        "{}",
        refused.text()
    );
    assert!(page(&world).contains("Subscribe"));
    world.enrolled(&issued, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_sold_the_operator_is_the_way_out() {
    let world = World::plain().await;
    assert_eq!(world.get(PAGE).status, 404);
    let news = world.post_raw(&format!("http://{}/v1/stripe", world.address), &[], "{}");
    assert_eq!(news.problem().kind, ProblemKind::NotFound);
    let (_, issued) = world.account(Plan::Free).await;
    for number in 1..=3 {
        world.enrolled(&issued, number);
    }
    let fourth = world.enrol(&issued, 4).problem();
    assert!(
        fourth.detail.contains("ask this service's operator"),
        "{}",
        fourth.detail
    );
    assert!(!world.get("/").text().contains("subscription"));
}
