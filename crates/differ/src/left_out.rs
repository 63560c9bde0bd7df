//! Parts of a fix that are left out of its patch, because nothing that runs can tell.

use serde::Serialize;

use crate::refusal::Refusal;

/// One part that is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOut {
    /// An export that the fix adds or makes in another way. The running kernel goes on to export
    /// what it does; its own modules were linked by that, and the units of the patch reach each
    /// other without exports.
    Export { symbol: String },
}

impl LeftOut {
    /// Why there is no patch, if nothing else is in the fix.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Export { symbol } => Refusal::Export {
                symbol: symbol.clone(),
            },
        }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Export { symbol } => write!(
                formatter,
                "the export of `{symbol}`: no module of this kernel uses it, and the patch needs \
                 none"
            ),
        }
    }
}
