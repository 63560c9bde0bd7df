//! Functions that the running kernel has left out of line and does not trace, put into their callers.
//!
//! Where a fix changes such a function, and only jumps lead to it from functions that can be
//! replaced, its unit is compiled once more with the fix and told to inline it. Then its callers
//! have changed, and they are replaced. The patch is taken only if nothing else that it replaces can
//! be reached from the old code, which a task may still be in, unseen; see
//! [`suture_differ::taken_in_wrongly`].

use std::collections::BTreeMap;

use crate::command::Log;
use crate::comparison::unreadable;
use crate::dwarf;
use crate::error::FactoryError;
use crate::files;
use crate::fix::Fix;
use crate::tree::{Tree, WorkingCopy};
use crate::unit::Unit;

/// What the kernel makes of `inline` (include/linux/compiler_types.h), and in any case.
const INLINE: &str = "inline __attribute__((__gnu_inline__)) __attribute__((__unused__)) \
    __attribute__((__no_instrument_function__)) __attribute__((__always_inline__))";

/// The macros that define a system call, whose body they make a function of its own.
const SYSTEM_CALL: &str = "SYSCALL_DEFINE";

/// A compile of the fix in which functions are part of their callers.
#[derive(Debug)]
pub(crate) struct TakenIn {
    pub object: Vec<u8>,
    pub functions: Vec<String>,
}

/// Compiles the unit so, if that makes a patch of what is none.
pub(crate) fn take_in(
    unit: &Unit,
    (original, patched): (&[u8], &[u8]),
    fixes: &[Fix],
    (tree, copy): (&Tree, &WorkingCopy),
    log: &Log,
) -> Result<Option<TakenIn>, FactoryError> {
    let source = &unit.source;
    let failed = |error| unreadable(source, &error);
    let functions = suture_differ::untraceable(original, patched).map_err(failed)?;
    if functions.is_empty() {
        return Ok(None);
    }
    let not_so = |why: &str| {
        let names = functions.join("`, `");
        log.note(&format!(
            "{source}: not taken in by those that call it: `{names}`: {why}"
        ));
        Ok(None)
    };
    if !stand_alone(fixes, source) {
        return not_so("the fix changes other files as well");
    }
    let lines = dwarf::lines_of_functions(source, patched)?;
    let line = |function: &String| {
        let name = function.split('.').next().unwrap_or_default();
        lines.get(name).copied()
    };
    let Some(lines) = functions.iter().map(line).collect::<Option<Vec<u64>>>() else {
        return not_so("it is not defined in the unit's own file");
    };
    let text = files::read_text(&copy.path().join(source))?;
    let Some(text) = marked(&text, unit.source_as_compiled(), &lines) else {
        return not_so("it is not static");
    };
    let object = match unit.with_other_text(&text, tree, copy, log) {
        Ok(compiled) => compiled.bytes,
        Err(error) => return not_so(&error.to_string()),
    };
    match suture_differ::taken_in_wrongly(original, &object, &functions).map_err(failed)? {
        Some(why) => not_so(&why),
        None => Ok(Some(TakenIn { object, functions })),
    }
}

/// Whether the fixes that change a file change no other code: what they change in it then needs
/// nothing else to change with it.
fn stand_alone(fixes: &[Fix], source: &str) -> bool {
    let is_code = |path: &str| [".c", ".h", ".S"].iter().any(|end| path.ends_with(end));
    let mut concerned = fixes
        .iter()
        .filter(|fix| fix.files.iter().any(|file| file.path == source));
    concerned.all(|fix| {
        fix.files
            .iter()
            .all(|file| file.path == source || !is_code(&file.path))
    })
}

/// The text with the functions that are named on these lines made to be inlined, whatever the
/// compiler thinks; nothing if one of them is not static. The numbers of its lines stay.
fn marked(text: &str, name: &str, named: &[u64]) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    for &line in named {
        let named = usize::try_from(line).ok()?.checked_sub(1)?;
        let begins = lines
            .get(..named)?
            .iter()
            .rposition(|line| !is_continued(line))
            .map_or(0, |last| last + 1);
        let opened = lines
            .iter()
            .skip(named)
            .position(|line| line.contains('{'))?;
        let body = named + opened;
        let has = |word: &str| lines[begins..=body].iter().any(|line| line.contains(word));
        if has(SYSTEM_CALL) {
            let (first, next) = (begins + 1, body + 2);
            let push = "#pragma push_macro(\"inline\")\n#undef inline\n";
            let push = format!("{push}#define inline {INLINE}\n#line {first}\n");
            before.insert(begins, push);
            after.insert(
                body,
                format!("#pragma pop_macro(\"inline\")\n#line {next}\n"),
            );
        } else if has("static") {
            before.insert(begins, format!("{INLINE} "));
        } else {
            return None;
        }
    }
    let mut out = format!("#line 1 \"{name}\"\n");
    for (number, line) in lines.iter().enumerate() {
        out += before.get(&number).map_or("", String::as_str);
        out += line;
        out.push('\n');
        out += after.get(&number).map_or("", String::as_str);
    }
    Some(out)
}

/// Whether what begins on a line of C goes on in the next: neither a statement, nor a comment, nor
/// a directive ends there.
fn is_continued(line: &str) -> bool {
    let line = line.trim();
    let ends = [";", "}", "*/"].iter().any(|end| line.ends_with(end));
    !line.is_empty() && !ends && !line.starts_with('#') && !line.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{Change, TouchedFile};

    #[test]
    fn definitions_are_marked_and_lines_keep_their_numbers() {
        let text =
            "int x;\n\nstatic\nint one(int n)\n{\n}\nSYSCALL_DEFINE1(two,\n\tint, n)\n{\n}\n";
        let marked = marked(text, "a/x.c", &[4, 7]).unwrap();
        let expected = format!(
            "#line 1 \"a/x.c\"\nint x;\n\n{INLINE} static\nint one(int n)\n{{\n}}\n\
             #pragma push_macro(\"inline\")\n#undef inline\n#define inline {INLINE}\n#line 7\n\
             SYSCALL_DEFINE1(two,\n\tint, n)\n{{\n#pragma pop_macro(\"inline\")\n#line 10\n}}\n"
        );
        assert_eq!(marked, expected);
    }

    #[test]
    fn what_others_can_call_is_not_marked() {
        let text = "int one(int n)\n{\n}\nSYSCALL_DEFINE1(two, int, n)\n{ }\n";
        assert_eq!(marked(text, "x.c", &[1]), None);
        assert!(marked(text, "x.c", &[4]).is_some());
        assert_eq!(marked(text, "x.c", &[0]), None);
        assert_eq!(marked(text, "x.c", &[100]), None);
    }

    #[test]
    fn a_fix_of_other_code_as_well_does_not_stand_alone() {
        let fix = |files: &[&str]| Fix {
            path: "fix.diff".into(),
            text: String::new(),
            files: files
                .iter()
                .map(|path| TouchedFile {
                    path: (*path).to_owned(),
                    change: Change::Edited,
                })
                .collect(),
        };
        let alone = |fixes: &[Fix]| stand_alone(fixes, "mm/a.c");
        assert!(alone(&[
            fix(&["mm/a.c", "Documentation/a.rst"]),
            fix(&["mm/a.h"])
        ]));
        assert!(!alone(&[fix(&["mm/a.c"]), fix(&["mm/a.c", "mm/a.h"])]));
    }
}
