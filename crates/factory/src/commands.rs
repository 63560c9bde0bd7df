//! How Kbuild compiles each unit of a kernel: its commands, learned from one dry run.
//!
//! `make --dry-run` walks the whole configured tree in half a minute, compiles nothing, and
//! prints for each unit the command that a real build would run and record. So it is known
//! exactly what belongs to this kernel, what each unit is linked into, and how it is compiled.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use memchr::memmem;
use suture_kernel::ObjectName;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files;
use crate::paths::normal;
use crate::tree::Tree;

/// First line of the kept list; another one is not read but made anew.
const FORMAT: &str = "suture compile commands 2";

/// All folders of the tree: as one target, as the target that enters each of them (before 6.1), or
/// as what is made of them all (before 4.20).
const WHOLE_TREE: [&str; 3] = ["./", "descend", "modules"];

const OBJTOOL: &str = "tools/objtool/objtool";

/// The flag of objtool that runs on what is linked.
const LATE: &str = "--link";

/// Folders whose units never run in the started kernel: what only starts it, and what is built
/// to help the build.
const NOT_RUNNING: [&str; 7] = [
    "arch/x86/boot/",
    "arch/x86/purgatory/",
    "arch/x86/realmode/",
    "arch/x86/tools/",
    "drivers/firmware/efi/libstub/",
    "scripts/",
    "usr/",
];

/// The compiler's flags that name a folder of headers.
const SEARCH_FLAGS: [&str; 4] = ["-I", "-iquote", "-isystem", "-idirafter"];

/// One unit that this kernel is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompileCommand {
    /// Its main source file in the tree, e.g. `virt/kvm/kvm_main.c`.
    pub source: String,
    /// Its object as Kbuild names it, e.g. `arch/x86/kvm/../../../virt/kvm/kvm_main.o`.
    pub object: String,
    /// The shell command line, the run of objtool included.
    pub text: String,
    /// The modules whose lists of objects have it.
    pub listed_in: Vec<String>,
}

impl CompileCommand {
    /// The kernel objects that the unit becomes part of, as Kbuild tells the compiler: `vmlinux`,
    /// a module, or several modules that share it.
    pub fn linked_into(&self) -> Vec<ObjectName> {
        let words = || self.text.split(' ');
        if self.source.ends_with(".rs") {
            return self.linked_into_by_rust();
        }
        let Some(name) = words().find_map(module_name) else {
            return Vec::new();
        };
        if words().any(|word| word == "-DMODULE") {
            // Kbuild joins the names of several modules with colons. A rule of a folder's own makes
            // it tell the unit's name instead (`i915-display` of xe): then the list knows.
            let told = name.trim_matches(['\'', '"']).split(':');
            let told: Vec<String> = told.map(str::to_owned).collect();
            let is_told = |module: &String| told.contains(module);
            let listed = !self.listed_in.is_empty() && !self.listed_in.iter().any(is_told);
            let names = if listed { &self.listed_in } else { &told };
            names.iter().filter_map(|name| name.parse().ok()).collect()
        } else {
            vec![ObjectName::vmlinux()]
        }
    }

    /// The same for a unit in Rust, whose compiler is told by a variable and a flag.
    fn linked_into_by_rust(&self) -> Vec<ObjectName> {
        let mut words = self.text.split(' ');
        if !words.clone().any(|word| word == "MODULE") {
            return vec![ObjectName::vmlinux()];
        }
        let told = words.find_map(|word| word.strip_prefix("RUST_MODFILE="));
        let name = told.and_then(|path| path.rsplit('/').next());
        let name = name.and_then(|name| name.replace('-', "_").parse().ok());
        name.into_iter().collect()
    }

    /// Files that the command includes before the source itself.
    pub fn forced_includes(&self) -> impl Iterator<Item = &str> {
        let words = self.text.split(' ');
        let after = words.clone().skip(1);
        let forced = words.zip(after).filter(|(flag, _)| *flag == "-include");
        forced.map(|(_, file)| file.trim_start_matches("./"))
    }

