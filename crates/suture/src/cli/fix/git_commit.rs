//! A fix that is a commit of a local git tree.
//!
//! The tree may be anyone's. Its configuration and attributes can name programs for git to run,
//! so git is told to run none, to ask no network, and to write the diff in one fixed form.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use thiserror::Error;

/// Largest diff that is taken, as the factory's own bound: 16 MiB.
const MAX_DIFF_BYTES: u64 = 16 << 20;

/// What is shown of git's messages.
const MAX_MESSAGE_BYTES: u64 = 4 << 10;

/// Longest name of a revision; git's own hashes have 40 or 64 digits.
const MAX_REVISION_BYTES: usize = 400;

/// Settings that a tree's own configuration can't change. `protocol.allow`: a tree that was
/// cloned in part would fetch what it lacks.
const SETTINGS: [&str; 7] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.quotePath=true",
    "diff.suppressBlankEmpty=false",
    "diff.interHunkContext=0",
    "protocol.allow=never",
];

/// The one form of the diff, whatever git's configuration prefers.
const FORM: [&str; 16] = [
    "-r",
    "--patch",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--no-indent-heuristic",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--no-function-context",
    "--ignore-submodules=all",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "-O/dev/null",
];

/// Why a commit gives no diff.
#[derive(Debug, Error)]
pub enum GitError {
    #[error("cannot start `git`; install it (Debian package `git`)")]
    Missing { source: io::Error },
    #[error("cannot read what `git` says of `{}`", tree.display())]
    Read { tree: PathBuf, source: io::Error },
    #[error("`{revision}` is no commit of `{}`: {message}", tree.display())]
    NoCommit {
        tree: PathBuf,
        revision: String,
        message: String,
    },
    #[error(
        "commit {commit} is a merge of {parents} commits: name the commit that it brought in, \
         from `git log --no-merges {commit}^1..{commit}`"
    )]
    Merge { commit: String, parents: usize },
    #[error("commit {commit} has no parent: a fix is a change of what was there before")]
    First { commit: String },
    #[error("`git` failed on commit {commit}: {message}")]
    Failed { commit: String, message: String },
    #[error("commit {commit} has a diff of more than {MAX_DIFF_BYTES} bytes: name the files")]
    TooLarge { commit: String },
    #[error("commit {commit} does not change `{file}`")]
    NotChanged { commit: String, file: String },
    #[error("commit {commit} changes nothing")]
    Empty { commit: String },
    #[error("the diff of commit {commit} is not text in UTF-8")]
    NotText { commit: String },
}

/// The unified diff of a commit against its only parent, of the given files or of all. Its first
/// line names the commit; `patch` and the factory pass over it.
pub fn diff(tree: &Path, revision: &str, files: &[String]) -> Result<String, GitError> {
    let commit = commit(tree, revision)?;
    let parent = only_parent(tree, &commit)?;
    if files.is_empty() {
        let all = difference(tree, &parent, &commit, None)?;
        return if all.is_empty() {
            Err(GitError::Empty { commit })
        } else {
            Ok(format!("commit {commit}\n{all}"))
        };
    }
    let mut text = format!("commit {commit}\n");
    for file in files {
        let one = difference(tree, &parent, &commit, Some(file))?;
        if one.is_empty() {
            let file = file.clone();
            return Err(GitError::NotChanged { commit, file });
        }
        text += &one;
    }
    Ok(text)
}

/// The full hash of a commit.
fn commit(tree: &Path, revision: &str) -> Result<String, GitError> {
    let no_commit = |message: String| GitError::NoCommit {
        tree: tree.to_owned(),
        revision: revision.chars().take(80).collect(),
        message,
    };
    if revision.is_empty() || revision.len() > MAX_REVISION_BYTES {
        return Err(no_commit("it is no name of a revision".to_owned()));
    }
    let mut git = git(tree);
    git.args(["rev-parse", "--verify", "--end-of-options"]);
    let answer = run(git.arg(format!("{revision}^{{commit}}")), tree)?;
    if answer.good {
        Ok(answer.text().trim().to_owned())
    } else {
        Err(no_commit(answer.message))
    }
}

