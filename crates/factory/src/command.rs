//! Running other programs, with a log and a useful error.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::FactoryError;

/// Lines of a failed program's output that its error shows.
const TAIL_LINES: usize = 20;

/// Runs a program to its end and gives its standard output; both outputs go to the log.
///
/// Programs run in the C locale, because their output is read, and without the caller's make
/// and compiler settings, because those would change the code.
pub(crate) fn run(
    command: &mut Command,
    package: &'static str,
    log: &Log,
) -> Result<Vec<u8>, FactoryError> {
    for variable in [
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "KCFLAGS",
        "KCPPFLAGS",
        "CFLAGS",
        "CPATH",
    ] {
        command.env_remove(variable);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let shown = shown(command);
    let output = command
        .output()
        .map_err(|source| FactoryError::ProgramMissing {
            program: command.get_program().to_string_lossy().into_owned(),
            package,
            source,
        })?;
    log.write(&shown, &output.stdout, &output.stderr);
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(FactoryError::ProgramFailed {
        command: shown,
        status: output.status.to_string(),
        tail: tail(&text),
    })
}

/// The command as a person would type it, shortened to 400 characters.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    // What comes before says how the build root is put together.
    let inside = words.iter().position(|word| word == "--");
    let inside = inside
        .filter(|_| words[0] == "bwrap")
        .map_or(0, |at| at + 1);
    let line = words[inside..].join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The last lines, and before them the compiler's errors that warnings have pushed further up,
/// each with the macros that it is about.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (above, last) = lines.split_at(lines.len().saturating_sub(TAIL_LINES));
    let mut of_error = false;
    let is_shown = |line: &&&str| {
        let is_error = line.contains("error: ");
        of_error = is_error || of_error && !line.contains("warning: ");
        is_error || of_error && line.contains("in expansion of macro")
    };
    let errors = above.iter().filter(is_shown);
    let shown: Vec<&str> = errors.take(TAIL_LINES).chain(last).copied().collect();
    shown.join("\n")
}

/// Where the output of the programs is kept for later reading. Without a file it is dropped.
#[derive(Debug, Clone, Default)]
pub struct Log {
    path: Option<std::path::PathBuf>,
}

impl Log {
    /// Appends to the file.
    pub fn to_file(path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
        }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// A log that can't be written must not fail the build; it is an aid only.
    fn write(&self, command: &str, stdout: &[u8], stderr: &[u8]) {
        let Some(path) = &self.path else { return };
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
            let entry = [b"$ ", command.as_bytes(), b"\n", stdout, stderr, b"\n"].concat();
            let _ = file.write_all(&entry);
        }
    }

    /// Adds a line of the factory's own.
    pub fn note(&self, line: &str) {
        self.write(&format!("# {line}"), b"", b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = run(
            &mut Command::new("no-such-program"),
            "some-package",
            &Log::none(),
        );
        let message = error.unwrap_err().to_string();
        assert_eq!(
            message,
            "cannot start `no-such-program`; install it (Debian package `some-package`)"
        );
    }

    #[test]
    fn an_error_is_shown_however_many_warnings_follow() {
        let expansion = "x.c:1:1: note: in expansion of macro 'M'";
        let warnings = format!("x.c:2:1: warning: w\n{expansion}\n").repeat(100);
        let error = format!("x.c:1:1: error: e\n{expansion}\n");
        let shown = tail(&format!("{error}  3 | M\n{warnings}"));
        assert!(shown.starts_with(&error), "{shown}");
        assert_eq!(shown.lines().count(), 2 + TAIL_LINES);
    }

    #[test]
    fn a_failed_program_shows_its_last_lines() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 100; echo the reason >&2; exit 3"]);
        let message = run(&mut command, "dash", &Log::none())
            .unwrap_err()
            .to_string();
        assert!(message.ends_with("\n100\nthe reason"), "{message}");
        assert!(!message.contains("\n70\n"), "{message}");
    }
}
