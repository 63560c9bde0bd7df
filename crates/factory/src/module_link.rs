//! How Kbuild links a module of one kernel, learned from its own record of one link.
//!
//! Kbuild keeps each command that it runs beside what the command makes. One link of a small
//! module is recorded so, and its commands are kept, with marks in place of the module's name and
//! folder. Later links run them without `make`, which needs longer to read the kernel's makefiles
//! than all the commands together. `modpost` is the kernel's own program all the same: it knows
//! the checksums of exported symbols, and what else this kernel wants to find in a module.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command::{Log, run};
use crate::commands::{separate_objtool, written_at_once};
use crate::error::FactoryError;
use crate::files::{self, sha256_hex};
use crate::glue;
use crate::precompiled::{Precompiled, directives};
use crate::tree::Tree;

/// Part of the name under which the commands are kept; another number leaves older ones unread.
const FORMAT: &str = "2";

/// The module whose link is recorded.
const SAMPLE: &str = "suture_recorded_sample";

/// Marks in kept commands: the module's folder, its name, the objects that it is made of.
const FOLDER: &str = "@FOLDER@";
const MODULE: &str = "@MODULE@";
const OBJECTS: &str = "@OBJECTS@";

/// What newer Kbuild links into every module; it is the same for all modules of a kernel.
const COMMON: &str = ".module-common.o";

/// The commands of one kernel, and the folder with what they need.
#[derive(Debug)]
pub(crate) struct ModuleLink {
    kept: PathBuf,
    steps: Steps,
}

/// The commands, and the files that Kbuild writes for `modpost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Steps {
    /// Compiles `glue.c`; with its run of objtool, unless that is `objtool`.
    glue: String,
    objtool: Option<String>,
    /// Joins the glue and the extracted objects.
    join: String,
    modpost: String,
    /// Compiles what `modpost` wrote.
    described: String,
    /// Links the module.
    link: String,
    /// The glue's object as the commands name it, which tells where they run.
    glue_object: String,
    /// `modules.order`, and the list of the module's objects.
    order: String,
    list: String,
    /// Folder of that list, below the module's.
    #[serde(default)]
    list_folder: String,
}

/// Where Kbuild before 5.4 keeps the lists of objects.
const OLDER_LISTS: &str = ".tmp_versions";

/// What Kbuild printed of commands that it keeps no record of.
#[derive(Debug, Default)]
struct Unrecorded {
    /// objtool on the glue.
    objtool: Option<String>,
    modpost: Option<String>,
}

impl ModuleLink {
    /// The commands, from the cache if they are there. `late_objtool` is the run of objtool that
    /// Kbuild would do on the linked module: the extracted objects have had theirs, so the glue
    /// gets it alone.
    pub fn of(tree: &Tree, late_objtool: Option<&str>, log: &Log) -> Result<Self, FactoryError> {
        let key = format!("{FORMAT} {} {late_objtool:?}", glue::INCLUDES);
        let kept = tree.links().join(&sha256_hex(key.as_bytes())[..16]);
        let steps = kept.join("steps.json");
        let _lock = files::Lock::wait(&files::beside(&kept, "lock"))?;
        if let Some(steps) = fs::read(&steps)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
        {
            return Ok(Self { kept, steps });
        }
        let scratch =
            tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
        let unrecorded = link_sample(tree, scratch.path(), log)?;
        let found = Steps::recorded(scratch.path(), late_objtool, unrecorded)?;
        let common = scratch.path().join(COMMON);
        if common.exists() {
            files::write(&kept.join(COMMON), &files::read(&common)?)?;
        }
        let link = Self { kept, steps: found };
        link.precompile(tree, scratch.path(), log)?;
        let json = serde_json::to_vec_pretty(&link.steps).unwrap_or_default();
        files::write(&steps, &json)?;
        Ok(link)
    }

    /// Compiles the headers of both C files for all modules, which is most of their compiles.
    fn precompile(&self, tree: &Tree, sample: &Path, log: &Log) -> Result<(), FactoryError> {
        let described = files::read_text(&sample.join(format!("{SAMPLE}.mod.c")))?;
        let steps = self.steps.of(sample, SAMPLE);
        let place = steps.place(tree, sample);
        let run = |text: &str| shell(tree, place, text, log);
        let (glue, described) = rayon::join(
            || self.glue_headers().make(&steps.glue, glue::INCLUDES, run),
            || {
                let includes = directives(&described);
                self.described_headers()
                    .make(&steps.described, includes, run)
            },
        );
        glue.and(described)
    }

    fn glue_headers(&self) -> Precompiled {
        Precompiled::new(self.kept.join("glue.h"))
    }

    fn described_headers(&self) -> Precompiled {
        Precompiled::new(self.kept.join("described.h"))
    }

