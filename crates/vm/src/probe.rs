//! Probes: small C programs that tell whether a hole is open on the running kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::{CommandOutput, VmError};

/// How a probe is compiled. It must run in a guest that has no libraries.
const FLAGS: &[&str] = &["-static", "-O2", "-pthread", "-Wall"];

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The hole is open (exit code 1).
    Open,
    /// The hole is closed (exit code 0).
    Closed,
    /// The probe could not tell (exit code 2, or it didn't end by itself), for this reason.
    Unknown(String),
}

impl Verdict {
    /// Reads what a probe left.
    pub fn of(output: &CommandOutput) -> Self {
        match output.status {
            0 => Self::Closed,
            1 => Self::Open,
            status => {
                let text = format!("{} {}", output.stdout.trim(), output.stderr.trim());
                Self::Unknown(format!("exit code {status}: {}", text.trim()))
            }
        }
    }
}

/// Compiles a probe into `out_dir` and returns the program. The name holds a hash of the source
/// and of the flags, so one that is there already is not compiled again.
pub fn compile(source: &Path, out_dir: &Path) -> Result<PathBuf, VmError> {
    let text = fs::read(source).map_err(VmError::file("read", source))?;
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let program = out_dir.join(format!("{name}-{}", content_hash(&text)));
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(out_dir).map_err(VmError::file("make", out_dir))?;
    // Compiled under another name: a half-written program must not count as there.
    let unfinished = tempfile::NamedTempFile::new_in(out_dir)
        .map_err(VmError::file("write into", out_dir))?
        .into_temp_path();
    run_gcc(source, &unfinished)?;
    fs::rename(&unfinished, &program).map_err(VmError::file("write", &program))?;
    Ok(program)
}

fn run_gcc(source: &Path, output: &Path) -> Result<(), VmError> {
    let result = Command::new("gcc")
        .args(FLAGS)
        .arg("-o")
        .arg(output)
        .arg(source)
        .output()
        .map_err(VmError::start("gcc", "gcc libc6-dev"))?;
    if result.status.success() {
        return Ok(());
    }
    Err(VmError::Program {
        program: "gcc",
        status: result.status.to_string(),
        reason: String::from_utf8_lossy(&result.stderr).trim().to_owned(),
    })
}

fn content_hash(text: &[u8]) -> String {
    let mut hash = Sha256::new();
    for flag in FLAGS {
        hash.update(flag.as_bytes());
        hash.update([0]);
    }
    hash.update(text);
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_compiled_once_per_content() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("cve-2026-0001.c");
        fs::write(&source, "int main(void) { return 1; }").unwrap();
        let first = compile(&source, folder.path()).unwrap();
        let made = fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(Command::new(&first).status().unwrap().code(), Some(1));
        assert_eq!(compile(&source, folder.path()).unwrap(), first);
        assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made);
        fs::write(&source, "int main(void) { return 0; }").unwrap();
        assert_ne!(compile(&source, folder.path()).unwrap(), first);
    }

    #[test]
    fn a_broken_probe_says_what_the_compiler_says() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("broken.c");
        fs::write(&source, "int main(void) { return nothing; }").unwrap();
        let error = compile(&source, folder.path()).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
    }

    #[test]
    fn verdicts() {
        let output = |status, stdout: &str| CommandOutput {
            status,
            stdout: stdout.into(),
            stderr: String::new(),
            truncated: false,
        };
        assert_eq!(Verdict::of(&output(1, "open\n")), Verdict::Open);
        assert_eq!(Verdict::of(&output(0, "closed\n")), Verdict::Closed);
        let unknown = Verdict::of(&output(139, "no tracer\n"));
        assert_eq!(unknown, Verdict::Unknown("exit code 139: no tracer".into()));
    }
}