fn only_parent(tree: &Path, commit: &str) -> Result<String, GitError> {
    let mut git = git(tree);
    git.args(["rev-list", "--parents", "--max-count=1"]);
    let answer = run(git.arg(commit), tree)?.or_failed(commit)?;
    let text = answer.text();
    let mut parents = text.split_whitespace().skip(1).map(str::to_owned);
    let commit = commit.to_owned();
    match (parents.next(), parents.count()) {
        (Some(parent), 0) => Ok(parent),
        (None, _) => Err(GitError::First { commit }),
        (Some(_), others) => Err(GitError::Merge {
            commit,
            parents: others + 1,
        }),
    }
}

fn difference(
    tree: &Path,
    parent: &str,
    commit: &str,
    file: Option<&str>,
) -> Result<String, GitError> {
    let mut git = git(tree);
    git.arg("diff-tree").args(FORM).args([parent, commit, "--"]);
    let answer = run(git.args(file), tree)?;
    let commit = commit.to_owned();
    if answer.output.len() as u64 > MAX_DIFF_BYTES {
        return Err(GitError::TooLarge { commit });
    }
    let answer = answer.or_failed(&commit)?;
    String::from_utf8(answer.output).map_err(|_| GitError::NotText { commit })
}

/// `git` in a tree, with nothing from this user's or the machine's configuration.
fn git(tree: &Path) -> Command {
    let mut git = Command::new("git");
    // Also drops GIT_DIR, GIT_EXTERNAL_DIFF and their like.
    git.env_clear();
    git.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    git.env("LC_ALL", "C").env("HOME", "/nonexistent");
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ] {
        git.env(name, value);
    }
    git.arg("-C").arg(tree);
    git.args(["--no-pager", "--literal-pathspecs"]);
    git.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    git
}

/// How a run of git ended.
struct Answer {
    good: bool,
    /// Not more than the bound and one byte.
    output: Vec<u8>,
    message: String,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn or_failed(self, commit: &str) -> Result<Self, GitError> {
        if self.good {
            return Ok(self);
        }
        Err(GitError::Failed {
            commit: commit.to_owned(),
            message: self.message,
        })
    }
}

fn run(git: &mut Command, tree: &Path) -> Result<Answer, GitError> {
    git.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = git.spawn().map_err(|source| GitError::Missing { source })?;
    let answer = read(&mut child);
    if answer.is_err() {
        // It may wait for a reader that is gone.
        let _ = child.kill();
        let _ = child.wait();
    }
    answer.map_err(|source| GitError::Read {
        tree: tree.to_owned(),
        source,
    })
}

