//! What travels between agent, server and repository.

mod event;
mod machine;
mod manifest;
mod module;
mod notice;
mod problem;
mod schema;
mod smoke;
mod target;

pub use event::{EventId, EventKind, KernelTrouble, MachineEvent, MachineEvents};
pub use machine::{
    CheckInRequest, CheckInResponse, EnrolRequest, EnrolResponse, HardwareId, Held, HeldBy,
    MachineId, MachineState, SplitRequest, Withdrawal,
};
pub use manifest::{
    BuildRecord, FileHash, Fix, Manifest, ModuleFile, NamedHash, PatchedFunction, PatchedObject,
};
pub use module::{MODINFO_ARCHITECTURE, MODINFO_BUILD_ID, MODINFO_RELEASE, built_for};
pub use notice::{KernelNotice, OpenHole};
pub use problem::{Problem, ProblemKind};
pub use smoke::{
    SmokeEvidence, SmokeLoad, SmokeMachine, SmokeObject, SmokeStep, SmokeTest, Successor,
};
pub use target::{TargetCustom, TargetKind, TargetName};
