//! Compiling one translation unit as the distribution did, three ways.
//!
//! *plain*: as recorded, to prove equality with what was shipped. *original* and *patched*:
//! with one section for each function and datum, for the differ.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use suture_kernel::ObjectName;

use crate::command::{Log, run};
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files;
use crate::tree::Tree;

/// Flags that give each function and each datum a section of its own.
const SECTION_FLAGS: &str = "-ffunction-sections -fdata-sections";

/// A unit of the unpatched kernel: its recorded command, and where the objects made from the
/// unpatched source are kept for the next fix.
#[derive(Debug)]
pub(crate) struct Unit {
    /// e.g. `kernel/entry/common.c`.
    pub source: String,
    /// What it is linked into.
    pub object: ObjectName,
    pub plain: Vec<u8>,
    /// Files that its compile read; some are made only when a unit needs them.
    pub dependencies: Vec<String>,
    folder: PathBuf,
    command: RecordedCommand,
}

/// An object and how long its compile took; zero if it was kept from an earlier build.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub bytes: Vec<u8>,
    pub took: Duration,
}

impl Unit {
    /// Compiles the unit of the unpatched tree plainly, or takes the result from the cache.
    pub fn record(tree: &Tree, source: &str, log: &Log) -> Result<(Self, Duration), FactoryError> {
        let folder = tree.units().join(source.replace('/', "__"));
        let (command_path, plain_path) = (folder.join("command"), folder.join("plain.o"));
        let dependencies_path = folder.join("dependencies");
        let mut took = Duration::ZERO;
        if !command_path.exists() || !dependencies_path.exists() {
            if !tree.path().join(source).exists() {
                return Err(not_built(source, tree));
            }
            let started = Instant::now();
            let (recorded, plain) = compile_plain(tree, source, log)?;
            took = started.elapsed();
            files::write(&plain_path, &plain)?;
            files::write(
                &dependencies_path,
                recorded.dependencies.join("\n").as_bytes(),
            )?;
            files::write(&command_path, recorded.command.as_bytes())?;
        }
        let command = RecordedCommand::new(source, files::read_text(&command_path)?);
        let object = command.object().ok_or_else(|| not_built(source, tree))?;
        let plain = files::read(&plain_path)?;
        let dependencies = files::read_text(&dependencies_path)?;
        Ok((
            Self {
                source: source.to_owned(),
                object,
                plain,
                dependencies: dependencies.lines().map(str::to_owned).collect(),
                folder,
                command,
            },
            took,
        ))
    }

    /// The unit of the unpatched tree with sections, from the cache if it is there.
    pub fn original(&self, tree: &Tree, log: &Log) -> Result<Compiled, FactoryError> {
        let path = self.folder.join("sections.o");
        if path.exists() {
            return Ok(Compiled {
                bytes: files::read(&path)?,
                took: Duration::ZERO,
            });
        }
        let compiled = self.patched(tree.path(), log)?;
        files::write(&path, &compiled.bytes)?;
        Ok(compiled)
    }

    /// The unit of a working copy with sections.
    pub fn patched(&self, copy: &Path, log: &Log) -> Result<Compiled, FactoryError> {
        let started = Instant::now();
        let bytes = self.command.compile_with_sections(copy, log)?;
        Ok(Compiled {
            bytes,
            took: started.elapsed(),
        })
    }
}

fn not_built(source: &str, tree: &Tree) -> FactoryError {
    let (unit, release) = (source.to_owned(), tree.release().clone());
    FactoryError::Refused(Refusals(vec![Refusal::NotBuilt { unit, release }]))
}

/// What Kbuild notes of a compile.
#[derive(Debug, PartialEq, Eq)]
struct Recorded {
    command: String,
    dependencies: Vec<String>,
}

/// Reads Kbuild's file: `savedcmd_… := COMMAND` first, and below `deps_… :=` a path on each line
/// (kernel: scripts/basic/fixdep.c).
fn recorded(text: &str) -> Option<Recorded> {
    let (_, command) = text.lines().next()?.split_once(":=")?;
    let command = command.trim();
    let listed = text
        .lines()
        .skip_while(|line| !line.starts_with("deps_"))
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let path = |line: &str| {
        let path = line.trim().trim_end_matches('\\').trim_end();
        // A path out of the tree is the compiler's own header; the rest are settings.
        let inside = !path.is_empty() && !path.starts_with(['/', '$']);
        inside.then(|| path.trim_start_matches("./").to_owned())
    };
    (!command.is_empty()).then(|| Recorded {
        command: command.to_owned(),
        dependencies: listed.filter_map(path).collect(),
    })
}

