//! Constants that change: taken along with their readers, or refused.

use insta::assert_snapshot;

use crate::common::{diff_case, extract_case};

#[test]
fn a_changed_constant_goes_along_with_the_functions_that_only_read_it() {
    assert_snapshot!(extract_case("constant-of-readers"), @r"
    patch parse,1 by __suture_u0_0
    patch weigh,1 by __suture_u0_1
    patch sum,1 by __suture_u0_2
    .text.parse: code
    .text.weigh: code
    .text.sum: code
    .rodata.rules: 6
    .rodata.weights: 20
    __mcount_loc: 24
    .rela.text.parse -> .klp.sym.vmlinux.__nla_parse,0 .rodata.rules exported_use
    .rela.text.weigh -> .rodata.weights
    .rela.text.sum -> .rodata.weights exported_use
    .rela__mcount_loc -> .text.parse .text.sum .text.weigh
    ");
}

#[test]
fn a_changed_constant_whose_address_gets_away_is_refused() {
    let cases = [
        "stored",
        "handed-on",
        "returned",
        "compared",
        "in-data",
        "at-boot",
        "spilled",
        "loaded-from",
        "copied-from",
    ];
    let of = |case| diff_case(&format!("constant-{case}"));
    for case in cases {
        assert!(
            of(case).contains("refused: the constant `rules`"),
            "{case}: {}",
            of(case)
        );
    }
}
