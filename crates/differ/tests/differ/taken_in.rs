//! A function that is not traced, inlined by the compile of the fix.

use crate::common::{extract_case, objects};
use insta::assert_snapshot;
use suture_differ::{taken_in_wrongly, unseen_code};

fn objection(case: &str) -> String {
    let (old, new) = objects(case);
    let objection = taken_in_wrongly(&old, &new, &["fixed".to_owned()]).unwrap();
    objection.unwrap_or_default()
}

#[test]
fn callers_are_replaced_whether_they_call_or_jump() {
    assert_eq!(objection("taken-in"), "");
    assert_snapshot!(extract_case("taken-in"), @r"
    patch one,1 by __suture_u0_0
    patch jumps,1 by __suture_u0_1
    .text.one: code
    .text.jumps: code
    __mcount_loc: 16
    .rela.text.one -> .klp.sym.vmlinux.hidden,0
    .rela.text.jumps -> .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.jumps .text.one
    ");
}

#[test]
fn what_old_code_leads_to_must_stay() {
    assert_snapshot!(objection("taken-in-onward"), @"a task that waits inside the old `fixed` counts as patched, and would go on to the new `helper`");
}

#[test]
fn a_pointer_keeps_the_old_code_alive() {
    assert_snapshot!(objection("taken-in-pointer"), @"`fixed` is still on its own");
}

#[test]
fn callers_must_be_traced() {
    assert_snapshot!(objection("taken-in-untraced"), @"`untraced` would have to be replaced and is not traced either");
}

#[test]
fn unseen_code_is_found_whoever_inlined_it() {
    let unseen = |case: &str| {
        let (old, new) = objects(case);
        unseen_code(&old, &new).unwrap()
    };
    assert_eq!(unseen("taken-in"), None);
    assert_eq!(unseen("one-function"), None);
    let told = unseen("taken-in-onward").unwrap();
    assert_eq!(told, objection("taken-in-onward"));
}
