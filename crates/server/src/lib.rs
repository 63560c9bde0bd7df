//! The HTTP service: machines enrol, check in and fetch; everyone reads what was published.
//!
//! What a machine loads is proven by the repository's metadata, never by this service: its
//! check-in answers name a version and nothing else.

mod bearer;
mod config;
mod error;
mod handlers;
mod names;
mod page;
mod patches;
mod problem;
mod request_log;
mod router;
mod serve;
mod state;
mod static_file;
mod tls;

pub use config::{ServerConfig, Tls};
pub use error::ServerError;
pub use router::openapi;
pub use serve::serve;