/// Reads both outputs at once, each within its bound, so that git waits for neither.
fn read(child: &mut Child) -> io::Result<Answer> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let messages = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr)
                .take(MAX_MESSAGE_BYTES)
                .read_to_end(&mut bytes);
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
        bytes
    });
    let mut output = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(MAX_DIFF_BYTES + 1).read_to_end(&mut output)?;
    }
    // Its end of the pipe is closed now, which ends a git that would write on.
    let good = child.wait()?.success();
    let messages = messages.join().unwrap_or_default();
    let message = String::from_utf8_lossy(&messages).replace(|one: char| one.is_control(), " ");
    Ok(Answer {
        good,
        output,
        message: message.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A tree with a commit `before`, and `after`, which edits, adds and removes a file.
    fn tree() -> TempDir {
        let tree = tempfile::tempdir().unwrap();
        on(&tree, &["init", "--quiet", "--initial-branch=main"]);
        write(&tree, "kernel/x.c", "int a;\nint b;\nint c;\n");
        write(&tree, "kernel/old.h", "int o;\n");
        save(&tree, "before");
        write(&tree, "kernel/x.c", "int a;\nint B;\nint c;\n");
        write(&tree, "mm/new.h", "int n;\n");
        fs::remove_file(tree.path().join("kernel/old.h")).unwrap();
        save(&tree, "after");
        tree
    }

    fn write(tree: &TempDir, path: &str, text: &str) {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn save(tree: &TempDir, name: &str) {
        on(tree, &["add", "--all"]);
        on(tree, &["commit", "--quiet", "--message", name]);
        on(tree, &["tag", name]);
    }

    fn on(tree: &TempDir, arguments: &[&str]) {
        let mut git = git(tree.path());
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "someone");
            git.env(format!("GIT_{role}_EMAIL"), "someone@example.org");
        }
        assert!(
            git.args(arguments).status().unwrap().success(),
            "{arguments:?}"
        );
    }

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_commit_is_a_diff_that_the_factory_takes() {
        let tree = tree();
        let text = diff(tree.path(), "after", &[]).unwrap();
        assert!(text.starts_with("commit "), "{text}");
        let headers: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("--- ") || line.starts_with("+++ "))
            .collect();
        assert_eq!(
            headers,
            [
                "--- a/kernel/old.h",
                "+++ /dev/null",
                "--- a/kernel/x.c",
                "+++ b/kernel/x.c",
                "--- /dev/null",
                "+++ b/mm/new.h",
            ]
        );
        assert!(
            text.contains("@@ -1,3 +1,3 @@\n int a;\n-int b;\n+int B;\n int c;\n"),
            "{text}"
        );
        let one = diff(tree.path(), "HEAD", &files(&["kernel/x.c"])).unwrap();
        assert!(!one.contains("new.h"), "{one}");
    }

    #[test]
    fn a_file_that_the_commit_leaves_alone_is_told() {
        let tree = tree();
        for file in ["kernel/y.c", "kernel/*.c", ":/", "--output=x"] {
            let error = diff(tree.path(), "after", &files(&[file])).unwrap_err();
            assert!(matches!(error, GitError::NotChanged { .. }), "{error}");
        }
        assert!(!tree.path().join("x").exists());
    }

    #[test]
    fn a_merge_and_a_first_commit_are_no_fix() {
        let tree = tree();
        let error = diff(tree.path(), "before", &[]).unwrap_err();
        assert!(matches!(error, GitError::First { .. }), "{error}");
        on(&tree, &["checkout", "--quiet", "-b", "side", "before"]);
        write(&tree, "fs/y.c", "int y;\n");
        save(&tree, "beside");
        on(
            &tree,
            &["merge", "--quiet", "--no-ff", "--message", "both", "after"],
        );
        let error = diff(tree.path(), "HEAD", &[]).unwrap_err().to_string();
        assert!(
            error.contains("is a merge of 2 commits: name the commit"),
            "{error}"
        );
        on(
            &tree,
            &["commit", "--quiet", "--allow-empty", "--message", "none"],
        );
        let error = diff(tree.path(), "HEAD", &[]).unwrap_err();
        assert!(matches!(error, GitError::Empty { .. }), "{error}");
    }

    #[test]
    fn what_names_no_commit_is_refused() {
        let tree = tree();
        for revision in ["", "no-such", "--all", "HEAD:kernel/x.c", &"a".repeat(9999)] {
            let error = diff(tree.path(), revision, &[]).unwrap_err();
            assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
        }
        let nowhere = tempfile::tempdir().unwrap();
        let error = diff(nowhere.path(), "HEAD", &[]).unwrap_err().to_string();
        assert!(error.contains("not a git repository"), "{error}");
    }

    #[test]
    fn a_tree_runs_no_program_and_does_not_change_the_form() {
        let tree = tree();
        let plain = diff(tree.path(), "after", &[]).unwrap();
        let touched = tree.path().join("touched");
        let program = format!("touch {}; false", touched.display());
        for (name, value) in [
            ("diff.external", program.as_str()),
            ("diff.evil.command", &program),
            ("diff.evil.textconv", &program),
            ("core.fsmonitor", &program),
            ("core.pager", &program),
            ("diff.noprefix", "true"),
            ("diff.mnemonicPrefix", "true"),
            ("diff.context", "0"),
            ("diff.algorithm", "histogram"),
            ("diff.renames", "copies"),
            ("color.ui", "always"),
        ] {
            on(&tree, &["config", name, value]);
        }
        write(
            &tree,
            ".git/info/attributes",
            "*.c diff=evil\n*.h diff=evil\n",
        );
        assert_eq!(diff(tree.path(), "after", &[]).unwrap(), plain);
        assert!(!touched.exists());
    }

    #[test]
    fn a_huge_diff_ends_at_the_bound() {
        let tree = tree();
        write(
            &tree,
            "kernel/big.c",
            &"int a_line_of_a_large_file;\n".repeat(700_000),
        );
        save(&tree, "big");
        let error = diff(tree.path(), "big", &[]).unwrap_err();
        assert!(matches!(error, GitError::TooLarge { .. }), "{error}");
        write(&tree, "kernel/latin.c", "");
        fs::write(tree.path().join("kernel/latin.c"), b"/* caf\xe9 */\n").unwrap();
        save(&tree, "latin");
        let error = diff(tree.path(), "latin", &[]).unwrap_err();
        assert!(matches!(error, GitError::NotText { .. }), "{error}");
    }
}
