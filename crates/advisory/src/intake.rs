//! How a record comes into a vendor's collection: one canonical JSON file for each identifier,
//! and the newest `dateUpdated` wins.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::names::CveId;
use crate::record::{Document, Record, RecordError};
use crate::time;

/// A record on its way in: read, checked and made canonical.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    pub id: CveId,
    /// Missing in a few old records, which then are older than every other.
    pub updated: Option<Timestamp>,
    /// Whether it describes a hole; a rejected one replaces an earlier, published one.
    published: bool,
    state: String,
    concerns_kernel: bool,
    canonical: Vec<u8>,
}

/// What became of an offered record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Added,
    /// It replaced an older one, or a kept file that could not be read.
    Updated {
        from: Option<Timestamp>,
    },
    Unchanged,
    /// The kept one is newer.
    Older {
        than: Timestamp,
    },
    /// Of another product; a collection is about the kernel.
    NotTheKernel,
    Rejected {
        reason: String,
    },
}

/// Why a record is not taken.
#[derive(Debug, Error)]
pub enum Rejected {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(
        "{id} of {at} differs from the kept record of the same time: one of them was changed by \
         somebody else; delete the kept file to take this one"
    )]
    SameTime { id: CveId, at: String },
}

/// What to do with an offered record.
#[derive(Debug)]
pub struct Intake {
    pub outcome: Outcome,
    /// Whether the record's bytes are to be kept now.
    pub keep: bool,
}

impl Offered {
    /// Reads a record of any state. What a reader of the collection could not read later is
    /// refused now.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let metadata = Document::read(bytes)?.cve_metadata;
        let published = metadata.is_published();
        let concerns_kernel = if published {
            Record::parse(bytes)?.concerns_kernel
        } else {
            metadata.is_of_kernel_cna()
        };
        let value: Value =
            serde_json::from_slice(bytes).map_err(|source| RecordError::Json { source })?;
        Ok(Self {
            updated: metadata.date_updated.as_deref().and_then(time::parse),
            published,
            state: metadata.state(),
            concerns_kernel,
            canonical: canonical(value)?,
            id: metadata.cve_id,
        })
    }

    /// The bytes to keep: sorted keys, two spaces, a line end.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Decides, given what is kept under this identifier.
    pub fn against(&self, kept: Option<&[u8]>) -> Intake {
        let Some(bytes) = kept else {
            return self.first();
        };
        if bytes == self.canonical {
            return Intake::leave(Outcome::Unchanged);
        }
        // A file that was damaged after it was written must not keep a good record out.
        let Ok(kept) = Self::read(bytes) else {
            return Intake::take(Outcome::Updated { from: None });
        };
        match (kept.updated, self.updated) {
            _ if kept.canonical == self.canonical => Intake::leave(Outcome::Unchanged),
            (Some(than), mine) if mine < Some(than) => Intake::leave(Outcome::Older { than }),
            (theirs, mine) if theirs == mine => Intake::leave(self.same_time()),
            (from, _) => Intake::take(Outcome::Updated { from }),
        }
    }

    fn first(&self) -> Intake {
        if !self.concerns_kernel {
            Intake::leave(Outcome::NotTheKernel)
        } else if self.published {
            Intake::take(Outcome::Added)
        } else {
            let (id, state) = (self.id.clone(), self.state.clone());
            Intake::leave(Outcome::rejected(&RecordError::NotPublished { id, state }))
        }
    }

    fn same_time(&self) -> Outcome {
        let at = self
            .updated
            .map_or_else(|| "no time".to_owned(), |time| time.to_string());
        let id = self.id.clone();
        Outcome::rejected(&Rejected::SameTime { id, at })
    }
}

impl Intake {
    fn take(outcome: Outcome) -> Self {
        Self {
            outcome,
            keep: true,
        }
    }

    fn leave(outcome: Outcome) -> Self {
        Self {
            outcome,
            keep: false,
        }
    }
}

impl Outcome {
    /// A rejection with the whole chain of its causes.
    pub fn rejected(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let reason = causes.map(ToString::to_string).collect::<Vec<_>>();
        Self::Rejected {
            reason: reason.join(": "),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => write!(formatter, "added"),
            Self::Updated { from: Some(from) } => write!(formatter, "updated (from {from})"),
            Self::Updated { from: None } => write!(formatter, "updated"),
            Self::Unchanged => write!(formatter, "unchanged"),
            Self::Older { than } => write!(formatter, "unchanged (the kept one is of {than})"),
            Self::NotTheKernel => write!(formatter, "passed over (not about the Linux kernel)"),
            Self::Rejected { reason } => write!(formatter, "rejected: {reason}"),
        }
    }
}

/// The one way in which a record is written.
fn canonical(value: Value) -> Result<Vec<u8>, RecordError> {
    let json = |source| RecordError::Json { source };
    let mut bytes = serde_json::to_vec_pretty(&Sorted::of(value)).map_err(json)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// JSON with sorted keys, whatever order `Value` keeps. Its depth is that of the parser, 128.
#[derive(Serialize)]
#[serde(untagged)]
enum Sorted {
    Object(BTreeMap<String, Sorted>),
    Array(Vec<Sorted>),
    Plain(Value),
}

impl Sorted {
    fn of(value: Value) -> Self {
        match value {
            Value::Object(map) => {
                let sorted = map.into_iter().map(|(key, value)| (key, Self::of(value)));
                Self::Object(sorted.collect())
            }
            Value::Array(list) => Self::Array(list.into_iter().map(Self::of).collect()),
            plain => Self::Plain(plain),
        }
    }
}