    /// Links a module in an empty folder, from the glue's source and the names of objects that lie
    /// in the folder, and gives the module's path.
    pub fn link(
        &self,
        tree: &Tree,
        folder: &Path,
        (module, glue): (&str, &str),
        objects: &[String],
        log: &Log,
    ) -> Result<PathBuf, FactoryError> {
        let steps = self.steps.of(folder, module);
        let place = steps.place(tree, folder);
        let shell = |text: &str| shell(tree, place, text, log);
        files::write_scratch(&folder.join("glue.c"), glue.as_bytes())?;
        self.glue_headers().compile(&steps.glue, folder, shell)?;
        if let Some(objtool) = &steps.objtool {
            // As the commands of units do, it runs in the tree.
            self::shell(tree, tree.path(), objtool, log)?;
        }
        shell(&steps.join.replace(OBJECTS, &steps.object_names(objects)))?;
        steps.write_lists(folder, module)?;
        shell(&steps.modpost)?;
        self.described_headers()
            .compile(&steps.described, folder, shell)?;
        let common = self.kept.join(COMMON);
        if common.exists() {
            files::write_scratch(&folder.join(COMMON), &files::read(&common)?)?;
        }
        shell(&steps.link)?;
        Ok(folder.join(format!("{module}.ko")))
    }
}

fn shell(tree: &Tree, place: &Path, text: &str, log: &Log) -> Result<(), FactoryError> {
    let mut shell = tree.command("sh", place);
    run(shell.arg("-c").arg(text), "linux-kbuild", log).map(drop)
}

impl Steps {
    /// Reads the records in the sample's folder.
    fn recorded(
        sample: &Path,
        late_objtool: Option<&str>,
        unrecorded: Unrecorded,
    ) -> Result<Self, FactoryError> {
        let (glue_object, mut glue) = record(sample, "glue.o")?;
        let (_, mut described) = record(sample, &format!("{SAMPLE}.mod.o"))?;
        let (_, join) = record(sample, &format!("{SAMPLE}.o"))?;
        glue = written_at_once(&glue, &glue_object);
        let mut objtool = unrecorded.objtool;
        if let Some(late) = late_objtool {
            glue = without_objtool(&glue).to_owned();
            // What modpost wrote holds no code.
            described = without_objtool(&described).to_owned();
            objtool = Some(format!("{late} {}", sample.join("glue.o").display()));
        }
        let list_folder = match sample.join(OLDER_LISTS).exists() {
            true => OLDER_LISTS,
            false => "",
        };
        let list = sample.join(list_folder).join(format!("{SAMPLE}.mod"));
        let steps = Self {
            glue,
            objtool,
            join: joining(&join, &glue_object),
            modpost: match unrecorded.modpost {
                Some(printed) => printed,
                None => record(sample, "Module.symvers")?.1,
            },
            described,
            link: record(sample, &format!("{SAMPLE}.ko"))?.1,
            glue_object,
            order: files::read_text(&sample.join("modules.order"))?,
            list: files::read_text(&list)?,
            list_folder: list_folder.to_owned(),
        };
        let folder = sample.to_string_lossy();
        Ok(steps.map(|text| text.replace(&*folder, FOLDER).replace(SAMPLE, MODULE)))
    }

    /// The commands for a module.
    fn of(&self, folder: &Path, module: &str) -> Self {
        let folder = folder.to_string_lossy();
        self.clone()
            .map(|text| text.replace(FOLDER, &folder).replace(MODULE, module))
    }

    fn map(self, change: impl Fn(String) -> String) -> Self {
        Self {
            glue: change(self.glue),
            objtool: self.objtool.map(&change),
            join: change(self.join),
            modpost: change(self.modpost),
            described: change(self.described),
            link: change(self.link),
            glue_object: change(self.glue_object),
            order: change(self.order),
            list: change(self.list),
            list_folder: self.list_folder,
        }
    }

    /// Where the commands run: newer Kbuild works in the module's folder, older in the tree.
    fn place<'a>(&self, tree: &'a Tree, folder: &'a Path) -> &'a Path {
        if Path::new(&self.glue_object).is_absolute() {
            tree.path()
        } else {
            folder
        }
    }

    /// The glue first, and then the others, as the commands name them.
    fn object_names(&self, objects: &[String]) -> String {
        let others = objects
            .iter()
            .map(|name| self.glue_object.replace("glue.o", name));
        let names: Vec<String> = std::iter::once(self.glue_object.clone())
            .chain(others)
            .collect();
        names.join(" ")
    }

    /// What `modpost` reads: the modules, the objects of each, and the source of each object, of
    /// which it makes `srcversion`. Extracted objects have no source of their own.
    fn write_lists(&self, folder: &Path, module: &str) -> Result<(), FactoryError> {
        let object = &self.glue_object;
        let source = object.replace("glue.o", "glue.c");
        let record = format!("source_{object} := {source}\n\ndeps_{object} := \\\n\n");
        files::write_scratch(&folder.join(".glue.o.cmd"), record.as_bytes())?;
        files::write_scratch(&folder.join("modules.order"), self.order.as_bytes())?;
        let lists = folder.join(&self.list_folder);
        files::make_dir(&lists)?;
        files::write_scratch(&lists.join(format!("{module}.mod")), self.list.as_bytes())
    }
}

