//! Records on their way in: from files and bulk archives, honest and hostile ones.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write as _};

use proptest::prelude::*;
use suture_advisory::{
    BulkError, BulkLimits, CveId, MAX_RECORD_BYTES, Offered, Outcome, ReadSeek, Record, Spool,
    read_bulk,
};
use tar::{EntryType, Header};
use zip::write::{SimpleFileOptions, ZipWriter};

const SECCOMP: &str = include_str!("data/CVE-2026-89603.json");
const PHONET: &str = include_str!("data/CVE-2026-90327.json");
const QDISC: &str = include_str!("data/CVE-2023-0590.json");

/// A vendor's collection, in memory.
#[derive(Default)]
struct Collection(BTreeMap<CveId, Vec<u8>>);

impl Collection {
    fn import(&mut self, bytes: &[u8]) -> Outcome {
        let offered = match Offered::read(bytes) {
            Ok(offered) => offered,
            Err(error) => return Outcome::rejected(&error),
        };
        let intake = offered.against(self.0.get(&offered.id).map(Vec::as_slice));
        if intake.keep {
            let canonical = offered.canonical().to_vec();
            self.0.insert(offered.id, canonical);
        }
        intake.outcome
    }

    fn import_all(&mut self, archive: Vec<u8>) -> Result<Vec<String>, BulkError> {
        self.import_within(archive, BulkLimits::default())
    }

    fn import_within(
        &mut self,
        archive: Vec<u8>,
        limits: BulkLimits,
    ) -> Result<Vec<String>, BulkError> {
        let mut told = Vec::new();
        let archive = Box::new(Cursor::new(archive));
        read_bulk(archive, limits, &mut Memory, &mut |member| {
            let outcome = match member.bytes {
                Ok(bytes) => self.import(bytes),
                Err(error) => Outcome::rejected(&error),
            };
            told.push(format!("{}: {outcome}", member.name));
            Ok(())
        })?;
        Ok(told)
    }
}

struct Memory;

impl Spool for Memory {
    fn spool(&mut self, bytes: &mut dyn Read) -> io::Result<Box<dyn ReadSeek>> {
        let mut kept = Vec::new();
        bytes.read_to_end(&mut kept)?;
        Ok(Box::new(Cursor::new(kept)))
    }
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

const PATHS: [&str; 3] = [
    "cves/2026/89xxx/CVE-2026-89603.json",
    "cves/2026/90xxx/CVE-2026-90327.json",
    "cves/2023/0xxx/CVE-2023-0590.json",
];

fn members() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("cves/delta.json", b"{}"),
        (PATHS[0], SECCOMP.as_bytes()),
        (PATHS[1], PHONET.as_bytes()),
        (PATHS[2], QDISC.as_bytes()),
        ("README.md", b"# CVE List V5"),
    ]
}

/// With another time of its last change.
fn of(text: &str, time: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    document["cveMetadata"]["dateUpdated"] = time.into();
    document.to_string()
}

#[test]
fn every_kind_of_bulk_archive_gives_the_same_collection() {
    let (zip, tar) = (zip(&members()), tar(&members()));
    let nested = self::zip(&[("2026-09-20_all_CVEs_at_midnight.zip", &zip)]);
    let mut collections = Vec::new();
    for archive in [zip, nested, gz(&tar), xz(&tar), tar] {
        let mut collection = Collection::default();
        let told = collection.import_all(archive.clone()).unwrap();
        let added: Vec<String> = PATHS.iter().map(|path| format!("{path}: added")).collect();
        assert_eq!(told, added);
        let again = collection.import_all(archive).unwrap();
        assert!(
            again.iter().all(|line| line.ends_with(": unchanged")),
            "{again:?}"
        );
        collections.push(collection.0);
    }
    assert!(collections.windows(2).all(|pair| pair[0] == pair[1]));
    let kept = &collections[0][&"CVE-2026-89603".parse().unwrap()];
    assert_eq!(
        Record::parse(kept).unwrap(),
        Record::parse(SECCOMP.as_bytes()).unwrap()
    );
}

