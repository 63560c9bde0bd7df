//! Units that read what the kernel otherwise writes into their code.
//!
//! The kernel prepares the static branches of a live patch when the patch is loaded. A branch on
//! a key of the patched module can't be prepared then: the module may not be there yet. And some
//! constants it writes into its own code while it boots, before any patch. Such a unit is compiled
//! once more, with and without the fix, so that it reads the key or the variable when it gets
//! there. That is slower by a load, and right at any time.
//!
//! Another compile may inline other functions and make other clones. So it is made to replace every
//! function that the ordinary compile would, and to bring its own clones along; its result is only
//! taken if it does, and leans on no clone that the ordinary one lacks.

use std::collections::{BTreeSet, HashSet};

use suture_differ::object::Object;
use suture_differ::{Comparison, FunctionStatus, Refusal};

/// `STT_OBJECT` (System V ABI, "Symbol Table").
const STT_OBJECT: u8 = 1;

/// What a unit is made to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Keys of static branches, of which a module has its own.
    Keys,
    /// Variables whose values the kernel's own code has in it (`runtime_const_ptr`).
    Constants,
}

/// The macros of include/linux/jump_label.h, made to read the key. A count below zero is a key
/// that is being enabled. (`READ_ONCE` would count `__COUNTER__` on, and so number the unit's own
/// symbols anew.)
const KEYS_HEADER: &str = "\
#include <linux/jump_label.h>
#undef static_branch_likely
#undef static_branch_unlikely
#define suture_key_is_on(k) (*(const volatile int *)&(k)->enabled.counter != 0)
#define static_branch_likely(branch) likely(suture_key_is_on(&(branch)->key))
#define static_branch_unlikely(branch) unlikely(suture_key_is_on(&(branch)->key))
#define static_key_true(k) likely(suture_key_is_on(k))
#define static_key_false(k) unlikely(suture_key_is_on(k))
";

/// The macros of arch/x86/include/asm/runtime-const.h, made to read the variable as modules do.
const CONSTANTS_HEADER: &str = "\
#include <linux/types.h>
#include <asm/runtime-const.h>
#undef runtime_const_ptr
#undef runtime_const_shift_right_32
#define runtime_const_ptr(sym) (sym)
#define runtime_const_shift_right_32(val, sym) ((u32)(val) >> (sym))
";

impl Reads {
    /// What would have to be read for a patch to be made.
    pub fn against(refusals: &[Refusal]) -> Option<Self> {
        refusals.iter().find_map(|refusal| match refusal {
            Refusal::ModuleStaticKey { .. } => Some(Self::Keys),
            Refusal::ConstantInCode { .. } => Some(Self::Constants),
            _ => None,
        })
    }

    /// Included before the unit.
    pub fn header(self) -> &'static str {
        match self {
            Self::Keys => KEYS_HEADER,
            Self::Constants => CONSTANTS_HEADER,
        }
    }

    /// The name under which the unpatched unit is kept.
    pub fn kept_as(self) -> &'static str {
        match self {
            Self::Keys => "reading.o",
            Self::Constants => "constants.o",
        }
    }
}

/// What the ordinary compile and the reading one tell of each other.
pub(crate) struct Reading<'a> {
    /// The ordinary compile, without and with the fix.
    pub fix: &'a Comparison,
    /// The unpatched source, compiled in the ordinary way and reading.
    pub compiles: &'a Comparison,
    /// The unpatched objects of the two.
    pub ordinary: &'a Object,
    pub reading: &'a Object,
}

impl Reading<'_> {
    /// Why the patch of the reading compile must not stand for that of the ordinary one.
    pub fn objection(&self, functions: &[&str], patch: &Object) -> Option<String> {
        let missed = |name: &&str| !functions.contains(name);
        if let Some(name) = names(self.fix, FunctionStatus::Changed).find(missed) {
            return Some(format!("it would leave `{name}` as it is"));
        }
        if numbered_data(self.ordinary) != numbered_data(self.reading) {
            return Some("its static variables have other numbers".to_owned());
        }
        let same: HashSet<&str> = names(self.compiles, FunctionStatus::Same).collect();
        let used = patch
            .symbols
            .iter()
            .filter_map(|symbol| kernel_name(&symbol.name));
        let mut clones = functions
            .iter()
            .copied()
            .chain(used)
            .filter(|name| is_clone(name));
        let other = clones.find(|name| !same.contains(name))?;
        Some(format!(
            "its `{other}` is not the one of the running kernel"
        ))
    }
}

/// Clones that the reading compile made in its own way. A patch brings them along for itself.
pub(crate) fn own_clones(compiles: &Comparison) -> HashSet<String> {
    let other = compiles
        .functions
        .iter()
        .filter(|function| function.status != FunctionStatus::Same && is_clone(&function.name));
    other.map(|function| function.name.clone()).collect()
}

