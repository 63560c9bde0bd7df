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

/// The kinds of problem that a client can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The account's token is not known, or was revoked.
    UnknownToken,
    /// The machine's secret is not known, or the machine was released.
    UnknownMachine,
    /// The plan's number of machines is used up.
    MachineLimit,
    NotFound,
    BadRequest,
    TooLarge,
    Internal,
}