#[test]
fn order_and_layout_of_a_record_change_nothing() {
    let mut collection = Collection::default();
    assert_eq!(collection.import(SECCOMP.as_bytes()), Outcome::Added);
    let value: serde_json::Value = serde_json::from_str(SECCOMP).unwrap();
    let outcome = collection.import(value.to_string().as_bytes());
    assert_eq!(outcome, Outcome::Unchanged);
}

#[test]
fn the_newest_of_one_identifier_wins_in_any_order() {
    let first = "2026-09-13T06:31:37.049Z".parse().unwrap();
    let newer = of(SECCOMP, "2026-10-01T00:00:00Z");
    let older = of(SECCOMP, "2026-09-12T00:00:00Z");
    let undated = of(SECCOMP, "some day");
    let mut collection = Collection::default();
    assert_eq!(collection.import(undated.as_bytes()), Outcome::Added);
    assert_eq!(
        collection.import(SECCOMP.as_bytes()),
        Outcome::Updated { from: None }
    );
    assert_eq!(
        collection.import(newer.as_bytes()),
        Outcome::Updated { from: Some(first) }
    );
    let than = "2026-10-01T00:00:00Z".parse().unwrap();
    for late in [older, undated, SECCOMP.to_owned()] {
        assert_eq!(collection.import(late.as_bytes()), Outcome::Older { than });
    }
    assert_eq!(collection.0.len(), 1);
}

#[test]
fn two_records_of_one_time_that_differ_are_for_a_person() {
    let mut collection = Collection::default();
    collection.import(SECCOMP.as_bytes());
    let forged = SECCOMP.replacen("\"HIGH\"", "\"LOW\"", 1);
    let outcome = collection.import(forged.as_bytes()).to_string();
    assert!(
        outcome.contains("differs from the kept record of the same time"),
        "{outcome}"
    );
    assert_eq!(collection.import(SECCOMP.as_bytes()), Outcome::Unchanged);
}

#[test]
fn a_record_that_is_withdrawn_later_replaces_the_published_one() {
    let withdrawn = of(SECCOMP, "2026-10-01T00:00:00Z").replacen("PUBLISHED", "REJECTED", 1);
    let mut collection = Collection::default();
    let first = collection.import(withdrawn.as_bytes()).to_string();
    assert!(first.contains("is REJECTED, not PUBLISHED"), "{first}");
    assert!(collection.0.is_empty(), "there was nothing to withdraw");
    collection.import(SECCOMP.as_bytes());
    let outcome = collection.import(withdrawn.as_bytes());
    assert!(matches!(outcome, Outcome::Updated { .. }), "{outcome}");
    let kept = collection.0.values().next().unwrap();
    assert!(
        Record::parse(kept)
            .unwrap_err()
            .to_string()
            .contains("REJECTED")
    );
}

#[test]
fn records_of_other_products_are_passed_over() {
    let text = PHONET
        .replace("\"vendor\": \"Linux\"", "\"vendor\": \"Example\"")
        .replace("\"shortName\": \"Linux\"", "\"shortName\": \"example\"")
        .replace("https://git.kernel.org", "https://git.example.org");
    let outcome = Collection::default().import(text.as_bytes());
    assert_eq!(outcome, Outcome::NotTheKernel);
}

#[test]
fn a_damaged_file_of_the_collection_gives_way_to_a_good_record() {
    let mut collection = Collection::default();
    collection
        .0
        .insert("CVE-2026-89603".parse().unwrap(), b"{ half of".to_vec());
    let outcome = collection.import(SECCOMP.as_bytes());
    assert_eq!(outcome, Outcome::Updated { from: None });
    assert_eq!(collection.import(SECCOMP.as_bytes()), Outcome::Unchanged);
}