/// Lets Kbuild link the sample. Gives the commands that have no record.
fn link_sample(tree: &Tree, folder: &Path, log: &Log) -> Result<Unrecorded, FactoryError> {
    let source = format!(
        "{}static int __init sample_init(void)\n{{\n\treturn 0;\n}}\n\nmodule_init(sample_init);\n\
         MODULE_LICENSE(\"GPL\");\nMODULE_INFO(version, \"1.1\");\n",
        glue::INCLUDES
    );
    files::write_scratch(&folder.join("glue.c"), source.as_bytes())?;
    files::write_scratch(&folder.join("Kbuild"), glue::kbuild(SAMPLE, &[]).as_bytes())?;
    let mut make = tree.make_command();
    make.arg(format!("M={}", folder.display()));
    // Debug information would carry this folder's name into the build id.
    make.args(["KCFLAGS=-g0", "KBUILD_MODPOST_WARN=1", "V=1", "modules"]);
    let printed = run(&mut make, "make", log)?;
    let printed = String::from_utf8_lossy(&printed);
    let alone = |line: &&str| line.trim_start().starts_with("./tools/objtool/");
    let mut runs = printed.lines().filter(alone).filter_map(separate_objtool);
    let of_glue = runs.find(|(object, _)| object.ends_with("/glue.o"));
    Ok(Unrecorded {
        objtool: of_glue.map(|(_, run)| run.to_owned()),
        modpost: printed.lines().find_map(printed_modpost),
    })
}

/// The run of `modpost`, which Kbuild before 5.8 does without a record.
fn printed_modpost(line: &str) -> Option<String> {
    let run = line.trim();
    (run.starts_with("find ") && run.contains("| scripts/mod/modpost ")).then(|| run.to_owned())
}

/// The target and the command of a record, as Kbuild writes them: `cmd_TARGET := COMMAND`.
fn record(folder: &Path, name: &str) -> Result<(String, String), FactoryError> {
    let path = folder.join(format!(".{name}.cmd"));
    let text = files::read_text(&path)?;
    let read = text.lines().next().and_then(recorded_command);
    read.ok_or_else(|| FactoryError::UnreadableRecord { path })
}

fn recorded_command(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("saved").unwrap_or(line);
    let (target, command) = line.strip_prefix("cmd_")?.split_once(" := ")?;
    // Kbuild doubles `$` and hides `#` for make.
    let command = command.trim().replace("$(pound)", "#").replace("$$", "$");
    Some((target.to_owned(), command))
}

/// A command without the run of objtool that follows it.
fn without_objtool(command: &str) -> &str {
    let (first, rest) = command.split_once(" ; ").unwrap_or((command, ""));
    if rest.contains("objtool") {
        first
    } else {
        command
    }
}

/// The command that joins objects, with a mark for them: they are named one by one, or by a list.
fn joining(command: &str, glue_object: &str) -> String {
    let command = without_objtool(command);
    let words = command.split_whitespace().map(|word| {
        if word == glue_object || word.starts_with('@') {
            OBJECTS
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_older_and_newer_kbuild_are_read() {
        let older = "cmd_/m/Module.symvers := sed 's/ko$$/o/' /m/modules.order | modpost -T -";
        let (target, command) = recorded_command(older).unwrap();
        assert_eq!(target, "/m/Module.symvers");
        assert_eq!(command, "sed 's/ko$/o/' /m/modules.order | modpost -T -");
        let newer = "savedcmd_glue.o := gcc -c -o glue.o glue.c   ; /t/objtool --link glue.o";
        let (target, command) = recorded_command(newer).unwrap();
        assert_eq!(target, "glue.o");
        assert_eq!(without_objtool(&command), "gcc -c -o glue.o glue.c  ");
        assert_eq!(recorded_command("source_glue.o := glue.c"), None);
        assert_eq!(without_objtool("ld -o x.ko ;  true"), "ld -o x.ko ;  true");
    }

    #[test]
    fn what_older_kbuild_only_prints_is_found() {
        let run = "find /m/.tmp_versions -name '*.mod' | xargs -r grep -h '\\.ko$' | \
                   scripts/mod/modpost -m -i ./Module.symvers -s -T -";
        assert_eq!(printed_modpost(&format!("  {run}")).as_deref(), Some(run));
        assert_eq!(printed_modpost("make -f ./scripts/Makefile.modpost"), None);
    }

    #[test]
    fn objects_are_joined_however_kbuild_names_them() {
        let expected = "ld -r -o /m/x.o @OBJECTS@";
        assert_eq!(joining("ld -r -o /m/x.o /m/glue.o", "/m/glue.o"), expected);
        let listed = "ld -r -o x.o @x.mod  ; ./tools/objtool/objtool --link x.o";
        assert_eq!(joining(listed, "glue.o"), "ld -r -o x.o @OBJECTS@");
    }
}
