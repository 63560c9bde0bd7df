//! What everyone may read: live patches by kernel and by hole, kernels, feeds, the calendar.

use std::collections::HashSet;

use atom_syndication::Feed;
use serde_json::Value;
use suture_kernel::KernelBuild;
use suture_protocol::ProblemKind;

use crate::world::{World, kernel};

fn other_kernel() -> KernelBuild {
    KernelBuild {
        release: "6.1.0-53-amd64".parse().unwrap(),
        ..kernel()
    }
}

fn names(page: &Value) -> Vec<String> {
    let patches = page["patches"].as_array().unwrap();
    let name = |patch: &Value| patch["name"].as_str().unwrap().to_owned();
    patches.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_are_found_by_kernel_and_by_hole_a_piece_at_a_time() {
    let world = World::new().await;
    for version in ["104.1", "104.2", "105.1"] {
        world.publish(&kernel(), version).await;
    }
    world.publish(&other_kernel(), "104.1").await;

    // All of them, the latest first, in pieces that neither repeat nor leave out.
    let mut seen = Vec::new();
    let mut address = Some("/v1/patches?limit=3".to_owned());
    while let Some(next) = address {
        let answer = world.get(&next);
        seen.extend(names(&answer.json()));
        let link = answer.header("link").map(str::to_owned);
        address = link.map(|link| {
            let inner = link.strip_prefix('<').unwrap();
            let (target, rest) = inner.split_once('>').unwrap();
            assert_eq!(rest, "; rel=\"next\"");
            target.to_owned()
        });
    }
    let versions: Vec<_> = seen
        .iter()
        .map(|name| name.rsplit('_').next().unwrap())
        .collect();
    assert_eq!(versions, ["105.1", "104.2", "104.1", "104.1"]);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 4);

    let found = |query: &str| names(&world.get(&format!("/v1/patches?{query}")).json());
    assert_eq!(found("kernel=6.1.0-53").len(), 1);
    assert_eq!(found("kernel=%2Bdeb13").len(), 3);
    assert_eq!(found("cve=cve-2026-31402").len(), 4);
    assert!(found("cve=CVE-2026-1111").is_empty());
    assert!(found("after=nonsense").is_empty());
    let refused = world.get("/v1/patches?cve=log4shell");
    assert_eq!(refused.status, 422);
    let problem = refused.problem();
    assert_eq!(problem.kind, ProblemKind::BadRequest);
    assert!(problem.detail.contains("CVE-2026-89603"), "{problem:?}");

    let page = world.get("/patches?kernel=6.1.0-53").text();
    assert!(page.contains("6.1.0-53-amd64") && !page.contains("6.12.117"));
    let page = world.get("/patches?cve=%3Cscript%3E");
    assert_eq!(page.status, 422);
    assert!(page.text().contains("&#60;script&#62;") && page.text().contains("CVE-2026-89603"));
    let page = world.get("/patches?limit=1").text();
    let older = page
        .split("href=\"")
        .find(|link| link.contains("rel=\"next\""));
    let older = older
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&");
    assert!(world.get(&older).text().contains("104.2"), "{older}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_shown_in_full() {
    let world = World::new().await;
    world.publish(&kernel(), "104.1").await;
    let listed: Value = world.get("/v1/patches").json();
    let name = &names(&listed)[0];
    let page = world.get(&format!("/patches/{name}"));
    assert_eq!(page.status, 200);
    let text = page.text();
    for expected in [
        "Live patch 104.1",
        "CVE-2026-31413",
        "nft_exthdr_eval",
        "net/netfilter/nft_exthdr.c",
        "linux-source-6.12 6.12.117-1",
        "Nobody tried it before it was signed: no virtual machine",
        "No rollout yet",
        "suture verify MODULE --source",
        "https://patches.example.org/v1/repository/targets/",
        "Build id",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("<option>"), "titles are escaped");
    let full: Value = world.get(&format!("/v1/patches/{name}")).json();
    assert_eq!(full["version"], "104.1");
    assert_eq!(
        full["details"]["objects"][0]["functions"][0]["name"],
        "nft_exthdr_eval"
    );
    for link in [&full["manifest"], &full["source"]] {
        assert_eq!(world.get(link.as_str().unwrap()).status, 200, "{link}");
    }

    world.rollout("104.1").await;
    let text = world.get(&format!("/patches/{name}")).text();
    assert!(!text.contains("No rollout yet") && text.contains("href=\"/rollouts/"));

    for missing in ["/patches/nonsense", &format!("/patches/{name}1")] {
        let page = world.get(missing);
        assert_eq!(page.status, 404);
        assert!(
            page.text().contains("no live patch with this name"),
            "{}",
            page.text()
        );
    }
    assert_eq!(
        world.get("/v1/patches/nonsense").problem().kind,
        ProblemKind::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_content_is_told_so() {
    let world = World::new().await;
    for path in [
        "/patches",
        "/v1/patches",
        "/v1/kernels",
        "/kernels",
        "/style.css",
        "/",
    ] {
        let first = world.get(path);
        let tag = first.header("etag").unwrap().to_owned();
        let again = world.get_with(path, &[("if-none-match", &tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        let head = world.head(path);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["etag", "content-type", "content-length"] {
            assert_eq!(head.header(name), first.header(name), "{path}: {name}");
        }
    }
    let tag = world.get("/v1/patches").header("etag").unwrap().to_owned();
    world.publish(&kernel(), "104.1").await;
    let changed = world.get_with("/v1/patches", &[("if-none-match", &tag)]);
    assert_eq!(names(&changed.json()).len(), 1);
    // What is for one reader alone is not tagged.
    assert_eq!(world.get("/sign-in").header("etag"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_tell_each_patch_once() {
    let world = World::new().await;
    world.publish(&kernel(), "104.1").await;
    world.publish(&other_kernel(), "104.2").await;

    let atom = world.get("/patches.atom");
    assert_eq!(
        atom.header("content-type"),
        Some("application/atom+xml; charset=utf-8")
    );
    let feed = Feed::read_from(&atom.body[..]).unwrap();
    assert_eq!(feed.entries.len(), 2);
    let entry = &feed.entries[0];
    assert_eq!(entry.title.as_str(), "Live patch 104.2 for 6.1.0-53-amd64");
    assert_eq!(entry.updated.to_rfc3339(), "2026-11-23T12:00:00+00:00");
    assert_eq!(entry.categories[0].term, "CVE-2026-31413");
    let content = entry.content.as_ref().unwrap().value.as_ref().unwrap();
    assert!(content.contains("<option>"), "as text: {content}");
    let path = entry
        .id
        .strip_prefix("https://patches.example.org")
        .unwrap();
    assert_eq!(world.get(path).status, 200);

    let json: Value = world.get("/patches.json?kernel=6.1.0").json();
    assert_eq!(json["version"], "https://jsonfeed.org/version/1.1");
    assert_eq!(
        json["feed_url"],
        "https://patches.example.org/patches.json?kernel=6.1.0"
    );
    let items = json["items"].as_array().unwrap();
    assert_eq!(
        (items.len(), &items[0]["url"]),
        (1, &Value::from(entry.id.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kernels_and_the_calendar_tell_until_when() {
    let world = World::new().await;
    assert!(world.get("/calendar").text().contains("No dates are set"));
    world.publish(&kernel(), "104.1").await;
    world.publish(&kernel(), "104.2").await;
    let notices = "[[kernel]]\nrelease = '6.12.*-amd64'\ncovered-until = '2027-06-30'\n\
        not-live-patched = [{ cve = 'CVE-2026-89603', reason = 'it changes a structure' }]\n\
        [regular-updates]\nfirst = '2026-12-01'\n";
    std::fs::write(world.notices(), notices).unwrap();

    let listed: Value = world.get("/v1/kernels").json();
    let kernels = listed["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 1);
    assert_eq!(kernels[0]["kernel"]["release"], "6.12.117+deb13-amd64");
    assert_eq!(
        (&kernels[0]["newest"], &kernels[0]["versions"]),
        (&"104.2".into(), &2.into())
    );
    assert_eq!(kernels[0]["covered_until"], "2027-06-30");
    let page = world.get("/kernels").text();
    for expected in [
        "2027-06-30",
        "CVE-2026-89603",
        "it changes a structure",
        "104.2",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }

    let page = world.get("/calendar").text();
    for expected in [
        "every 21 days",
        "1 December 2026",
        "22 December 2026",
        "Last day of live patches for 6.12.117+deb13-amd64",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let ics = world.get("/calendar.ics");
    assert_eq!(
        ics.header("content-type"),
        Some("text/calendar; charset=utf-8")
    );
    let text = ics.text();
    assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.ends_with("END:VCALENDAR\r\n"));
    for expected in [
        "DTSTART;VALUE=DATE:20261201\r\n",
        "UID:2026-12-01-regular-update@patches.example.org\r\n",
        "SUMMARY:Regular kernel update\\, with a reboot\r\n",
        "DTSTART;VALUE=DATE:20270630\r\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.matches("BEGIN:VEVENT").count(), 10);
}
