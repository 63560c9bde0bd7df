//! The TUF repository: make, sign, publish, read.
//!
//! It follows The Update Framework's specification 1.0 with consistent snapshots; `tough` does
//! the cryptography and the checks of its client workflow. A machine loads a module only because
//! metadata that leads back to its trusted root lists the module's hash. So neither a server nor
//! a mirror nor a CDN needs to be trusted, and none holds a key.
//!
//! # Who signs what
//!
//! | role | keys | counts for | signs |
//! |---|---|---|---|
//! | root | off line, with a threshold | 365 days | which keys count |
//! | targets | publisher | 90 days | names, lengths, hashes, fixes of all files |
//! | snapshot | publisher | 30 days | which targets metadata is the present one |
//! | timestamp | publisher | 7 days | which snapshot is the latest |
//!
//! A stolen publisher's key is replaced with the root keys ([`Publisher::rotate_role_key`]). A
//! client that has seen the new root never goes back to the old one, even if a server stops to
//! show it ([`Client::update`] starts from the latest root that it ever verified).
//!
//! # Time
//!
//! `tough` asks the system's clock inside and keeps the latest time that it saw; a machine whose
//! clock once ran ahead would refuse every update until that time has come. Here time is an
//! argument: `tough` is told to leave expiry alone, and this crate compares all four roles'
//! expiries with the caller's time before anything is kept or handed out. The checks are those
//! of the specification (5.3.10, 5.4.4, 5.5.6, 5.6.6).
//!
//! # Off line
//!
//! After a reboot without network a machine may apply the module that it chose before.
//! [`Client::offline`] verifies the kept metadata again from the trusted root on, so a changed
//! file on the disk is noticed, and leaves out expiry: expiry guards against being held back at
//! an old state, and a machine that cannot reach anyone is held back anyway. Refusing the last
//! known patch would only open the holes again that it closes.
//!
//! # Rollback
//!
//! The last accepted `timestamp.json` and what it leads to are kept byte for byte; a lower
//! version of any role is refused later, also after an update of which only a part came through
//! (`seen.rs`). Files are written whole, flushed and renamed, so a
//! power cut leaves the old state or the new one. See `cache.rs`.

mod cache;
mod catalogue;
mod client;
mod client_error;
mod current;
pub mod durable;
mod error;
mod expiry;
mod files;
mod folder;
mod ingest;
mod init;
mod keys;
mod layout;
mod limits;
mod lock;
mod mirror;
mod prune;
mod published;
mod publisher;
mod recorder;
mod role;
mod root;
mod rotate;
mod seen;
mod signer;

pub use catalogue::Catalogue;
pub use client::Client;
pub use client_error::ClientError;
pub use error::RepositoryError;
pub use expiry::{Expiries, Expiry};
pub use files::{Files, TargetFile};
pub use folder::{FolderTransport, Location};
pub use ingest::MAX_TARGET_BYTES;
pub use init::{InitOptions, init};
pub use layout::Layout;
pub use limits::{Limits, MAX_METADATA_BYTES};
pub use lock::PublisherLock;
pub use mirror::{Copied, Mirror, MirrorError};
pub use prune::is_superseded;
pub use published::PublishedTarget;
pub use publisher::{Content, NewTarget, Published, Publisher};
pub use role::{OnlineRole, Role};
pub use signer::Versions;
