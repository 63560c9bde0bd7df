//! What a hole is and how grave: CVE records, the claims made about them, the severity gate.

mod names;
mod severity;

pub use names::{CveId, InvalidName, PatchVersion};
pub use severity::{Severity, SeverityClaim};
