//! The files of a tree as the preprocessor of our own reads them, each taken apart once, and what
//! a unit's command tells it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use suture_preprocessor::{Invocation, Names, SourceFile, Sources};

use crate::command::{Log, run};
use crate::commands::CompileCommand;
use crate::paths::normal;
use crate::tree::Tree;

/// Bytes in memory, roughly, of files that are kept taken apart.
const KEPT: usize = 1 << 30;

/// A path in one way, and the file.
type Found = Option<(Arc<str>, Arc<SourceFile>)>;

/// The files of the unpatched tree.
pub(crate) struct Headers {
    tree: Tree,
    names: Names,
    log: Log,
    /// By the path as an inclusion makes it.
    files: RwLock<HashMap<String, Found>>,
    size: AtomicUsize,
    /// The compiler's own macros, by its flags.
    predefined: Mutex<HashMap<String, Option<Arc<SourceFile>>>>,
    /// What it said, by its name and the question.
    answers: Mutex<HashMap<String, Option<bool>>>,
}

/// The files with some of them replaced, as one compiler sees them.
pub(crate) struct Version<'a> {
    headers: &'a Headers,
    edited: &'a HashMap<String, Arc<SourceFile>>,
    program: &'a str,
}

/// A unit's command, read.
pub(crate) struct Preprocessing {
    pub invocation: Invocation,
    program: String,
}

impl Headers {
    pub fn new(tree: Tree, log: Log) -> Self {
        Self {
            tree,
            log,
            names: Names::default(),
            files: RwLock::default(),
            size: AtomicUsize::new(0),
            predefined: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Takes files apart that a fix edits.
    pub fn edited(&self, patched: &[(String, String)]) -> HashMap<String, Arc<SourceFile>> {
        let patched = patched.iter();
        let files = patched.map(|(path, text)| {
            let file = SourceFile::new(text, &self.names);
            (path.clone(), Arc::new(file))
        });
        files.collect()
    }

    /// Looks again for files that were not there: Kbuild makes some when a unit needs them.
    pub fn forget_missing(&self) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, found| found.is_some());
    }

    pub fn version<'a>(
        &'a self,
        edited: &'a HashMap<String, Arc<SourceFile>>,
        preprocessing: &'a Preprocessing,
    ) -> Version<'a> {
        Version {
            headers: self,
            edited,
            program: &preprocessing.program,
        }
    }

    /// What a command tells; nothing if something in it is not known here.
    pub fn preprocessing(&self, command: &CompileCommand) -> Option<Preprocessing> {
        let compile = command.text.split(" ; ").next()?;
        let told = Told::read(&words(compile)?)?;
        let predefined = self.predefined(&told.program, &told.others)?;
        let own = Arc::new(SourceFile::new(&told.defines, &self.names));
        Some(Preprocessing {
            invocation: Invocation {
                defines: vec![predefined, own],
                ..told.invocation
            },
            program: told.program,
        })
    }

    fn predefined(&self, program: &str, flags: &[String]) -> Option<Arc<SourceFile>> {
        let key = format!("{program} {}", flags.join(" "));
        let known = |kept: &Mutex<HashMap<_, Option<Arc<SourceFile>>>>| {
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get(&key).cloned()
        };
        if let Some(known) = known(&self.predefined) {
            return known;
        }
        let mut compiler = self.tree.command(program, self.tree.path());
        compiler
            .args(flags)
            .args(["-dM", "-E", "-x", "c", "/dev/null"]);
        let said = run(&mut compiler, "gcc-12", &self.log).ok();
        let said = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let file = said.map(|text| Arc::new(SourceFile::new(&text, &self.names)));
        let mut kept = self
            .predefined
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.insert(key, file.clone());
        file
    }

    fn file(&self, path: &str) -> Found {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = files.get(path) {
            return found.clone();
        }
        drop(files);
        let found = self.read_file(path);
        // A unit's own text is of no use to others.
        if path.ends_with(".c") {
            return found;
        }
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let size = found.as_ref().map_or(0, |(_, file)| file.size());
        if self.size.fetch_add(size, Ordering::Relaxed) > KEPT {
            files.clear();
            self.size.store(size, Ordering::Relaxed);
        }
        files.entry(path.to_owned()).or_insert(found).clone()
    }

    fn read_file(&self, path: &str) -> Found {
        let path = normal(Path::new(path))?;
        let bytes = std::fs::read(self.tree.path().join(&path)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let file = SourceFile::new(&text, &self.names);
        Some((path.into(), Arc::new(file)))
    }
}

impl Sources for Version<'_> {
    fn read(&self, path: &str) -> Option<(Arc<str>, Arc<SourceFile>)> {
        if !self.edited.is_empty()
            && let Some(path) = normal(Path::new(path))
            && let Some(file) = self.edited.get(&path)
        {
            return Some((path.into(), Arc::clone(file)));
        }
        self.headers.file(path)
    }

    fn answer(&self, question: &str) -> Option<bool> {
        let headers = self.headers;
        let key = format!("{} {question}", self.program);
        let kept = &headers.answers;
        let known = kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        if let Some(known) = known {
            return known;
        }
        let script = "printf '%s\\n' \"#if $1\" yes \"#endif\" | \"$0\" -E -P -nostdinc -x c -";
        let mut shell = headers.tree.command("sh", headers.tree.path());
        shell.args(["-c", script, self.program, question]);
        let said = run(&mut shell, "gcc-12", &headers.log).ok();
        let said = said.map(|bytes| String::from_utf8_lossy(&bytes).contains("yes"));
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, said);
        said
    }
}

/// A command's words, sorted.
#[derive(Default)]
struct Told {
    program: String,
    /// What could change the compiler's own macros.
    others: Vec<String>,
    /// `-D` and `-U` as directives.
    defines: String,
    invocation: Invocation,
}

