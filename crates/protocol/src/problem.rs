//! How the service says no.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error answer (source: RFC 9457, problem details; media type `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do, for a person.
    pub detail: String,
}

impl Problem {
    /// Media type of a problem as JSON.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// With the kind's title.
    pub fn new(kind: ProblemKind, status: u16, detail: String) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status,
            detail,
        }
    }
}

/// The kinds of problem that a client can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The account's token is not known, or was revoked.
    UnknownToken,
    /// The machine's secret is not known, or the machine was released.
    UnknownMachine,
    /// The operator's key is not known, or was revoked.
    UnknownOperator,
    /// The plan's number of machines is used up.
    MachineLimit,
    /// The request may come from elsewhere than it says, or its sender may not do that.
    Forbidden,
    /// What is to be changed is not in a state that allows it.
    Conflict,
    /// Too many wrong keys, or too many open streams; `retry-after` says when to come back.
    TooMany,
    NotFound,
    BadRequest,
    TooLarge,
    Internal,
}

impl ProblemKind {
    /// The kind in words; the same for every problem of it.
    pub fn title(self) -> &'static str {
        match self {
            Self::UnknownToken => "The token is not known",
            Self::UnknownMachine => "The machine is not known",
            Self::UnknownOperator => "The operator's key is not known",
            Self::MachineLimit => "The plan covers no further machine",
            Self::Forbidden => "Not allowed",
            Self::Conflict => "Not possible as things are",
            Self::TooMany => "Too many requests",
            Self::NotFound => "Not found",
            Self::BadRequest => "The request cannot be taken",
            Self::TooLarge => "The request is too large",
            Self::Internal => "The service failed",
        }
    }
}