    /// Folders of the tree in which its compiler looks for what is included.
    fn searched_folders(&self) -> impl Iterator<Item = &str> {
        let mut words = self.text.split_whitespace();
        std::iter::from_fn(move || {
            let (flag, word) = words.by_ref().find_map(|word| {
                let flag = SEARCH_FLAGS.iter().find(|flag| word.starts_with(**flag))?;
                Some((flag, word))
            })?;
            match word.strip_prefix(flag) {
                Some("") => words.next(),
                folder => folder,
            }
        })
    }

    /// objtool with its flags, if it runs late in this kernel; without `--module`.
    fn late_objtool(&self) -> Option<String> {
        // No unit of most kernels has it, and their commands are tens of megabytes.
        memmem::find(self.text.as_bytes(), LATE.as_bytes())?;
        let (_, run) = self.text.split_once(" ; ")?;
        let words: Vec<&str> = run.split_whitespace().collect();
        let (object, flags) = words.split_last()?;
        let late = flags.first()?.contains(OBJTOOL) && flags.contains(&LATE);
        let flags = flags.iter().copied().filter(|flag| *flag != "--module");
        (late && **object == self.object).then(|| flags.collect::<Vec<_>>().join(" "))
    }

    fn has_objtool(&self) -> bool {
        self.text.contains(OBJTOOL)
    }

    /// Whether it is C, and not assembler or Rust.
    pub fn is_c(&self) -> bool {
        self.source.ends_with(".c")
    }
}

/// The units of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    units: Vec<CompileCommand>,
    by_source: HashMap<String, Vec<usize>>,
    late_objtool: OnceLock<Option<String>>,
}

impl Commands {
    /// Asks Kbuild once per kernel build and keeps the answer. `modules` are all that the
    /// distribution shipped: if Kbuild told of no unit of one, the answer is not whole.
    pub fn of(
        tree: &Tree,
        modules: impl FnOnce() -> Result<BTreeSet<String>, FactoryError>,
        log: &Log,
    ) -> Result<Self, FactoryError> {
        // Under the lock: a dry run writes nothing of its own, but what another process compiles
        // or asks in the same tree at the same time makes its answer incomplete.
        let _lock = tree.lock()?;
        let kept = tree.commands();
        if let Ok(text) = std::fs::read_to_string(&kept)
            && let Some(text) = text.strip_prefix(&format!("{FORMAT}\n"))
        {
            return Ok(Self::new(text.lines().filter_map(kept_line).collect()));
        }
        let commands = Self::new(with_objtool(dry_run(tree, log)?));
        if let Some(missing) = commands.first_missing(&modules()?) {
            return Err(FactoryError::PackageIncomplete {
                release: tree.release().clone(),
                what: format!("unit of module {missing} in its build files"),
            });
        }
        let lines = commands.units.iter().map(|unit| {
            let CompileCommand {
                source,
                object,
                text,
                listed_in,
            } = unit;
            format!("{source}\t{object}\t{}\t{text}\n", listed_in.join(" "))
        });
        let text: String = std::iter::once(format!("{FORMAT}\n"))
            .chain(lines)
            .collect();
        files::write(&kept, text.as_bytes())?;
        Ok(commands)
    }

