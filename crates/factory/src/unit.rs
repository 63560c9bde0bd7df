//! Compiling one translation unit as the distribution did, three ways.
//!
//! *plain*: as recorded, to prove equality with what was shipped. *original* and *patched*:
//! with one section for each function and datum, for the differ.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use suture_kernel::ObjectName;

use crate::command::{Log, run};
use crate::commands::{CompileCommand, source_of};
use crate::compiler_message::does_not_compile;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files::{self, sha256_hex};
use crate::paths::normal;
use crate::reading::Reads;
use crate::tree::{Tree, WorkingCopy};

/// Flags that give each function and each datum a section of its own.
const SECTION_FLAGS: &str = "-ffunction-sections -fdata-sections";

/// Lets the compiler tell types that the unit sees and does not use.
pub(crate) const TYPES_FLAGS: &str = "-fno-eliminate-unused-debug-types";

/// Lets the compiler list the calls by which functions are traced. Kernels whose build has a
/// program for that (before 4.20) find them in the ordinary sections only.
const LIST_CALLS: &str = "-mrecord-mcount";
/// The flag of those calls.
const TRACED: &str = "-mfentry";

/// How a command names the file for what the compiler read.
const DEPENDENCY_FLAGS: [&str; 2] = ["-Wp,-MMD,", "-Wp,-MD,"];

const READING_NAME: &str = "reading.h";

/// Part of the name under which objects are kept; another number leaves the older ones unread.
const FORMAT: &str = "2";

/// First line of what is kept of a preprocessed text; another one is not read but made anew.
const SEEN_FORMAT: &str = "suture text 2";
const SEEN_END: &str = "end\n";

/// What our own preprocessor saw of a unit.
pub(crate) struct Seen {
    /// Of what has an effect.
    pub sha256: String,
    /// The files that it is made of.
    pub files: Vec<String>,
}

/// A unit of the unpatched kernel: its command, and where the objects made from the unpatched
/// source are kept for the next fix.
#[derive(Debug)]
pub(crate) struct Unit {
    /// e.g. `kernel/entry/common.c`.
    pub source: String,
    /// What it is linked into: one object, or several modules that share it.
    pub objects: Vec<ObjectName>,
    folder: PathBuf,
    command: CompileCommand,
}

/// An object and how long its compile took; zero if it was kept from an earlier build.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub bytes: Vec<u8>,
    pub took: Duration,
}

impl Unit {
    /// The unit that a command compiles.
    pub fn new(tree: &Tree, command: &CompileCommand) -> Result<Self, FactoryError> {
        let objects = command.linked_into();
        if objects.is_empty() {
            return Err(not_built(&command.source, tree.release()));
        }
        let hash = sha256_hex(format!("{FORMAT} {SECTION_FLAGS} {}", command.text).as_bytes());
        let folder = tree.units().join(command.source.replace('/', "__"));
        Ok(Self {
            source: command.source.clone(),
            objects,
            folder: folder.join(&hash[..16]),
            command: command.clone(),
        })
    }

    /// The unit of the unpatched tree as shipped, from the cache if it is there.
    pub fn plain(&self, tree: &Tree, log: &Log) -> Result<Compiled, FactoryError> {
        self.kept("plain.o", tree, "", log)
    }

    /// The unit with sections, without the fix and with it. The first is kept.
    pub fn both(
        &self,
        tree: &Tree,
        copy: &WorkingCopy,
        log: &Log,
    ) -> Result<(Compiled, Compiled), FactoryError> {
        self.both_by(tree, copy, ("sections.o", SECTION_FLAGS), log)
    }

    /// The unit with debug information of all types that it sees, without the fix and with it.
    pub fn both_with_types(
        &self,
        tree: &Tree,
        copy: &WorkingCopy,
        log: &Log,
    ) -> Result<(Compiled, Compiled), FactoryError> {
        self.both_by(tree, copy, ("types.o", TYPES_FLAGS), log)
    }

