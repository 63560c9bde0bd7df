//! What a hole is and how grave: CVE records, the claims made about them, the severity gate;
//! how records come in, and which holes a kernel has.

mod affected;
mod applies;
mod bulk;
mod changelog;
mod claim;
mod compiled;
mod cvss;
mod exploited;
mod gate;
mod holes;
mod intake;
mod kernel_version;
mod names;
mod record;
mod refused;
mod severity;
mod time;

pub use affected::{Affected, Status, VersionEnd, VersionRange};
pub use applies::VersionAnswer;
pub use bulk::{
    ArchiveKind, BulkError, BulkLimits, Each, Member, MemberError, ReadSeek, Spool, is_record_name,
    read_bulk,
};
pub use changelog::{Changelog, MAX_CHANGELOG_BYTES};
pub use claim::{ClaimSource, Disagreement, RecordClaim};
pub use compiled::{Compiled, Reach, reach};
pub use cvss::CvssVersion;
pub use exploited::{CatalogueError, Exploited, ExploitedCatalogue, MAX_CATALOGUE_BYTES};
pub use gate::{Decision, GateRefusal, gate};
pub use holes::{Hole, HoleList, KernelFacts, Rating, State, assess};
pub use intake::{Intake, Offered, Outcome, Rejected};
pub use kernel_version::KernelVersion;
pub use names::{CveId, PatchVersion};
pub use record::{MAX_RECORD_BYTES, Record, RecordError};
pub use refused::{RefusedFix, RefusedFixes};
pub use severity::{Severity, SeverityClaim};