    fn new(units: Vec<CompileCommand>) -> Self {
        let mut by_source: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, unit) in units.iter().enumerate() {
            by_source
                .entry(unit.source.clone())
                .or_default()
                .push(index);
        }
        Self {
            units,
            by_source,
            late_objtool: OnceLock::new(),
        }
    }

    /// The units with this main source file: mostly one, none if this kernel has none.
    pub fn units_of(&self, source: &str) -> impl Iterator<Item = &CompileCommand> {
        let indexes = self.by_source.get(source).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|&index| &self.units[index])
    }

    /// objtool with its flags for a module, if it runs late in this kernel: on what is linked.
    pub fn late_objtool(&self) -> Option<&str> {
        let find = || {
            let late = self.units.iter().find_map(CompileCommand::late_objtool);
            late.map(|run| format!("{run} --module"))
        };
        self.late_objtool.get_or_init(find).as_deref()
    }

    /// Folders of the tree in which the compiler of any unit looks for what is included.
    pub fn searched_folders(&self) -> BTreeSet<String> {
        let named: BTreeSet<&str> = self
            .units
            .iter()
            .flat_map(|u| u.searched_folders())
            .collect();
        let folders = named.into_iter().map(Path::new);
        folders.filter_map(normal).collect()
    }

    pub fn all(&self) -> &[CompileCommand] {
        &self.units
    }

    fn first_missing<'a>(&self, modules: &'a BTreeSet<String>) -> Option<&'a String> {
        let linked = self.units.iter().flat_map(CompileCommand::linked_into);
        let known: BTreeSet<String> = linked.map(|object| object.to_string()).collect();
        modules.iter().find(|module| !known.contains(*module))
    }
}

/// The first target that Kbuild has units for tells all of them.
fn dry_run(tree: &Tree, log: &Log) -> Result<Vec<CompileCommand>, FactoryError> {
    for target in WHOLE_TREE {
        let units = dry_run_of(target, tree, log)?;
        if !units.is_empty() {
            return Ok(units);
        }
    }
    Ok(Vec::new())
}

fn dry_run_of(target: &str, tree: &Tree, log: &Log) -> Result<Vec<CompileCommand>, FactoryError> {
    let scratch = tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
    let printed = scratch.path().join("printed");
    let mut make = tree.make_command();
    // One job: the lines of several would get mixed. `--keep-going`, because the keys with which
    // the distribution signs are not here, and 2 is make's answer to that.
    make.args(["--dry-run", "--keep-going", "-j1"]);
    make.args(["KBUILD_BUILTIN=1", "KBUILD_MODULES=1", target]);
    let script = "\"$@\" | grep -a -e 'scripts/basic/fixdep .*\\.cmd' \
        -e 'tools/objtool/objtool .*\\.o$' -e '> [^ ;]*\\.mod\\(;\\|$\\)' > \"$0\"; \
        made=${PIPESTATUS[0]}; [ \"$made\" = 0 ] || [ \"$made\" = 2 ]";
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).arg(&printed);
    bash.arg(make.get_program()).args(make.get_args());
    bash.envs(
        make.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    run(&mut bash, "make", log)?;
    let text = files::read(&printed)?;
    let text = String::from_utf8_lossy(&text);
    let mut units: Vec<CompileCommand> = text.lines().filter_map(printed_line).collect();
    let separate: HashMap<&str, &str> = text.lines().filter_map(separate_objtool).collect();
    for unit in units.iter_mut().filter(|unit| !unit.has_objtool()) {
        if let Some(run) = separate.get(unit.object.as_str()) {
            unit.text = format!("{} ; {run}", unit.text);
        }
    }
    let mut modules: HashMap<String, Vec<String>> = HashMap::new();
    for (module, objects) in text.lines().filter_map(printed_list) {
        for object in objects {
            modules.entry(object).or_default().push(module.clone());
        }
    }
    for unit in &mut units {
        unit.listed_in = modules.remove(&unit.object).unwrap_or_default();
    }
    Ok(units)
}

/// Reads the making of `FOLDER/MODULE.mod`, the list of a module's objects: the module as the
/// kernel names it, and the objects (kernel: scripts/Makefile.build, `cmd_mod`).
fn printed_list(line: &str) -> Option<(String, Vec<String>)> {
    let (told, path) = line.match_indices("> ").find_map(|(at, arrow)| {
        let path = line[at + arrow.len()..].split([' ', ';']).next()?;
        Some((&line[..at], path.strip_suffix(".mod")?))
    })?;
    let (folder, module) = path.rsplit_once('/')?;
    let words = told.split([' ', ';']);
    let objects = words.filter(|word| word.ends_with(".o"));
    // Older Kbuild prints the whole paths.
    let whole = |object: &str| match object.starts_with(&format!("{folder}/")) {
        true => object.to_owned(),
        false => format!("{folder}/{object}"),
    };
    Some((module.replace('-', "_"), objects.map(whole).collect()))
}

