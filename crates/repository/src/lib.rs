//! The TUF repository: make, sign, publish, read.

mod cache;
mod catalogue;
mod client;
mod client_error;
mod current;
mod durable;
mod error;
mod expiry;
mod folder;
mod ingest;
mod init;
mod keys;
mod layout;
mod limits;
mod lock;
mod published;
mod publisher;
mod recorder;
mod role;
mod root;
mod rotate;
mod signer;

pub use catalogue::Catalogue;
pub use client::Client;
pub use client_error::ClientError;
pub use error::RepositoryError;
pub use expiry::{Expiries, Expiry};
pub use folder::{FolderTransport, Location};
pub use ingest::MAX_TARGET_BYTES;
pub use init::{InitOptions, init};
pub use layout::Layout;
pub use limits::Limits;
pub use published::PublishedTarget;
pub use publisher::{Content, NewTarget, Published, Publisher};
pub use role::Role;
pub use signer::Versions;
