//! Whether a kernel has the code of a hole at all.

use serde::Serialize;

/// What a kernel's configuration makes of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compiled {
    /// Part of the kernel image.
    BuiltIn,
    /// Part of a module, by its name in memory.
    Module(String),
    NotCompiled,
    /// Headers; files that this kernel's source doesn't have, as mainline has moved code since;
    /// what can't be told.
    Unknown,
}

/// Where a hole is in a kernel, by the files that its record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reach", rename_all = "kebab-case")]
pub enum Reach {
    /// None of the files is compiled.
    Absent,
    /// Some of the files are compiled, into the image or into modules.
    Present {
        built_in: bool,
        modules: Vec<String>,
    },
    /// It can't be told; the hole counts as there.
    Unknown,
}

/// Asks about each of a record's files. The hole is absent only if all of them are known not
/// to be compiled.
pub fn reach(files: &[&str], compiled: impl Fn(&str) -> Compiled) -> Reach {
    let (mut built_in, mut modules, mut unknown) = (false, Vec::new(), files.is_empty());
    for file in files {
        match compiled(file) {
            Compiled::BuiltIn => built_in = true,
            Compiled::Module(name) => modules.push(name),
            Compiled::NotCompiled => {}
            Compiled::Unknown => unknown = true,
        }
    }
    modules.sort();
    modules.dedup();
    match (built_in || !modules.is_empty(), unknown) {
        (true, _) => Reach::Present { built_in, modules },
        (false, true) => Reach::Unknown,
        (false, false) => Reach::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(file: &str) -> Compiled {
        match file {
            "kernel/fork.c" => Compiled::BuiltIn,
            "net/phonet/pep.c" => Compiled::Module("pn_pep".to_owned()),
            "arch/arm64/kernel/entry.S" => Compiled::NotCompiled,
            _ => Compiled::Unknown,
        }
    }

    #[test]
    fn a_hole_is_absent_only_where_all_its_files_are() {
        let absent = "arch/arm64/kernel/entry.S";
        assert_eq!(reach(&[absent], answer), Reach::Absent);
        assert_eq!(reach(&[absent, "fs/x.h"], answer), Reach::Unknown);
        assert_eq!(reach(&[], answer), Reach::Unknown);
        let modules = vec!["pn_pep".to_owned()];
        assert_eq!(
            reach(&[absent, "net/phonet/pep.c", "fs/x.h"], answer),
            Reach::Present {
                built_in: false,
                modules
            }
        );
        assert!(matches!(
            reach(&["kernel/fork.c"], answer),
            Reach::Present { built_in: true, .. }
        ));
    }
}