/// Older Kbuild runs objtool by a line of its own: the object, and the run.
pub(crate) fn separate_objtool(line: &str) -> Option<(&str, &str)> {
    let of_unit = !line.contains("scripts/basic/fixdep ");
    let start = line.find("./tools/objtool/objtool ").filter(|_| of_unit)?;
    let run = line[start..].trim_end();
    Some((run.split(' ').next_back()?, run))
}

/// Reads `… scripts/basic/fixdep DEPENDENCIES OBJECT 'COMMAND' > …` (kernel:
/// scripts/Kbuild.include, `cmd_and_fixdep`).
fn printed_line(line: &str) -> Option<CompileCommand> {
    let (_, told) = line.rsplit_once("scripts/basic/fixdep ")?;
    let (_, told) = told.split_once(' ')?;
    let (object, told) = told.split_once(' ')?;
    let (text, _) = told.trim_start().strip_prefix('\'')?.rsplit_once("' > ")?;
    // make's shell quotes a quote as '\''; Kbuild doubles `$` and hides `#` for its own files.
    let text = text
        .replace("'\\''", "'")
        .replace("$(pound)", "#")
        .replace("$$", "$");
    let source = normal(Path::new(source_of(&text)?))?;
    let text = written_at_once(&text, object);
    let object = object.to_owned();
    let running = !NOT_RUNNING.iter().any(|folder| object.starts_with(folder));
    (running && object.ends_with(".o")).then_some(CompileCommand {
        source,
        object,
        text,
        listed_in: Vec::new(),
    })
}

/// Where objtool runs late, on what is linked, the commands of most units lack it; only a module
/// that is one unit has it in its own command. It runs on each unit alone just as well, so every
/// unit gets it here, and objects are compared and taken apart as they are in the running kernel.
fn with_objtool(mut units: Vec<CompileCommand>) -> Vec<CompileCommand> {
    let Some(late) = units.iter().find_map(CompileCommand::late_objtool) else {
        return units;
    };
    for unit in &mut units {
        if unit.is_c() && !unit.has_objtool() {
            let module = unit.text.split(' ').any(|word| word == "-DMODULE");
            let module = if module { " --module" } else { "" };
            unit.text = format!("{} ; {late}{module} {}", unit.text, unit.object);
        }
    }
    units
}

/// What a flag names the unit's module: `"kvm"`, or before 4.16 `KBUILD_STR(kvm)`.
fn module_name(flag: &str) -> Option<&str> {
    let older = flag.strip_prefix("-D\"KBUILD_MODNAME=KBUILD_STR(");
    let older = older.and_then(|name| name.strip_suffix(")\""));
    older.or_else(|| flag.strip_prefix("-DKBUILD_MODNAME="))
}

/// A command whose output is the object. Kernels with versions of their exports had it written
/// beside, and linked to the versions, before 5.18 did that for all at once.
pub(crate) fn written_at_once(command: &str, object: &str) -> String {
    let (folder, name) = object.rsplit_once('/').unwrap_or((".", object));
    command.replace(&format!("{folder}/.tmp_{name}"), object)
}

/// The compiled file is the compiler's last argument.
pub(crate) fn source_of(text: &str) -> Option<&str> {
    let compile = text.split(" ; ").next()?;
    let source = compile.split_whitespace().next_back()?;
    [".c", ".S", ".s", ".rs"]
        .iter()
        .any(|end| source.ends_with(end))
        .then_some(source)
}

