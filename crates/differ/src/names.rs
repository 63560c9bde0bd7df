//! What compilers and macros do to names: numbers that mean nothing, and objects that may be
//! copied because nobody depends on there being only one.

/// A name without the numbers that a compiler or `__COUNTER__` gave it:
/// `foo.constprop.0` → `foo.constprop`, `__UNIQUE_ID_ddebug218.3` → `__UNIQUE_ID_ddebug`.
pub(crate) fn base_name(name: &str) -> String {
    let mut parts = name.split('.').enumerate().filter(|(index, part)| {
        *index == 0 || part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit())
    });
    let mut base = String::with_capacity(name.len());
    if let Some((_, first)) = parts.next() {
        base.push_str(without_counter(first));
    }
    for (_, part) in parts {
        base.push('.');
        base.push_str(without_counter(part));
    }
    base
}

fn without_counter(part: &str) -> &str {
    if part.contains("__UNIQUE_ID_") || part.starts_with("__BTF_ID__") {
        part.trim_end_matches(|character: char| character.is_ascii_digit())
    } else {
        part
    }
}

/// Whether the name carries a number that another compilation may choose differently.
pub(crate) fn is_numbered(name: &str) -> bool {
    base_name(name) != name
}

/// The name in the source of the function that a clone was made of: `foo.constprop.0` → `foo`.
pub(crate) fn stem(name: &str) -> &str {
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// The function that a `.cold` part belongs to: `foo.isra.0.cold` → `foo.isra.0`.
pub(crate) fn parent_of_cold(name: &str) -> Option<&str> {
    let (parent, rest) = name.rsplit_once(".cold")?;
    let numbered = rest.strip_prefix('.').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    (rest.is_empty() || numbered).then_some(parent)
}

/// Static objects that macros and the compiler make for one place in the code. A second copy
/// does no harm: a warning may come once more, a rate limit starts anew, a text is a text.
/// `___done` and `___once_key` (`DO_ONCE`) are not among them: what they guard must not run twice.
const COPYABLE: &[&str] = &[
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "CSWTCH",
    "__already_done",
    "__warned",
    "__print_once",
    "_rs",
    "__key",
    "__UNIQUE_ID_ddebug",
];

/// Likewise, but only as constants: compound literals and texts.
const COPYABLE_CONSTANTS: &[&str] = &["C", "__msg"];

/// Whether a static object of this name in this section may be copied into the patch although
/// the running kernel has it.
pub(crate) fn is_copyable(name: &str, section: &str) -> bool {
    let once = [".data.once", ".data..once", "__dyndbg", "__verbose"];
    if name.starts_with("___done") {
        return false;
    }
    if once.contains(&section) || section.starts_with(".data..Lubsan") {
        return true;
    }
    let base = base_name(name);
    let numbered = base != name;
    let constant = section.starts_with(".rodata");
    // GCC: `__func__.12`; clang: `some_function.__func__` or `__func__.some_function`.
    base.split('.')
        .any(|part| COPYABLE.contains(&part) || constant && COPYABLE_CONSTANTS.contains(&part))
        && (numbered || base.contains('.') || name == "CSWTCH")
}

/// A name with every run of digits replaced, for tables whose symbols carry line numbers.
pub(crate) fn without_digits(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            digit if digit.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_compiler_do_not_count() {
        assert_eq!(base_name("foo.constprop.0"), "foo.constprop");
        assert_eq!(base_name("foo.isra.0.cold.12"), "foo.isra.cold");
        assert_eq!(base_name("foo.part.3"), "foo.part");
        assert_eq!(base_name("foo.llvm.1234567890123456789"), "foo.llvm");
        assert_eq!(base_name("__UNIQUE_ID_ddebug218.3"), "__UNIQUE_ID_ddebug");
        assert_eq!(
            base_name("__BTF_ID__struct__bpf_htab__5382194"),
            "__BTF_ID__struct__bpf_htab__"
        );
        assert_eq!(base_name("paging64_walk"), "paging64_walk");
        assert!(!is_numbered("clone3"));
    }

    #[test]
    fn cold_parts_know_their_parent() {
        assert_eq!(parent_of_cold("foo.isra.0.cold"), Some("foo.isra.0"));
        assert_eq!(parent_of_cold("foo.cold.7"), Some("foo"));
        assert_eq!(parent_of_cold("foo.colder"), None);
    }

    #[test]
    fn what_must_be_unique_is_never_copied() {
        assert!(is_copyable("__func__.3", ".rodata.__func__.3"));
        assert!(is_copyable("__already_done.0", ".data.once"));
        assert!(is_copyable("shrink.__warned", ".data.shrink.__warned"));
        assert!(!is_copyable("___done.3", ".data.once"));
        assert!(!is_copyable("counter.3", ".bss.counter.3"));
        assert!(!is_copyable("descriptor.3", ".data.descriptor.3"));
        assert!(is_copyable("C.2.5", ".rodata.C.2.5"));
        assert!(!is_copyable("C.2", ".bss.C.2"));
    }
}
