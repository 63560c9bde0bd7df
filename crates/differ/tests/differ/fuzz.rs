//! No object makes the differ panic, or take more memory than its size allows.

#[path = "../../../../fuzz/fuzz.rs"]
mod fuzzer;

use fuzzer::Target;
use suture_differ::object::Object;
use suture_differ::{EntrySizes, Extraction, extract, post_link, report};

use crate::common::{Kernel, objects};

/// Units with every table that the differ knows.
const CASES: &[&str] = &[
    "special-sections",
    "static-key",
    "static-call",
    "orc",
    "replacement-only",
    "shared-section",
    "cold-part",
    "clones",
    "new-function-and-data",
    "group",
    "export",
    "ignored",
    "static-local",
];

/// Beyond a multiple of the input: symbols and sections of one byte each have a price.
const MEMORY: usize = 24 << 20;

#[test]
fn fuzz_objects() {
    let pairs: Vec<_> = CASES.iter().map(|case| objects(case)).collect();
    let seeds = pairs.into_iter().flat_map(|(old, new)| [old, new]);
    Target {
        name: "object",
        seeds: seeds.collect(),
        memory: MEMORY,
        run: &|input| {
            let _ = Object::parse(input);
        },
    }
    .fuzz();
}

#[test]
fn fuzz_comparisons() {
    let pairs: Vec<_> = CASES.iter().map(|case| objects(case)).collect();
    let seeds = pairs
        .iter()
        .flat_map(|(old, new)| [old.clone(), new.clone()]);
    let vmlinux = "vmlinux".parse().unwrap();
    let sizes = EntrySizes::default();
    Target {
        name: "comparison",
        seeds: seeds.collect(),
        memory: MEMORY,
        run: &|input| {
            // Most changes keep the length, which tells the seed.
            let far = |seed: &Vec<u8>| seed.len().abs_diff(input.len());
            let nearest = pairs.iter().min_by_key(|(old, new)| far(old).min(far(new)));
            let (old, new) = nearest.unwrap();
            let _ = report(old, input, &vmlinux, &sizes);
            let _ = report(input, new, &vmlinux, &sizes);
            let _ = report(input, input, &vmlinux, &sizes);
        },
    }
    .fuzz();
}

#[test]
fn fuzz_the_last_link() {
    let kernel = Kernel("ext4".parse().unwrap());
    let extracted = |case: &&str| {
        let (old, new) = objects(case);
        match extract(&old, &new, &kernel.0, "u0", &kernel).unwrap() {
            Extraction::Patch(patch) => Some(patch.object),
            _ => None,
        }
    };
    let seeds: Vec<_> = CASES.iter().filter_map(extracted).collect();
    assert!(seeds.len() > 3);
    Target {
        name: "post-link",
        seeds,
        memory: MEMORY,
        run: &|input| {
            if let Ok(linked) = post_link(input) {
                assert!(linked.len() <= (64 << 10) + 64 * input.len());
            }
        },
    }
    .fuzz();
}

#[test]
fn fuzz_lists_of_sizes() {
    Target {
        name: "entry-sizes",
        seeds: vec![b"JUMP_STRUCT_SIZE=16\n# a comment\nALT_STRUCT_SIZE=14\n".to_vec()],
        memory: MEMORY,
        run: &|input| {
            let _ = EntrySizes::from_list(&String::from_utf8_lossy(input));
        },
    }
    .fuzz();
}
