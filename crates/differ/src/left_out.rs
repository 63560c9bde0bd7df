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
    /// What `.modinfo` tells people and tools that read the module's file, as `key=text`.
    ModuleText { text: String },
}

impl LeftOut {
    /// Why there is no patch, if nothing else is in the fix.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Export { symbol } => Refusal::Export {
                symbol: symbol.clone(),
            },
            Self::ModuleText { text } => Refusal::ModuleText { text: text.clone() },
        }
    }

    /// What a refusal of a unit is about that has nothing else.
    pub fn of_refusal(refusal: &Refusal) -> Option<Self> {
        Some(match refusal.clone() {
            Refusal::Export { symbol } => Self::Export { symbol },
            Refusal::ModuleText { text } => Self::ModuleText { text },
            _ => return None,
        })
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
            Self::ModuleText { text } => write!(
                formatter,
                "`{text}` of the module's information, which is read from its file alone"
            ),
        }
    }
}