    fn both_by(
        &self,
        tree: &Tree,
        copy: &WorkingCopy,
        (name, flags): (&str, &str),
        log: &Log,
    ) -> Result<(Compiled, Compiled), FactoryError> {
        let is_new = self.dependencies()?.is_empty();
        let without_fix = || self.kept(name, tree, flags, log);
        let with_fix = || compiled(&self.command, tree, copy.path(), flags, log);
        let (original, mut patched) = rayon::join(without_fix, with_fix);
        let original = original?;
        if patched.is_err() && is_new {
            // It may want files that Kbuild has made for the other compile meanwhile.
            copy.complete(tree, &self.dependencies()?)?;
            patched = with_fix();
        }
        let patched = patched.map_err(|error| does_not_compile(&self.source, error))?;
        Ok((original, patched))
    }

    /// How the compiler is told of the unit's own file.
    pub fn source_as_compiled(&self) -> &str {
        source_of(&self.command.text).unwrap_or(&self.source)
    }

    /// The unit of a working copy with another text in the place of its own file.
    pub fn with_other_text(
        &self,
        text: &str,
        tree: &Tree,
        copy: &WorkingCopy,
        log: &Log,
    ) -> Result<Compiled, FactoryError> {
        let folder = scratch()?;
        let file = folder.path().join("unit.c");
        files::write(&file, text.as_bytes())?;
        let source = self.source_as_compiled();
        let command = CompileCommand {
            text: self.command.text.replacen(
                &format!(" {source}"),
                &format!(" {}", file.display()),
                1,
            ),
            ..self.command.clone()
        };
        // What the file includes by a name alone lies beside it, as it was.
        let beside = Path::new(source).parent().unwrap_or(Path::new("."));
        let flags = format!("{SECTION_FLAGS} -iquote {}", beside.display());
        compiled(&command, tree, copy.path(), &flags, log)
    }

    /// The unit of the unpatched tree, made to read something.
    pub fn original_reading(
        &self,
        reads: Reads,
        tree: &Tree,
        log: &Log,
    ) -> Result<Compiled, FactoryError> {
        let header = reading_header(reads)?;
        self.kept(reads.kept_as(), tree, &reading_flags(header.path()), log)
    }

    /// The unit of a working copy, made to read something.
    pub fn patched_reading(
        &self,
        reads: Reads,
        tree: &Tree,
        copy: &Path,
        log: &Log,
    ) -> Result<Compiled, FactoryError> {
        let header = reading_header(reads)?;
        compiled(
            &self.command,
            tree,
            copy,
            &reading_flags(header.path()),
            log,
        )
    }

    /// Files of the tree that the unit's compile read, if it was compiled; some are made only
    /// when a unit needs them.
    pub fn dependencies(&self) -> Result<Vec<String>, FactoryError> {
        let path = self.folder.join("dependencies");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = files::read_text(&path)?;
        let named = text.lines().map(Path::new);
        Ok(named.filter_map(normal).collect())
    }

    /// Keeps the names of the files that the compiler read.
    pub fn keep_dependencies(&self, read: &[String]) -> Result<(), FactoryError> {
        let kept = self.folder.join("dependencies");
        files::write(&kept, read.join("\n").as_bytes())
    }

    /// What our own preprocessor saw of the unpatched unit, if it is kept.
    pub fn seen(&self) -> Option<Seen> {
        let text = files::read_text(&self.folder.join("seen")).ok()?;
        // Without its end it was not written whole.
        let mut lines = text.strip_suffix(SEEN_END)?.lines();
        lines.next().filter(|format| *format == SEEN_FORMAT)?;
        Some(Seen {
            sha256: lines.next()?.to_owned(),
            files: lines.map(str::to_owned).collect(),
        })
    }

    /// Keeps it. That it can't must not fail a build: it saves time only.
    pub fn keep_seen(&self, sha256: &str, read: &[String]) {
        let text = format!("{SEEN_FORMAT}\n{sha256}\n{}\n{SEEN_END}", read.join("\n"));
        let _ = files::write_soon(&self.folder.join("seen"), text.as_bytes());
    }

    fn kept(
        &self,
        name: &str,
        tree: &Tree,
        flags: &str,
        log: &Log,
    ) -> Result<Compiled, FactoryError> {
        let path = self.folder.join(name);
        if path.exists() {
            return Ok(Compiled {
                bytes: files::read(&path)?,
                took: Duration::ZERO,
            });
        }
        let scratch = scratch()?;
        let output = scratch.path().join("unit.o");
        let started = Instant::now();
        if compile(&self.command, tree, tree.path(), &output, flags, log).is_err() {
            // It may want a file that Kbuild makes in this folder; then it is there now.
            self.let_kbuild_make(tree, log)?;
            compile(&self.command, tree, tree.path(), &output, flags, log)?;
        }
        let took = started.elapsed();
        let bytes = files::read(&output)?;
        self.keep_dependencies(&noted_dependencies(&output)?)?;
        files::write(&path, &bytes)?;
        Ok(Compiled { bytes, took })
    }