#[test]
fn what_is_no_record_is_rejected_with_the_whole_reason() {
    let deep = SECCOMP.replacen(
        "\"title\":",
        &format!("\"x\": {}1{}, \"title\":", "[".repeat(200), "]".repeat(200)),
        1,
    );
    let cases = [
        ("{}".to_owned(), "missing field `dataType`"),
        (
            SECCOMP.replacen("\"metrics\": [", "\"metrics\": 7, \"x\": [", 1),
            "invalid type: integer",
        ),
        (
            SECCOMP.replacen(
                "\"cveId\": \"CVE-2026-89603\"",
                "\"cveId\": \"../../etc/passwd\"",
                1,
            ),
            "is not a CVE identifier",
        ),
        (
            SECCOMP.replacen("\"state\"", "\"cveId\": \"CVE-2026-0001\", \"state\"", 1),
            "duplicate field",
        ),
        (deep, "recursion limit exceeded"),
    ];
    for (text, expected) in cases {
        let outcome = Collection::default().import(text.as_bytes()).to_string();
        assert!(
            outcome.starts_with("rejected: ") && outcome.contains(expected),
            "{outcome}"
        );
    }
}

#[test]
fn one_bad_member_does_not_keep_the_others_out() {
    let huge = vec![b' '; MAX_RECORD_BYTES + 1];
    let members: Vec<(&str, &[u8])> = vec![
        ("CVE-2026-0001.json", &huge),
        ("CVE-2026-0002.json", b"not json"),
        (PATHS[0], SECCOMP.as_bytes()),
    ];
    for archive in [zip(&members), tar(&members), gz(&tar(&members))] {
        let told = Collection::default().import_all(archive).unwrap();
        assert!(told[0].contains("more than the 4194304 bytes"), "{told:?}");
        assert!(
            told[1].contains("rejected: this is not a CVE record"),
            "{told:?}"
        );
        assert_eq!(told[2], format!("{}: added", PATHS[0]));
    }
}

#[test]
fn a_member_whose_bytes_are_damaged_is_told() {
    let mut archive = zip(&[
        (PATHS[0], SECCOMP.as_bytes()),
        (PATHS[1], PHONET.as_bytes()),
    ]);
    let start = archive.windows(4).position(|four| four == b"json").unwrap() + 40;
    archive[start] ^= 0xff;
    let told = Collection::default().import_all(archive).unwrap();
    assert!(told[0].contains("rejected: "), "{told:?}");
    assert_eq!(told[1], format!("{}: added", PATHS[1]));
}

#[test]
fn a_bomb_ends_at_the_bound() {
    let limits = BulkLimits {
        total: 1 << 20,
        ..BulkLimits::default()
    };
    let zeros = vec![0_u8; 3 << 20];
    let record: &[(&str, &[u8])] = &[("CVE-2026-0001.json", &zeros)];
    // Also where the large file is one that is passed over.
    let other: &[(&str, &[u8])] = &[("other", &zeros), (PATHS[0], SECCOMP.as_bytes())];
    let inner = zip(record);
    let nested: &[(&str, &[u8])] = &[("inner.zip", &inner)];
    let padded: &[(&str, &[u8])] = &[("inner.zip", &zeros)];
    for archive in [
        zip(record),
        gz(&tar(record)),
        xz(&tar(other)),
        zip(nested),
        zip(padded),
    ] {
        let error = Collection::default()
            .import_within(archive, limits)
            .unwrap_err();
        let BulkError::Read { source } = error else {
            panic!("{error}")
        };
        assert!(
            source.to_string().contains("more than the 1048576 bytes"),
            "{source}"
        );
    }
}

#[test]
fn archives_in_archives_end_at_the_second() {
    let one = zip(&members());
    let two = zip(&[("one.zip", &one)]);
    let three = zip(&[("two.zip", &two)]);
    assert!(Collection::default().import_all(two).is_ok());
    let error = Collection::default().import_all(three).unwrap_err();
    assert!(matches!(error, BulkError::TooDeep), "{error}");
}