fn names(comparison: &Comparison, status: FunctionStatus) -> impl Iterator<Item = &str> {
    comparison
        .with_status(status)
        .map(|function| function.name.as_str())
}

/// The objects of an object whose names the compiler numbered, with their sizes. Those made of
/// `switch` statements are constants that the patch brings along.
fn numbered_data(object: &Object) -> BTreeSet<(&str, u64)> {
    let numbered = |name: &str| {
        let parts = name.rsplit_once('.');
        parts.is_some_and(|(base, number)| {
            base != "CSWTCH" && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let data = object
        .symbols
        .iter()
        .filter(|symbol| symbol.kind == STT_OBJECT);
    data.filter(|symbol| numbered(&symbol.name))
        .map(|symbol| (symbol.name.as_str(), symbol.size))
        .collect()
}

/// `NAME` of `.klp.sym.OBJECT.NAME,POSITION`.
fn kernel_name(symbol: &str) -> Option<&str> {
    let (_, name) = symbol.strip_prefix(".klp.sym.")?.split_once('.')?;
    name.split(',').next()
}

/// A function that the compiler made of another one, with parameters or a body of its choice.
fn is_clone(function: &str) -> bool {
    let marks = [".isra", ".constprop", ".part", ".cold"];
    marks.iter().any(|mark| function.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use suture_differ::compare;
    use suture_differ::object::{Symbol, SymbolSection};

    const BEFORE: &str = "int hidden(int); int fixed(int n) { return hidden(n); } \
                          int other(int n) { static int count; return count += n; }";

    fn compiled(source: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("x.c"), folder.path().join("x.o"));
        std::fs::write(&input, source).unwrap();
        let gcc = std::process::Command::new("gcc")
            .args(["-c", "-O2", "-ffunction-sections", "-fdata-sections", "-o"])
            .args([&output, &input])
            .status();
        assert!(gcc.unwrap().success());
        std::fs::read(output).unwrap()
    }

    /// What speaks against a patch of `functions` that uses `symbol`.
    fn objection(reading: &str, functions: &[&str], symbol: &str) -> Option<String> {
        let fixed = BEFORE.replace("hidden(n)", "hidden(n + 1)");
        let [before, after, reading] = [BEFORE, &fixed, reading].map(compiled);
        let patch = Object {
            sections: Vec::new(),
            symbols: vec![Symbol {
                name: symbol.to_owned(),
                kind: 0,
                binding: 1,
                other: 0,
                home: SymbolSection::Undefined,
                value: 0,
                size: 0,
            }],
        };
        let parse = |bytes: &[u8]| Object::parse(bytes).unwrap();
        Reading {
            fix: &compare(&before, &after).unwrap(),
            compiles: &compare(&before, &reading).unwrap(),
            ordinary: &parse(&before),
            reading: &parse(&reading),
        }
        .objection(functions, &patch)
    }

    #[test]
    fn a_compile_that_replaces_the_same_functions_is_taken() {
        assert_eq!(objection(BEFORE, &["fixed"], ".klp.sym.kvm.hidden,0"), None);
        assert_eq!(objection(BEFORE, &["fixed", "other"], "exported"), None);
    }

    #[test]
    fn a_function_that_it_would_miss_is_named() {
        let missed = objection(BEFORE, &["other"], "exported").unwrap();
        assert_eq!(missed, "it would leave `fixed` as it is");
    }

    #[test]
    fn a_clone_of_its_own_is_named() {
        let clone = objection(BEFORE, &["fixed"], ".klp.sym.kvm.helper.isra.0,1").unwrap();
        assert!(clone.contains("`helper.isra.0`"), "{clone}");
        let replaced = objection(BEFORE, &["fixed", "helper.constprop.0"], "exported").unwrap();
        assert!(replaced.contains("`helper.constprop.0`"), "{replaced}");
    }

    #[test]
    fn a_clone_of_another_kind_is_known_as_the_compiles_own() {
        let clones = |constant: u32| {
            let source = format!(
                "int hidden(int); static __attribute__((noinline)) int helper(int n, int by) \
                 {{ return hidden(n + {constant} * by) * by; }} \
                 int first(int n) {{ return helper(n, 3); }} int second(int n) {{ return helper(n, 3); }}"
            );
            compiled(&source)
        };
        assert!(own_clones(&compare(&clones(1), &clones(1)).unwrap()).is_empty());
        let own = own_clones(&compare(&clones(1), &clones(2)).unwrap());
        assert_eq!(own, HashSet::from(["helper.constprop.0".to_owned()]));
    }

    #[test]
    fn static_variables_with_other_numbers_are_told() {
        let moved = "int more(int n) { static int first; return first += n; }".to_owned() + BEFORE;
        assert!(objection(&moved, &["fixed"], "exported").is_some());
    }
}