    /// Lets Kbuild make the unit with all that it needs, and leaves the tree without its object,
    /// so that a working copy of it has no objects either.
    fn let_kbuild_make(&self, tree: &Tree, log: &Log) -> Result<(), FactoryError> {
        let _lock = tree.lock()?;
        let object = &self.command.object;
        run(tree.make_command().arg(object), "make", log)?;
        let path = tree.path().join(object);
        std::fs::remove_file(&path).map_err(FactoryError::file("remove", &path))
    }
}

/// The refusal of a unit that is no part of a kernel.
pub(crate) fn not_built(source: &str, release: &suture_kernel::KernelRelease) -> FactoryError {
    let (unit, release) = (source.to_owned(), release.clone());
    FactoryError::Refused(Refusals(vec![Refusal::NotBuilt { unit, release }]))
}

fn reading_header(reads: Reads) -> Result<tempfile::TempDir, FactoryError> {
    let folder = scratch()?;
    files::write(&folder.path().join(READING_NAME), reads.header().as_bytes())?;
    Ok(folder)
}

fn reading_flags(folder: &Path) -> String {
    let header = folder.join(READING_NAME);
    format!("{SECTION_FLAGS} -include {}", header.display())
}

fn scratch() -> Result<tempfile::TempDir, FactoryError> {
    let temporary = std::env::temp_dir();
    tempfile::tempdir_in(&temporary).map_err(FactoryError::file("make a folder in", &temporary))
}

/// Compiles, and gives the object and the time that it took.
fn compiled(
    command: &CompileCommand,
    tree: &Tree,
    folder: &Path,
    flags: &str,
    log: &Log,
) -> Result<Compiled, FactoryError> {
    let scratch = scratch()?;
    let started = Instant::now();
    let output = scratch.path().join("unit.o");
    compile(command, tree, folder, &output, flags, log)?;
    Ok(Compiled {
        bytes: files::read(&output)?,
        took: started.elapsed(),
    })
}

/// Compiles in the tree or a copy of it, to a file outside.
fn compile(
    command: &CompileCommand,
    tree: &Tree,
    folder: &Path,
    output: &Path,
    flags: &str,
    log: &Log,
) -> Result<(), FactoryError> {
    let text = redirected(command, output, flags);
    let mut shell = tree.command("sh", folder);
    run(shell.arg("-c").arg(text), "gcc-12", log)?;
    Ok(())
}

/// Writes what a unit's compiler sees, preprocessed and without line markers, and gives the files
/// of the tree that it read.
pub(crate) fn preprocess(
    command: &CompileCommand,
    tree: &Tree,
    folder: &Path,
    output: &Path,
    log: &Log,
) -> Result<Vec<String>, FactoryError> {
    let compile_only = command.text.split(" ; ").next().unwrap_or_default();
    let only = CompileCommand {
        text: compile_only.to_owned(),
        ..command.clone()
    };
    let text = redirected(&only, output, "").replacen(" -c ", " -E -P ", 1);
    let mut shell = tree.command("sh", folder);
    run(shell.arg("-c").arg(text), "gcc-12", log)?;
    noted_dependencies(output)
}

/// What the compiler noted beside its output.
fn noted_dependencies(output: &Path) -> Result<Vec<String>, FactoryError> {
    let noted = files::read(&dependency_file(output))?;
    Ok(dependencies(&String::from_utf8_lossy(&noted)))
}

