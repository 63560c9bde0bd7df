//! The brakes that need no agent: a word on the kernel's command line and a file.
//!
//! A machine that crashes because of a live patch has to be stopped from a boot menu, before any
//! command can be typed; so what stops the agent is read by the agent and set without it. The
//! word holds for one boot, the file until it is removed; where both say something, the stricter
//! counts.

use std::fmt;

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::failure::Failure;
use crate::files;
use crate::paths::Paths;

/// The words on the kernel's command line, ours and the one that administrators know.
const CMDLINE_KEYS: [&str; 2] = ["livepatch_mode=", "canonical_livepatch_mode="];
/// `/proc/cmdline` is 4 KiB at most on x86; the file holds one word.
const LIMIT: u64 = 64 * 1024;

/// What the agent may do, from everything to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Normal,
    /// The server is not asked; what is in the cache is applied.
    NoRefresh,
    /// The server is asked, and nothing is given to the kernel.
    NoApply,
    /// Nothing at all, but `status` answers.
    Stop,
}

/// Who set the mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The word as it stands there.
    CommandLine(String),
    /// The file's path.
    File(String),
}

/// The mode in force and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Brake {
    pub mode: Mode,
    /// None: nobody set it.
    pub origin: Option<Origin>,
}

impl Mode {
    /// A word that is not known stops everything: whoever wrote it wanted less and not more.
    fn of_word(word: &str) -> Self {
        match word {
            "normal" => Self::Normal,
            "no-refresh" => Self::NoRefresh,
            "no-apply" => Self::NoApply,
            _ => Self::Stop,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::NoRefresh => "no-refresh",
            Self::NoApply => "no-apply",
            Self::Stop => "stop",
        }
    }

    /// Whether the server may be asked.
    pub fn may_check(self) -> bool {
        matches!(self, Self::Normal | Self::NoApply)
    }

    /// Whether a module may be given to the kernel.
    pub fn may_apply(self) -> bool {
        matches!(self, Self::Normal | Self::NoRefresh)
    }
}

impl Brake {
    /// Reads the command line and the file; what cannot be read says nothing.
    pub fn read(paths: &Paths) -> Self {
        let cmdline = files::read_text(&paths.proc("cmdline"), LIMIT).unwrap_or_default();
        let path = paths.mode_file();
        let file = match files::if_exists(files::read_text(&path, LIMIT)) {
            Ok(text) => text,
            // It is there and can't be read: the brake is pulled, nobody knows how hard.
            Err(_) => Some("unreadable".to_owned()),
        };
        let file = file.map(|text| (text, path.display().to_string()));
        Self::of(
            &cmdline,
            file.as_ref()
                .map(|(text, path)| (text.as_str(), path.as_str())),
        )
    }

    /// `file` is its content and its path.
    fn of(cmdline: &str, file: Option<(&str, &str)>) -> Self {
        let words = cmdline.split_whitespace().filter_map(|word| {
            let value = CMDLINE_KEYS.iter().find_map(|key| word.strip_prefix(key))?;
            Some(Self {
                mode: Mode::of_word(value),
                origin: Some(Origin::CommandLine(word.chars().take(80).collect())),
            })
        });
        let file = file.map(|(text, path)| Self {
            mode: Mode::of_word(text.trim()),
            origin: Some(Origin::File(path.to_owned())),
        });
        // Of two that are as strict, the first is told: it ends with the boot.
        let pulled = words.chain(file).filter(|it| it.mode != Mode::Normal);
        pulled
            .reduce(|one, other| if other.mode > one.mode { other } else { one })
            .unwrap_or_default()
    }

    /// Why a patch is not applied while it is on.
    pub fn refusal(&self, version: PatchVersion) -> Failure {
        let message = format!("patch {version} is not applied, a brake is on: {self}");
        Failure::new(message).hint(self.hint())
    }

    /// How to release it.
    pub fn hint(&self) -> String {
        match &self.origin {
            Some(Origin::CommandLine(word)) => {
                format!("restart the machine without `{word}` on the kernel's command line")
            }
            Some(Origin::File(path)) => format!("remove the file `{path}`"),
            None => "nothing has to be released".to_owned(),
        }
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.mode.as_str();
        match &self.origin {
            Some(Origin::CommandLine(word)) => {
                write!(
                    formatter,
                    "{mode}, by `{word}` on the kernel's command line"
                )
            }
            Some(Origin::File(path)) => write!(formatter, "{mode}, by the file `{path}`"),
            None => formatter.write_str(mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    #[test]
    fn the_stricter_of_word_and_file_counts() {
        let mode = |cmdline: &str, file: Option<&str>| {
            Brake::of(cmdline, file.map(|text| (text, "/etc/livepatch/mode"))).mode
        };
        assert_eq!(mode("quiet root=/dev/vda1", None), Mode::Normal);
        assert_eq!(mode("livepatch_mode=no-apply quiet", None), Mode::NoApply);
        assert_eq!(mode("canonical_livepatch_mode=stop", None), Mode::Stop);
        assert_eq!(
            mode("livepatch_mode=no-refresh", Some("stop\n")),
            Mode::Stop
        );
        assert_eq!(mode("livepatch_mode=stop", Some("normal\n")), Mode::Stop);
        assert_eq!(
            mode("livepatch_mode=normal", Some("no-apply")),
            Mode::NoApply
        );
        assert_eq!(mode("xlivepatch_mode=stop", None), Mode::Normal);
    }

    #[test]
    fn a_misspelt_brake_holds() {
        assert_eq!(Brake::of("livepatch_mode=off", None).mode, Mode::Stop);
        assert_eq!(
            Brake::of("", Some(("", "/etc/livepatch/mode"))).mode,
            Mode::Stop
        );
    }

    #[test]
    fn it_says_who_pulled_it_and_how_to_release_it() {
        let tree = FakeTree::new();
        assert_eq!(Brake::read(&tree.paths()), Brake::default());
        tree.write("proc/cmdline", b"ro livepatch_mode=stop\n");
        let brake = Brake::read(&tree.paths());
        assert_eq!(
            brake.to_string(),
            "stop, by `livepatch_mode=stop` on the kernel's command line"
        );
        tree.write("proc/cmdline", b"ro\n");
        tree.write("etc/livepatch/mode", b"no-apply\n");
        let brake = Brake::read(&tree.paths());
        assert!(brake.to_string().starts_with("no-apply, by the file `/"));
        assert!(brake.hint().starts_with("remove the file `/"));
        assert!(brake.mode.may_check() && !brake.mode.may_apply());
    }
}