#[test]
fn too_many_members_are_refused_before_their_directory_is_read() {
    let limits = BulkLimits {
        members: 4,
        ..BulkLimits::default()
    };
    for archive in [zip(&members()), tar(&members())] {
        let error = Collection::default()
            .import_within(archive, limits)
            .unwrap_err();
        assert!(
            matches!(error, BulkError::TooManyMembers { limit: 4 }),
            "{error}"
        );
    }
    let mut announced = zip(&members());
    let end = announced.len() - 22;
    announced[end + 8..end + 12].copy_from_slice(&[0xfe; 4]);
    let limits = BulkLimits {
        members: 1000,
        ..BulkLimits::default()
    };
    let error = Collection::default()
        .import_within(announced, limits)
        .unwrap_err();
    assert!(
        matches!(error, BulkError::TooManyMembers { limit: 1000 }),
        "{error}"
    );
}

#[test]
fn names_that_lead_out_lead_nowhere() {
    let names = ["../../CVE-2026-89603.json", "/etc/CVE-2026-89603.json"];
    for name in names {
        let mut collection = Collection::default();
        let told = collection
            .import_all(zip(&[(name, SECCOMP.as_bytes())]))
            .unwrap();
        assert_eq!(
            told,
            [format!("{name}: added")],
            "only the record's own identifier counts"
        );
        assert_eq!(
            collection.0.keys().next().unwrap().as_str(),
            "CVE-2026-89603"
        );
    }
    let escape = "\u{1b}[2J/CVE-2026-89603.json";
    let told = Collection::default()
        .import_all(zip(&[(escape, SECCOMP.as_bytes())]))
        .unwrap();
    assert_eq!(told, ["[2J/CVE-2026-89603.json: added"]);
}

#[test]
fn links_and_devices_in_a_tape_are_no_records() {
    let mut builder = tar::Builder::new(Vec::new());
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_path("CVE-2026-89603.json").unwrap();
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
    }
    let told = Collection::default()
        .import_all(builder.into_inner().unwrap())
        .unwrap();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_long_name_of_a_tape_is_read_within_bounds() {
    let long = format!("{}/CVE-2026-89603.json", "folder".repeat(40));
    let told = Collection::default()
        .import_all(tar(&[(&long, SECCOMP.as_bytes())]))
        .unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with(": added"), "{told:?}");
    // A name of four megabytes, which a reader that believes it would hold in memory.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(4 << 20);
    header.set_path("././@LongLink").unwrap();
    header.set_cksum();
    builder
        .append(&header, io::repeat(b'A').take(4 << 20))
        .unwrap();
    let archive = builder.into_inner().unwrap();
    assert!(
        Collection::default()
            .import_all(archive)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn bytes_that_are_no_archive_are_said_to_be_none() {
    for bytes in [
        b"".as_slice(),
        b"PK",
        SECCOMP.as_bytes(),
        b"\x1f\x8b",
        b"PK\x03\x04 and no more",
    ] {
        assert!(
            Collection::default().import_all(bytes.to_vec()).is_err(),
            "{:?}",
            &bytes[..bytes.len().min(9)]
        );
    }
}

proptest! {
    /// Damage anywhere in an archive ends in an answer.
    #[test]
    fn no_damage_of_an_archive_makes_the_reading_panic(
        kind in 0..4_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<proptest::sample::Index>(),
    ) {
        let limits = BulkLimits { total: 4 << 20, ..BulkLimits::default() };
        let tar = tar(&members());
        let mut archive = [zip(&members()), gz(&tar), xz(&tar), tar][kind].clone();
        for (place, byte) in damage {
            let place = place.index(archive.len());
            archive[place] = byte;
        }
        let whole = cut.index(3) > 0;
        let length = if whole { archive.len() } else { cut.index(archive.len()) };
        archive.truncate(length);
        let _ = Collection::default().import_within(archive, limits);
    }
}