/// The command with more flags and another output.
fn redirected(command: &CompileCommand, output: &Path, flags: &str) -> String {
    let written = output.to_string_lossy();
    let calls = match lists_calls_itself(&command.text) {
        true => String::new(),
        false => format!(" {LIST_CALLS}"),
    };
    let words = command.text.split(' ').map(|word| {
        if word == command.object {
            written.clone().into_owned()
        } else if word == "-c" && !flags.is_empty() {
            format!("{flags}{calls} -c")
        } else if let Some(flag) = DEPENDENCY_FLAGS
            .iter()
            .find(|flag| word.starts_with(**flag))
        {
            format!("{flag}{}", dependency_file(output).display())
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether the compiler needs no other flag for the list of traced calls.
fn lists_calls_itself(command: &str) -> bool {
    let has = |flag: &str| command.split(' ').any(|word| word == flag);
    !has(TRACED) || has(LIST_CALLS) || command.contains(" -fpatchable-function-entry=")
}

fn dependency_file(output: &Path) -> PathBuf {
    files::beside(output, "d")
}

/// Reads the compiler's `unit.o: a.c b.h \` and gives the files of the tree, each by the path that
/// a diff has: the compiler goes through other folders where the command or the unit does.
fn dependencies(text: &str) -> Vec<String> {
    let words = text.split_whitespace().skip(1);
    let files = words.filter(|word| *word != "\\").map(Path::new);
    // A path out of the tree is the compiler's own header.
    files.filter_map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_what_it_read() {
        let text = "/out/unit.o: a/x.c \\\n ./include/x.h /usr/lib/stdarg.h \\\n a/flask.h\n";
        assert_eq!(dependencies(text), ["a/x.c", "include/x.h", "a/flask.h"]);
    }

    #[test]
    fn what_was_read_by_a_roundabout_path_is_known_by_its_own() {
        let text = "x.o: a/kvm/../../virt/kvm/x.c \\\n a/kvm/../../virt/kvm/mm.h ./a/./b/../c.h\n";
        assert_eq!(
            dependencies(text),
            ["virt/kvm/x.c", "virt/kvm/mm.h", "a/c.h"]
        );

        let folder = tempfile::tempdir().unwrap();
        let unit = Unit {
            source: "virt/kvm/x.c".to_owned(),
            objects: Vec::new(),
            folder: folder.path().to_owned(),
            command: CompileCommand {
                source: "virt/kvm/x.c".to_owned(),
                object: "a/kvm/../../virt/kvm/x.o".to_owned(),
                text: String::new(),
                listed_in: Vec::new(),
            },
        };
        unit.keep_dependencies(&["a/kvm/../../virt/kvm/mm.h".to_owned()])
            .unwrap();
        assert_eq!(unit.dependencies().unwrap(), ["virt/kvm/mm.h"]);
    }

    #[test]
    fn the_recorded_command_is_redirected() {
        let text = "gcc-12 -Wp,-MMD,kernel/entry/.common.o.d -O2 -DKBUILD_MODNAME='\"common\"' -c \
                    -o kernel/entry/common.o kernel/entry/common.c ; ./tools/objtool/objtool \
                    --orc kernel/entry/common.o";
        let command = CompileCommand {
            source: "kernel/entry/common.c".to_owned(),
            object: "kernel/entry/common.o".to_owned(),
            text: text.to_owned(),
            listed_in: Vec::new(),
        };
        assert_eq!(
            redirected(&command, Path::new("/out/unit.o"), SECTION_FLAGS),
            "gcc-12 -Wp,-MMD,/out/unit.o.d -O2 -DKBUILD_MODNAME='\"common\"' \
             -ffunction-sections -fdata-sections -c -o /out/unit.o kernel/entry/common.c ; \
             ./tools/objtool/objtool --orc /out/unit.o"
        );
    }

    #[test]
    fn traced_calls_are_listed_by_the_compiler_where_kbuild_left_that_to_a_program() {
        let redirected = |flags: &str| {
            let command = CompileCommand {
                source: "fs/x.c".to_owned(),
                object: "fs/x.o".to_owned(),
                text: format!("gcc-9 -Wp,-MD,fs/.x.o.d -pg {flags} -c -o fs/x.o fs/x.c"),
                listed_in: Vec::new(),
            };
            redirected(&command, Path::new("/o"), SECTION_FLAGS)
        };
        let older = redirected("-mfentry");
        assert!(
            older.contains("-fdata-sections -mrecord-mcount -c"),
            "{older}"
        );
        assert!(older.contains("-Wp,-MD,/o.d "), "{older}");
        for listed in ["-mrecord-mcount -mfentry", "-fno-pic"] {
            assert_eq!(
                redirected(listed).matches("-mrecord-mcount").count(),
                listed.matches("-mrecord").count()
            );
        }
    }
}