impl Told {
    fn read(words: &[String]) -> Option<Self> {
        let (program, words) = words.split_first()?;
        let mut told = Self {
            program: program.clone(),
            ..Self::default()
        };
        let (mut late, mut own_headers_only) = (Vec::new(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = |flag: &str| match word.strip_prefix(flag)? {
                "" => words.next().cloned(),
                value => Some(value.to_owned()),
            };
            match word.as_str() {
                "-c" => {}
                "-o" => drop(words.next()),
                "-nostdinc" => own_headers_only = true,
                "-include" => told.invocation.forced.push(value("-include")?),
                word if word.starts_with("-imacros") || word.starts_with('@') => return None,
                word if word.starts_with("-iquote") => {
                    told.invocation.quoted_folders.push(value("-iquote")?);
                }
                word if word.starts_with("-isystem") => late.push(value("-isystem")?),
                word if word.starts_with("-idirafter") || word.starts_with("-iprefix") => {
                    return None;
                }
                word if word.starts_with("-I") => told.invocation.folders.push(value("-I")?),
                word if word.starts_with("-D") => told.define(&value("-D")?),
                word if word.starts_with("-U") => {
                    told.defines.push_str(&format!("#undef {}\n", value("-U")?));
                }
                word if word.starts_with("-Wp,-MMD,") || word.starts_with("-Wp,-MD,") => {}
                word if word.starts_with("-Wp,") || word.starts_with("-Xpreprocessor") => {
                    return None;
                }
                "-fmacro-prefix-map=./=" | "-ffile-prefix-map=./=" => {
                    told.invocation.dropped_prefix = "./".to_owned();
                }
                word if word.contains("-prefix-map=") => return None,
                // These change the language of the preprocessor.
                "-ansi" | "-trigraphs" | "-traditional" | "-traditional-cpp" | "-x" => return None,
                word if word.starts_with("-std=") && !word.starts_with("-std=gnu") => return None,
                word if word.starts_with("-W") => {}
                word if word.starts_with('-') => told.others.push(word.to_owned()),
                word if word.ends_with(".c") && told.invocation.source.is_empty() => {
                    told.invocation.source = word.to_owned();
                }
                // `--param` has its value as a word of its own.
                word => told.others.push(word.to_owned()),
            }
        }
        told.invocation.folders.append(&mut late);
        let folders = told.invocation.folders.iter();
        let mut folders = folders.chain(&told.invocation.quoted_folders);
        let inside = folders.all(|folder| !folder.starts_with('/'));
        let is_whole = inside && own_headers_only && !told.invocation.source.is_empty();
        is_whole.then_some(told)
    }

    fn define(&mut self, definition: &str) {
        let (name, value) = definition.split_once('=').unwrap_or((definition, "1"));
        self.defines.push_str(&format!("#define {name} {value}\n"));
    }
}

/// The words of a shell's command; nothing if it has more than words and quotes.
fn words(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut open) = (Vec::new(), String::new(), false);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => {
                if std::mem::take(&mut open) {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            '\'' => loop {
                match letters.next()? {
                    '\'' => break,
                    other => word.push(other),
                }
            },
            '"' => loop {
                match letters.next()? {
                    '"' => break,
                    '\\' => match letters.next()? {
                        special @ ('"' | '\\' | '$' | '`') => word.push(special),
                        other => word.extend(['\\', other]),
                    },
                    '$' | '`' => return None,
                    other => word.push(other),
                }
            },
            '\\' => word.push(letters.next()?),
            '$' | '`' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '~' | '\n' => {
                return None;
            }
            other => word.push(other),
        }
        open = true;
    }
    if open {
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_the_shell_reads_it() {
        let command = r#"gcc-12 -Wp,-MMD,a/.x.o.d -nostdinc -I./include -I a/b -include ./include/k.h -Wall -O2 -fmacro-prefix-map=./= -DMODULE -DNAME='"x y"' -D"KBUILD_MODNAME=KBUILD_STR(x)" -DQ=\"z\" -UR -c -o a/x.o a/x.c  "#;
        let told = Told::read(&words(command).unwrap()).unwrap();
        assert_eq!(told.others, ["-O2"]);
        assert_eq!(
            told.defines,
            "#define MODULE 1\n#define NAME \"x y\"\n#define KBUILD_MODNAME KBUILD_STR(x)\n\
             #define Q \"z\"\n#undef R\n"
        );
        let Invocation {
            forced,
            folders,
            source,
            dropped_prefix,
            ..
        } = told.invocation;
        assert_eq!(
            (forced, folders),
            (
                vec!["./include/k.h".to_owned()],
                vec!["./include".to_owned(), "a/b".to_owned()]
            )
        );
        assert_eq!((source.as_str(), dropped_prefix.as_str()), ("a/x.c", "./"));
    }

    #[test]
    fn what_is_not_known_is_left_to_the_compiler() {
        let read = |command: &str| words(command).and_then(|words| Told::read(&words));
        assert!(read("gcc -nostdinc -c -o x.o x.c").is_some());
        for command in [
            "gcc -c -o x.o x.c",
            "gcc -nostdinc -isystem /usr/lib/gcc/include -c -o x.o x.c",
            "gcc -nostdinc -imacros x.h -c -o x.o x.c",
            "gcc -nostdinc -Wp,-DX -c -o x.o x.c",
            "gcc -nostdinc -std=c99 -c -o x.o x.c",
            "gcc -nostdinc -DX=$Y -c -o x.o x.c",
            "gcc -nostdinc -c -o x.o x.S",
        ] {
            assert!(read(command).is_none(), "{command}");
        }
    }
}
