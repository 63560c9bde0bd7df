//! Functions as the proof of equality reads them.

use suture_differ::{ReferenceTarget, read_functions};

use crate::common::objects;

fn targets(case: &str, function: &str) -> Vec<String> {
    let functions = read_functions(&objects(case).0).unwrap();
    let body = functions.iter().find(|body| body.name == function).unwrap();
    let references = body
        .references
        .iter()
        .map(|reference| match &reference.target {
            ReferenceTarget::Symbol { name, local } => {
                format!(
                    "{name}{:+}{}",
                    reference.addend,
                    if *local { " local" } else { "" }
                )
            }
            ReferenceTarget::Literal(text) => {
                format!("{:?}{:+}", String::from_utf8_lossy(text), reference.addend)
            }
            other => format!("{other:?}"),
        });
    references.collect()
}

#[test]
fn references_name_what_they_mean() {
    let mut found = targets("one-function", "fixed");
    found.sort();
    let expected = [
        "\"fixed\"+0",
        "__fentry__-4",
        "exported_log-4",
        "hidden-4",
        "hits-4 local",
    ];
    assert_eq!(found, expected);
}

#[test]
fn branches_within_a_shared_section_are_references_too() {
    let found = targets("shared-section", "third");
    assert!(found.contains(&"first-4".to_owned()), "{found:?}");
    assert!(found.contains(&"second-4".to_owned()), "{found:?}");
}