/// Lets Kbuild compile the unit and gives what it recorded, and the object.
fn compile_plain(
    tree: &Tree,
    source: &str,
    log: &Log,
) -> Result<(Recorded, Vec<u8>), FactoryError> {
    let _lock = tree.lock()?;
    let object = object_path(source);
    run(tree.make_command().arg(&object), "make", log)?;
    let text = files::read_text(&tree.path().join(command_file(&object)))?;
    let recorded = recorded(&text).ok_or_else(|| FactoryError::Differ {
        what: source.to_owned(),
        why: "Kbuild recorded no command for it".to_owned(),
    })?;
    let plain = files::read(&tree.path().join(&object))?;
    // The tree stays as it was prepared, so that a working copy of it has no objects either.
    let path = tree.path().join(&object);
    std::fs::remove_file(&path).map_err(FactoryError::file("remove", &path))?;
    Ok((recorded, plain))
}

fn object_path(source: &str) -> String {
    format!("{}.o", source.strip_suffix(".c").unwrap_or(source))
}

/// `kernel/entry/.common.o.cmd` for `kernel/entry/common.o`.
fn command_file(object: &str) -> PathBuf {
    let path = Path::new(object);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.cmd"))
}

/// The shell command line by which Kbuild compiled a unit, its run of objtool included.
#[derive(Debug, Clone)]
struct RecordedCommand {
    source: String,
    text: String,
}

impl RecordedCommand {
    fn new(source: &str, text: String) -> Self {
        Self {
            source: source.to_owned(),
            text,
        }
    }

    /// Compiles in `tree` to a file outside of it and gives the object's bytes.
    fn compile_with_sections(&self, tree: &Path, log: &Log) -> Result<Vec<u8>, FactoryError> {
        let temporary = std::env::temp_dir();
        let scratch = tempfile::tempdir_in(&temporary)
            .map_err(FactoryError::file("make a folder in", &temporary))?;
        let output = scratch.path().join("unit.o");
        let text = self.redirected(&output.to_string_lossy());
        run(
            Command::new("sh").arg("-c").arg(text).current_dir(tree),
            "gcc-12",
            log,
        )?;
        files::read(&output)
    }

    /// The command with the section flags and another output.
    fn redirected(&self, output: &str) -> String {
        let object = object_path(&self.source);
        let dependencies = command_file(&object).with_extension("d");
        let dependencies = format!("-Wp,-MMD,{}", dependencies.display());
        let words = self.text.split(' ').map(|word| {
            if word == object {
                output.to_owned()
            } else if word == "-c" {
                format!("{SECTION_FLAGS} -c")
            } else if word == dependencies {
                format!("-Wp,-MMD,{output}.d")
            } else {
                word.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// The kernel object that the unit becomes part of, as Kbuild told the compiler.
    fn object(&self) -> Option<ObjectName> {
        // `-DKBUILD_MODNAME='"ext4"'`; Kbuild leaves it out for a unit that no target needs.
        let name = self
            .text
            .split(' ')
            .find_map(|word| word.strip_prefix("-DKBUILD_MODNAME="))?;
        if self.text.split(' ').any(|word| word == "-DMODULE") {
            // Kbuild names a unit that is shared by several modules with a colon: not one object.
            name.trim_matches(['\'', '"']).parse().ok()
        } else {
            Some(ObjectName::vmlinux())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kbuild_tells_the_command_and_what_it_read() {
        let text = "savedcmd_a/x.o := gcc-12 -c -o a/x.o a/x.c\n\nsource_a/x.o := a/x.c\n\n\
                    deps_a/x.o := \\\n    $(wildcard include/config/SMP) \\\n  a/flask.h \\\n  \
                    ./include/x.h \\\n  /usr/lib/stdarg.h \\\n\na/x.o: $(deps_a/x.o)\n";
        let recorded = recorded(text).unwrap();
        assert_eq!(recorded.command, "gcc-12 -c -o a/x.o a/x.c");
        assert_eq!(recorded.dependencies, ["a/flask.h", "include/x.h"]);
        assert_eq!(super::recorded("savedcmd_a/x.o :=\n"), None);
    }

    #[test]
    fn the_recorded_command_is_redirected() {
        let text = "gcc-12 -Wp,-MMD,kernel/entry/.common.o.d -O2 -DKBUILD_MODNAME='\"common\"' -c \
                    -o kernel/entry/common.o kernel/entry/common.c ; ./tools/objtool/objtool \
                    --orc kernel/entry/common.o";
        let command = RecordedCommand::new("kernel/entry/common.c", text.to_owned());
        assert_eq!(
            command.redirected("/out/unit.o"),
            "gcc-12 -Wp,-MMD,/out/unit.o.d -O2 -DKBUILD_MODNAME='\"common\"' \
             -ffunction-sections -fdata-sections -c -o /out/unit.o kernel/entry/common.c ; \
             ./tools/objtool/objtool --orc /out/unit.o"
        );
    }
}
