//! Feeds of live patches. Pure: patches in, documents out.

use atom_syndication::{Category, Content, Entry, Feed, FixedDateTime, Link, Person, Text};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::view::{FixSummary, PatchSummary};

const TITLE: &str = "Live patches for Linux kernels";

/// An Atom document (RFC 4287). `address` is the feed's own, without the host.
///
/// A patch whose manifest can't be read now has no date, and comes when it can be.
pub fn atom(patches: &[PatchSummary], public_url: &str, address: &str) -> String {
    let dated = dated(patches);
    let newest = dated.iter().map(|(_, at)| *at).max();
    let link = |href: String, rel: &str| Link {
        href,
        rel: rel.to_owned(),
        ..Link::default()
    };
    let feed = Feed {
        id: format!("{public_url}{address}"),
        title: Text::plain(TITLE),
        updated: atom_time(newest.unwrap_or(Timestamp::UNIX_EPOCH)),
        authors: vec![Person {
            name: host(public_url),
            ..Person::default()
        }],
        links: vec![
            link(format!("{public_url}{address}"), "self"),
            link(format!("{public_url}/patches"), "alternate"),
        ],
        entries: dated
            .iter()
            .map(|(patch, at)| {
                let page = page(patch, public_url);
                Entry {
                    id: page.clone(),
                    title: Text::plain(patch.headline()),
                    updated: atom_time(*at),
                    links: vec![link(page, "alternate")],
                    categories: categories(patch),
                    content: Some(Content {
                        value: Some(text(patch)),
                        content_type: Some("text".to_owned()),
                        ..Content::default()
                    }),
                    ..Entry::default()
                }
            })
            .collect(),
        ..Feed::default()
    };
    feed.to_string()
}

fn categories(patch: &PatchSummary) -> Vec<Category> {
    let category = |fix: &FixSummary| Category {
        term: fix.cve.to_string(),
        ..Category::default()
    };
    patch.fixes.iter().map(category).collect()
}

/// A JSON Feed (source: jsonfeed.org, version 1.1).
pub fn json(patches: &[PatchSummary], public_url: &str, address: &str) -> Value {
    let items: Vec<Value> = dated(patches)
        .iter()
        .map(|(patch, at)| {
            let page = page(patch, public_url);
            let tags: Vec<_> = patch.fixes.iter().map(|fix| fix.cve.as_str()).collect();
            json!({
                "id": page,
                "url": page,
                "title": patch.headline(),
                "content_text": text(patch),
                "date_published": at.to_string(),
                "tags": tags,
            })
        })
        .collect();
    json!({
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "home_page_url": format!("{public_url}/patches"),
        "feed_url": format!("{public_url}{address}"),
        "items": items,
    })
}

fn dated<'patches>(patches: &'patches [PatchSummary]) -> Vec<(&'patches PatchSummary, Timestamp)> {
    let dated = |patch: &'patches PatchSummary| Some((patch, patch.created?));
    patches.iter().filter_map(dated).collect()
}

fn page(patch: &PatchSummary, public_url: &str) -> String {
    format!("{public_url}/patches/{}", patch.name)
}

fn text(patch: &PatchSummary) -> String {
    let line = |fix: &FixSummary| {
        let severity = fix.severity.map(|severity| format!(" ({severity})"));
        format!("{}{}: {}", fix.cve, severity.unwrap_or_default(), fix.title)
    };
    let lines: Vec<_> = patch.fixes.iter().map(line).collect();
    lines.join("\n")
}

/// Who speaks, for documents that need a name.
pub fn host(public_url: &str) -> String {
    let url = url::Url::parse(public_url).ok();
    let host = url.as_ref().and_then(url::Url::host_str);
    host.unwrap_or(public_url).to_owned()
}

fn atom_time(at: Timestamp) -> FixedDateTime {
    // Both write RFC 3339.
    at.to_string().parse().unwrap_or_default()
}
