//! How a kernel takes a live patch, told from what it exports and declares.
//!
//! Versions tell nothing: distributions carry the interface of one version into another. Ubuntu's
//! 4.4 has the `klp_reloc` of 4.5, for one.

use thiserror::Error;

use crate::symvers::Symvers;

/// Bytes of `include/linux/livepatch.h` that are read; the newest has 9 KiB.
const HEADER_LIMIT: usize = 1 << 20;

/// The interface between a patch module and the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LivepatchAbi {
    /// The patch is enabled in one step. The loader fills in livepatch relocations
    /// (`.klp.rela.*`), tasks move in a transition, and a newer patch can replace all others
    /// (5.1 and later).
    Replacing,
    /// The patch is registered and then enabled. Its relocations are a table (`struct klp_reloc`)
    /// that names each symbol and its place among those of that name. Functions are switched one
    /// by one at once, without a look at what tasks run (4.5 and 4.6, and Ubuntu's 4.4).
    Registering,
}

/// A kernel whose interface is none that a patch can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnknownAbi {
    #[error("it exports no `klp_enable_patch`")]
    NoLivepatch,
    #[error(
        "its `struct klp_reloc` tells symbols by the addresses that the linker gave them (`val`), \
         as vanilla 4.4 does"
    )]
    LinkAddresses,
    #[error(
        "its patches are registered before they are enabled, and relocated by `.klp.rela` \
         sections, as those of 4.7 to 5.0 are"
    )]
    RegisteredRelas,
    #[error("its `struct klp_patch` has no `replace`, so that a patch could not replace an older")]
    NoReplace,
    #[error("its `include/linux/livepatch.h` has more than 1048576 bytes")]
    TooLong,
}

impl LivepatchAbi {
    /// Tells it from the exported symbols and from the text of `include/linux/livepatch.h`.
    pub fn of(exports: &Symvers, header: &str) -> Result<Self, UnknownAbi> {
        if header.len() > HEADER_LIMIT {
            return Err(UnknownAbi::TooLong);
        }
        let exported = |name: &str| exports.exporter(name).is_some();
        if !exported("klp_enable_patch") {
            return Err(UnknownAbi::NoLivepatch);
        }
        let header = without_comments(header);
        let has = |structure: &str, field: &str| {
            fields(&header, structure).is_some_and(|fields| fields.contains(&field))
        };
        if !exported("klp_register_patch") {
            return match has("klp_patch", "replace") {
                true => Ok(Self::Replacing),
                false => Err(UnknownAbi::NoReplace),
            };
        }
        match fields(&header, "klp_reloc") {
            None => Err(UnknownAbi::RegisteredRelas),
            Some(fields) if fields.contains(&"sympos") => Ok(Self::Registering),
            Some(_) => Err(UnknownAbi::LinkAddresses),
        }
    }

    /// Whether the kernel moves tasks to a patch one by one, when they are in none of the
    /// functions that change.
    pub fn has_transitions(self) -> bool {
        self == Self::Replacing
    }
}

/// The names of the fields of a structure, if the header defines it; those of structures within
/// it are among them.
fn fields<'a>(header: &'a str, structure: &str) -> Option<Vec<&'a str>> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once("struct ")?;
        rest = after;
        let Some(body) = after.strip_prefix(structure) else {
            continue;
        };
        if let Some(body) = body.trim_start().strip_prefix('{') {
            return Some(body_of(body).split(';').filter_map(declared).collect());
        }
    }
}

/// The text up to the brace that closes it.
fn body_of(text: &str) -> &str {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The last name of a declaration: `count` of `unsigned long count[2]`.
fn declared(declaration: &str) -> Option<&str> {
    let before = declaration.split(['[', ':']).next()?.trim_end();
    let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    name.into_iter().next().filter(|name| !name.is_empty())
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        kept.push_str(before);
        kept.push(' ');
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel exports of livepatch, and the structures that its header has.
    fn abi(exports: &[&str], header: &str) -> Result<LivepatchAbi, UnknownAbi> {
        let line = |name: &&str| format!("0x0\t{name}\tvmlinux\tEXPORT_SYMBOL_GPL\n");
        let symvers: String = exports.iter().map(line).collect();
        LivepatchAbi::of(&Symvers::parse(&symvers).unwrap(), header)
    }

    const REGISTER: [&str; 2] = ["klp_register_patch", "klp_enable_patch"];

    #[test]
    fn a_patch_that_is_enabled_alone_replaces_others() {
        let header = "struct klp_patch;\nstruct klp_patch {\n\tstruct klp_object *objs;\n\
                      \tbool replace; /* all others */\n\tstruct { int nested; } more;\n};\n";
        assert_eq!(
            abi(&["klp_enable_patch"], header),
            Ok(LivepatchAbi::Replacing)
        );
        let without = header.replace("bool replace;", "");
        assert_eq!(
            abi(&["klp_enable_patch"], &without),
            Err(UnknownAbi::NoReplace)
        );
    }

    #[test]
    fn relocations_are_told_by_the_field_that_says_which_symbol_is_meant() {
        let positions = "/* struct klp_reloc { val; } */\nstruct klp_reloc {\n\
                         \tunsigned long loc;\n\tunsigned long sympos;\n};\n";
        assert_eq!(abi(&REGISTER, positions), Ok(LivepatchAbi::Registering));
        let addresses = positions.replace("sympos", "val");
        assert_eq!(abi(&REGISTER, &addresses), Err(UnknownAbi::LinkAddresses));
    }

    #[test]
    fn registered_patches_without_a_table_of_relocations_are_of_another_kind() {
        let header = "struct klp_patch { struct klp_object *objs; bool immediate; };";
        let refused = abi(&REGISTER, header).unwrap_err();
        assert_eq!(refused, UnknownAbi::RegisteredRelas);
        assert!(refused.to_string().contains("4.7 to 5.0"));
    }

    #[test]
    fn a_kernel_that_exports_nothing_of_it_has_no_live_patches() {
        assert_eq!(abi(&["printk"], ""), Err(UnknownAbi::NoLivepatch));
        let endless = "x".repeat(HEADER_LIMIT + 1);
        assert_eq!(
            abi(&["klp_enable_patch"], &endless),
            Err(UnknownAbi::TooLong)
        );
    }

    #[test]
    fn a_header_that_ends_too_early_is_read_to_its_end() {
        assert_eq!(
            abi(&REGISTER, "struct klp_reloc { int sympos; /*"),
            Ok(LivepatchAbi::Registering)
        );
        assert_eq!(
            abi(&REGISTER, "struct klp_reloc"),
            Err(UnknownAbi::RegisteredRelas)
        );
    }
}
