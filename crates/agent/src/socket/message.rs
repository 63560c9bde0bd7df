//! What travels over the socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::engine::Refreshed;
use crate::failure::Failure;
use crate::status::StatusReport;

/// Largest request, in bytes; a token has less than a hundred.
pub const REQUEST_LIMIT: u64 = 16 * 1024;
/// Largest answer; a report with hundreds of fixes has less.
pub const ANSWER_LIMIT: u64 = 16 << 20;

/// What a command wants of the daemon. It has no `Debug`, since a token must not get into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "command",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Request {
    /// The only request that is open to everyone.
    Status,
    Enable {
        token: String,
    },
    Disable,
    Refresh {
        retry_quarantined: bool,
    },
    /// Takes a version, or all, out of the quarantine of the running kernel.
    Lift {
        version: Option<PatchVersion>,
    },
    /// Takes a version, or the newest for this kernel, from a folder and applies it.
    Load {
        folder: PathBuf,
        version: Option<PatchVersion>,
    },
    /// A setting was changed.
    Reread,
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "answer",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Answer {
    Status {
        report: Box<StatusReport>,
    },
    Enabled {
        report: Box<StatusReport>,
        problems: Vec<Failure>,
    },
    Disabled {
        in_force: Option<PatchVersion>,
    },
    Refreshed {
        before: Box<StatusReport>,
        after: Box<StatusReport>,
        problems: Vec<Failure>,
    },
    Lifted {
        versions: Vec<PatchVersion>,
    },
    Reread,
    Failed {
        failure: Failure,
    },
}

/// What did not go well in a round.
pub fn problems(refreshed: Refreshed) -> Vec<Failure> {
    [refreshed.check, refreshed.patch]
        .into_iter()
        .filter_map(Result::err)
        .collect()
}