fn kept_line(line: &str) -> Option<CompileCommand> {
    let mut parts = line.splitn(4, '\t').map(str::to_owned);
    Some(CompileCommand {
        source: parts.next()?,
        object: parts.next()?,
        listed_in: parts
            .next()?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        text: parts.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(object: &str, flags: &str, source: &str) -> String {
        format!(
            "set -e;  echo '  CC      {object}'; gcc-12 {flags} -c -o {object} {source} ; \
             scripts/basic/fixdep .d {object} 'gcc-12 -include ./include/linux/kconfig.h {flags} \
             -c -o {object} {source}   ; ./tools/objtool/objtool --orc {object}' > .cmd; rm -f .d"
        )
    }

    #[test]
    fn a_dry_run_tells_source_object_and_command() {
        let flags = r#"-DMODULE -DKBUILD_MODNAME='\''"kvm"'\''"#;
        let object = "arch/x86/kvm/../../../virt/kvm/kvm_main.o";
        let source = "arch/x86/kvm/../../../virt/kvm/kvm_main.c";
        let unit = printed_line(&printed(object, flags, source)).unwrap();
        assert_eq!(
            (unit.source.as_str(), unit.object.as_str()),
            ("virt/kvm/kvm_main.c", object)
        );
        assert!(
            unit.text.contains("-DKBUILD_MODNAME='\"kvm\"' -c -o"),
            "{}",
            unit.text
        );
        assert!(unit.text.ends_with(object));
        assert_eq!(unit.linked_into(), ["kvm".parse().unwrap()]);
        let forced: Vec<&str> = unit.forced_includes().collect();
        assert_eq!(forced, ["include/linux/kconfig.h"]);
    }

    #[test]
    fn commands_name_the_folders_that_are_searched() {
        let flags = "-nostdinc -I./include -I ./arch/x86/kvm/ -iquote a/b/../c -include ./x/y.h -I/usr/include";
        let unit = printed_line(&printed("a/x.o", flags, "a/x.c")).unwrap();
        let folders = Commands::new(vec![unit]).searched_folders();
        let folders: Vec<String> = folders.into_iter().collect();
        assert_eq!(folders, ["a/c", "arch/x86/kvm", "include"]);
    }

    #[test]
    fn a_unit_of_two_modules_belongs_to_both() {
        let flags = r#"-DMODULE -DKBUILD_MODNAME='\''"one:two"'\''"#;
        let unit = printed_line(&printed("a/x.o", flags, "a/x.c")).unwrap();
        assert_eq!(
            unit.linked_into(),
            ["one", "two"].map(|name| name.parse().unwrap())
        );
        let built_in = printed_line(&printed("a/x.o", "-DKBUILD_MODNAME=x", "a/x.c")).unwrap();
        assert_eq!(built_in.linked_into(), [ObjectName::vmlinux()]);
    }

    #[test]
    fn a_unit_of_which_the_compiler_is_told_another_name_belongs_where_it_is_listed() {
        let list = "set -e; trap 'rm -f d/xe/xe.mod; trap - HUP' HUP; printf '%s\\n' xe_bb.o \
                    i915-display/intel_psr.o | awk '!x[$0]++ { print(\"d/xe/\"$0) }' > d/xe/xe.mod; \
                    printf '%s\\n' 'savedcmd_d/xe/xe.mod := …' > d/xe/.xe.mod.cmd";
        let objects = ["d/xe/xe_bb.o", "d/xe/i915-display/intel_psr.o"];
        let listed = Some(("xe".to_owned(), objects.map(str::to_owned).to_vec()));
        assert_eq!(printed_list(list), listed);
        let older = "{ echo  d/a-b/x.o d/a-b/y.o;  echo; } > d/a-b/a-b.mod";
        let objects = ["d/a-b/x.o", "d/a-b/y.o"];
        let listed = Some(("a_b".to_owned(), objects.map(str::to_owned).to_vec()));
        assert_eq!(printed_list(older), listed);
        assert_eq!(printed_list("cc -o x.o x.c > d/x.mode; rm x.mod"), None);

        let linked_into = |told: &str, listed: &[&str]| {
            let flags = format!(r#"-DMODULE -DKBUILD_MODNAME='\''"{told}"'\''"#);
            let mut unit = printed_line(&printed(objects[0], &flags, "d/x.c")).unwrap();
            unit.listed_in = listed.iter().map(|&name| name.to_owned()).collect();
            unit.linked_into()
                .iter()
                .map(ObjectName::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(linked_into("intel_psr", &["xe"]), ["xe"]);
        assert_eq!(linked_into("i915", &["i915"]), ["i915"]);
        assert_eq!(linked_into("one:two", &["one"]), ["one", "two"]);
        assert_eq!(linked_into("a", &[]), ["a"]);
    }

    #[test]
    fn commands_of_older_kbuild_name_module_and_output_in_their_own_way() {
        let flags = r#"-Wp,-MD,fs/x/.y.o.d -D"KBUILD_MODNAME=KBUILD_STR(ext4)" -DMODULE"#;
        let line = printed("fs/x/y.o", flags, "fs/x/y.c")
            .replace("; ./tools/objtool/objtool --orc fs/x/y.o", "")
            .replace("-c -o fs/x/y.o", "-c -o fs/x/.tmp_y.o");
        let unit = printed_line(&line).unwrap();
        assert!(
            unit.text.contains("-c -o fs/x/y.o fs/x/y.c"),
            "{}",
            unit.text
        );
        assert_eq!(unit.linked_into(), ["ext4".parse().unwrap()]);
    }

    #[test]
    fn a_late_objtool_runs_on_every_unit() {
        let late = printed("a/one.o", "-DMODULE", "a/one.c")
            .replace("objtool --orc", "objtool --orc --link --module");
        let of_many = |flags: &str| {
            let text = printed("b/x.o", flags, "b/x.c");
            text.replace("; ./tools/objtool/objtool --orc b/x.o", "")
        };
        let lines = [late, of_many("-DMODULE"), of_many("")];
        let units = lines.iter().filter_map(|line| printed_line(line)).collect();
        let ends: Vec<String> = with_objtool(units)
            .iter()
            .map(|unit| {
                unit.text
                    .split_once("objtool/objtool ")
                    .unwrap()
                    .1
                    .to_owned()
            })
            .collect();
        let expected = [
            "--orc --link --module a/one.o",
            "--orc --link --module b/x.o",
            "--orc --link b/x.o",
        ];
        assert_eq!(ends, expected);
        let early: Vec<_> = printed_line(&printed("a/x.o", "", "a/x.c"))
            .into_iter()
            .collect();
        assert_eq!(with_objtool(early.clone()), early);
    }

    #[test]
    fn a_unit_in_rust_is_a_modules_too() {
        let compile =
            "RUST_MODFILE=drivers/net/phy/ax-phy rustc --cfg MODULE --emit=obj=a/x.o a/x.rs";
        let line = format!("scripts/basic/fixdep a/.x.o.d a/x.o '{compile}' > a/.x.o.cmd");
        let unit = printed_line(&line).unwrap();
        assert_eq!(unit.linked_into(), ["ax_phy".parse().unwrap()]);
        let built_in = printed_line(&line.replace(" --cfg MODULE", "")).unwrap();
        assert_eq!(built_in.linked_into(), [ObjectName::vmlinux()]);
        assert!(!built_in.is_c());
    }

    #[test]
    fn what_only_starts_the_kernel_is_left_out() {
        assert_eq!(
            printed_line(&printed("arch/x86/boot/x.o", "", "arch/x86/boot/x.c")),
            None
        );
        assert_eq!(printed_line("gcc -c x.c"), None);
    }

    #[test]
    fn units_are_found_by_their_source_and_a_missing_module_is_told() {
        let flags = r#"-DMODULE -DKBUILD_MODNAME='\''"one"'\''"#;
        let lines = [
            printed("a/x.o", flags, "c/x.c"),
            printed("b/x.o", flags, "b/../c/x.c"),
        ];
        let units: Vec<_> = lines.iter().filter_map(|line| printed_line(line)).collect();
        let commands = Commands::new(units);
        assert_eq!(commands.units_of("c/x.c").count(), 2);
        assert_eq!(commands.units_of("a/x.c").count(), 0);
        let shipped = BTreeSet::from(["one", "two"].map(str::to_owned));
        assert_eq!(
            commands.first_missing(&shipped).map(String::as_str),
            Some("two")
        );
    }
}
