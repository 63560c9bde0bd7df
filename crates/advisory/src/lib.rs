//! What a hole is and how grave: CVE records, the claims made about them, the severity gate.

mod affected;
mod claim;
mod cvss;
mod gate;
mod names;
mod record;
mod severity;

pub use affected::{Affected, Status, VersionEnd, VersionRange};
pub use claim::{ClaimSource, Disagreement, RecordClaim};
pub use cvss::CvssVersion;
pub use gate::{Decision, GateRefusal, gate};
pub use names::{CveId, PatchVersion};
pub use record::{MAX_RECORD_BYTES, Record, RecordError};
pub use severity::{Severity, SeverityClaim};
