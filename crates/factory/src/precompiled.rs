//! Headers that are compiled once for all modules of a kernel.
//!
//! A small source spends nearly all of its compile in the kernel's headers. The compiler keeps
//! what it made of them (a precompiled header) and gives the same code with it. If it can't use
//! what was kept, it reads the text beside it, which includes the same headers in the same order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::FactoryError;
use crate::files;

/// Macros by which Kbuild names the unit and the module. The compiler takes a precompiled header
/// only if all macros of the command line are as they were, so these get another name there, which
/// is defined after the header.
const NAMES: [&str; 3] = ["KBUILD_BASENAME", "KBUILD_MODNAME", "__KBUILD_MODNAME"];

/// A header and, beside it, what the compiler made of it.
#[derive(Debug)]
pub(crate) struct Precompiled {
    header: PathBuf,
}

/// A compile of a source, taken apart.
struct Compile {
    /// With other names for [`NAMES`], and without included files, output and source.
    flags: String,
    /// Files that the command includes before the source.
    forced: Vec<String>,
    /// The definitions of the other names.
    names: String,
    output_and_source: String,
}

impl Precompiled {
    pub fn new(header: PathBuf) -> Self {
        Self { header }
    }

    /// Makes the header of what a compile includes: what its command names, and the lines with
    /// which its source begins. That the compiler can't keep it is no error.
    pub fn make(
        &self,
        command: &str,
        includes: &str,
        shell: impl Fn(&str) -> Result<(), FactoryError>,
    ) -> Result<(), FactoryError> {
        let Some(compile) = Compile::parse(command) else {
            return Ok(());
        };
        let forced = compile.forced.iter().filter_map(|path| searched(path));
        let forced: Vec<String> = forced.map(|path| format!("#include <{path}>\n")).collect();
        if forced.len() != compile.forced.len() {
            return Ok(());
        }
        let text = format!("{}{includes}", forced.concat());
        files::write(&self.header, text.as_bytes())?;
        let (header, compiled) = (self.header.display(), self.compiled());
        let command = format!(
            "{} -x c-header -c -o {} {header}",
            compile.flags,
            compiled.display()
        );
        if shell(&command).is_err() {
            let _ = fs::remove_file(compiled);
        }
        Ok(())
    }

    /// Compiles a source by a command, with the header if that helps.
    pub fn compile(
        &self,
        command: &str,
        folder: &Path,
        shell: impl Fn(&str) -> Result<(), FactoryError>,
    ) -> Result<(), FactoryError> {
        let with_header = || {
            let (compile, rest) = command.split_once(" ; ").unwrap_or((command, ""));
            let compile = Compile::parse(compile)?;
            let name = self.header.file_stem()?.to_string_lossy();
            let names = folder.join(format!("{name}.names.h"));
            files::write_scratch(&names, compile.names.as_bytes()).ok()?;
            let (flags, (header, names)) =
                (compile.flags, (self.header.display(), names.display()));
            let output_and_source = compile.output_and_source;
            let text = format!("{flags} -include {header} -include {names} -c {output_and_source}");
            Some(if rest.is_empty() {
                text
            } else {
                format!("{text} ; {rest}")
            })
        };
        let text = self.compiled().exists().then(with_header).flatten();
        match text.map(|text| shell(&text)) {
            Some(Ok(())) => Ok(()),
            _ => shell(command),
        }
    }

    fn compiled(&self) -> PathBuf {
        files::beside(&self.header, "gch")
    }
}

impl Compile {
    /// Reads a command of the form `COMPILER FLAGS -c -o OUTPUT SOURCE`, maybe with a run of
    /// objtool after it.
    fn parse(command: &str) -> Option<Self> {
        let command = command.split(" ; ").next()?;
        let (flags, output_and_source) = command.split_once(" -c ")?;
        let (mut kept, mut forced, mut names) = (Vec::new(), Vec::new(), String::new());
        let mut words = flags.split_whitespace();
        while let Some(word) = words.next() {
            if word == "-include" {
                forced.push(words.next()?.to_owned());
            } else if let Some((name, value)) = kbuild_name(word) {
                kept.push(format!("-D{name}=SUTURE_{name}"));
                names.push_str(&format!("#define SUTURE_{name} {value}\n"));
            } else if !word.starts_with("-Wp,-MMD,") {
                kept.push(word.to_owned());
            }
        }
        Some(Self {
            flags: kept.join(" "),
            forced,
            names,
            output_and_source: output_and_source.trim().to_owned(),
        })
    }
}

/// `-DKBUILD_MODNAME='"x"'` is the macro and its value.
fn kbuild_name(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.strip_prefix("-D")?.split_once('=')?;
    NAMES
        .contains(&name)
        .then(|| (name, value.trim_matches('\'')))
}

/// `./include/linux/kconfig.h` as the search path of headers finds it.
fn searched(path: &str) -> Option<&str> {
    path.rsplit_once("include/linux/")
        .map(|(before, _)| &path[before.len() + "include/".len()..])
}

/// The lines of preprocessor directives with which a source begins, to the last `#include`.
pub(crate) fn directives(source: &str) -> &str {
    let directive = |line: &&str| line.starts_with('#') || line.trim().is_empty();
    let (mut length, mut end) = (0, 0);
    for line in source.split_inclusive('\n').take_while(directive) {
        length += line.len();
        if line.starts_with("#include") {
            end = length;
        }
    }
    &source[..end]
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SOURCE: &str = "#include <linux/one.h>\n#define X\n\n#include <linux/two.h>\n\nint x;\n";

    #[test]
    fn a_source_begins_with_its_includes() {
        let expected = "#include <linux/one.h>\n#define X\n\n#include <linux/two.h>\n";
        assert_eq!(directives(SOURCE), expected);
        assert_eq!(directives("#ifdef X\nint x;\n#include <y.h>\n"), "");
    }

    /// Two modules, compiled with the header and without.
    #[test]
    fn the_code_is_the_same_with_the_header_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| files::write(&at(name), text.as_bytes()).unwrap();
        write("include/linux/first.h", "#define FIRST 1\n");
        let unique = "static const int made_before = __COUNTER__;\n\
            #define NAME KBUILD_MODNAME\n";
        write("include/linux/one.h", unique);
        let source = "#include <linux/one.h>\n\
            const char *name = NAME;\nint counted[] = { FIRST, made_before, __COUNTER__ };\n";
        write("glue.c", source);
        let shell = |text: &str| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(text).current_dir(folder.path());
            crate::command::run(&mut shell, "gcc", &crate::command::Log::none()).map(drop)
        };
        let command = |module: &str| {
            format!(
                "gcc -I./include -include ./include/linux/first.h -DKBUILD_BASENAME='\"glue\"' \
                 -DKBUILD_MODNAME='\"{module}\"' -Winvalid-pch -Werror -c -o {module}.o glue.c"
            )
        };
        let headers = Precompiled::new(at("kept/glue.h"));
        headers
            .make(&command("sample"), directives(source), shell)
            .unwrap();
        assert!(at("kept/glue.h.gch").exists());
        for module in ["one", "another"] {
            shell(&command(module)).unwrap();
            let without = files::read(&at(&format!("{module}.o"))).unwrap();
            headers
                .compile(&command(module), folder.path(), shell)
                .unwrap();
            let with = files::read(&at(&format!("{module}.o"))).unwrap();
            assert_eq!(with, without);
            assert!(at("glue.names.h").exists());
        }
    }
}
