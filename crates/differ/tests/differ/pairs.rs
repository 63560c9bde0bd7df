//! The differ on a folder of object pairs that lies outside of this repository, against what
//! another builder answers for them.
//!
//! `SUTURE_OBJECT_PAIRS` names the folder: `NAME.ORIG.o` and `NAME.PATCHED.o` (or
//! `NAME.PATCHED.FAIL.o`, where no patch may come out), and `facts.json` with the other answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use suture_differ::{EntrySizes, FunctionStatus, Outcome, Report, report};

/// A function with its size before and after, and its position.
type Function = (String, u64, u64, u64);
/// Section, offset, type, addend, symbol, position.
type Relocation = (String, u64, u64, i64, String, u64);

/// Where our answer is another one, and why it is right.
const OURS_DIFFERS: &[(&str, Difference)] = &[
    // The other builder carries all of `.rodata`, and so 23 pointers into `reboot_setup`, which
    // was freed after boot. The changed function uses none of them.
    ("gcc-static-local-var-3", Difference::FewerRelocations(23)),
    // It stops before it lists functions. Ours are listed, so that the author sees that one of
    // them could be patched if the other, which is `__init`, were left out.
    ("meminfo-init2", Difference::ListsFunctionsOfARefusal),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    FewerRelocations(usize),
    ListsFunctionsOfARefusal,
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compare(folder: &Path, name: &str, fact: &Value) -> Report {
    let sizes = fact["env"].as_object().unwrap().iter();
    let sizes: String = sizes
        .map(|(name, size)| format!("{name}={}\n", size.as_str().unwrap()))
        .collect();
    let sizes = EntrySizes::from_list(&sizes).unwrap();
    let end = match fact["expect"].as_str().unwrap() {
        "fail" => "PATCHED.FAIL.o",
        _ => "PATCHED.o",
    };
    let original = read(&folder.join(format!("{name}.ORIG.o")));
    let patched = read(&folder.join(format!("{name}.{end}")));
    let vmlinux = "vmlinux".parse().unwrap();
    report(&original, &patched, &vmlinux, &sizes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn their_outcome(fact: &Value) -> Outcome {
    match fact["rc"].as_u64().unwrap() {
        0 => Outcome::Patch,
        2 => Outcome::Refused,
        3 => Outcome::NoChange,
        other => panic!("unknown answer {other}"),
    }
}

fn their_functions(fact: &Value) -> BTreeSet<Function> {
    let list = fact["funcs"].as_array().into_iter().flatten();
    list.map(|function| {
        let number = |field: &str| function[field].as_u64().unwrap();
        let name = function["name"].as_str().unwrap().to_owned();
        (
            name,
            number("old_size"),
            number("new_size"),
            number("sympos"),
        )
    })
    .collect()
}

fn our_functions(report: &Report) -> BTreeSet<Function> {
    let list = report.functions.iter();
    list.filter(|function| function.status == FunctionStatus::Changed)
        .map(|function| {
            let (old, new) = (function.old_size, function.new_size);
            (
                function.name.clone(),
                old,
                new,
                function.sympos.unwrap_or(0),
            )
        })
        .collect()
}

fn their_relocations(fact: &Value) -> BTreeSet<Relocation> {
    let list = fact["klp_relocs"].as_array().into_iter().flatten();
    list.map(|entry| {
        let text = |index: usize| entry[index].as_str().unwrap().to_owned();
        let number = |index: usize| entry[index].as_u64().unwrap();
        let addend = entry[3].as_i64().unwrap();
        (text(0), number(1), number(2), addend, text(4), number(6))
    })
    .collect()
}

fn our_relocations(report: &Report) -> BTreeSet<Relocation> {
    let list = report.relocations.iter().cloned();
    list.map(|entry| {
        let (place, kind) = (entry.offset, u64::from(entry.r_type));
        (
            entry.section,
            place,
            kind,
            entry.addend,
            entry.symbol,
            entry.sympos,
        )
    })
    .collect()
}

/// How our answer differs, or `Err` with what must not differ.
fn difference(report: &Report, fact: &Value) -> Result<Option<Difference>, String> {
    if report.outcome != their_outcome(fact) {
        return Err(format!("{:?}: {:?}", report.outcome, report.refusals));
    }
    let (ours, theirs) = (our_functions(report), their_functions(fact));
    if ours != theirs {
        let stopped = report.outcome == Outcome::Refused && theirs.is_empty();
        return stopped
            .then_some(Some(Difference::ListsFunctionsOfARefusal))
            .ok_or_else(|| format!("functions {ours:?} and {theirs:?}"));
    }
    let (ours, theirs) = (our_relocations(report), their_relocations(fact));
    if let Some(extra) = ours.difference(&theirs).next() {
        return Err(format!("a relocation that the other lacks: {extra:?}"));
    }
    let fewer = theirs.len() - ours.len();
    Ok((fewer > 0).then_some(Difference::FewerRelocations(fewer)))
}

#[test]
fn the_pairs_of_another_builder() {
    let Some(folder) = std::env::var_os("SUTURE_OBJECT_PAIRS").map(PathBuf::from) else {
        println!("SUTURE_OBJECT_PAIRS names no folder of object pairs: none compared");
        return;
    };
    let facts: BTreeMap<String, Value> =
        serde_json::from_slice(&read(&folder.join("facts.json"))).unwrap();
    assert!(!facts.is_empty());
    let known: BTreeMap<&str, Difference> = OURS_DIFFERS.iter().copied().collect();
    let mut relocations = 0;
    for (name, fact) in &facts {
        let report = compare(&folder, name, fact);
        let expected = known.get(name.as_str()).copied();
        assert_eq!(difference(&report, fact), Ok(expected), "{name}");
        relocations += report.relocations.len();
    }
    println!(
        "{} pairs and {relocations} livepatch relocations: {} of the other builder's answers are \
         not ours",
        facts.len(),
        known.len()
    );
}
