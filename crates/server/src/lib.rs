//! The HTTP service: machines enrol, check in and fetch; everyone reads what was published.
//!
//! What a machine loads is proven by the repository's metadata, never by this service: its
//! check-in answers name a version and nothing else.

mod alone;
mod attention;
mod bearer;
mod billing;
mod calendar;
mod client_address;
mod conditional;
mod config;
mod error;
mod feed;
mod fleet;
mod form;
mod guesses;
mod handlers;
mod hooks;
mod html;
mod json_body;
pub mod lists;
mod metrics;
mod names;
pub mod notices;
mod onward;
mod openid;
mod operator;
pub mod outgoing;
mod own_form;
mod password;
mod patches;
mod picture;
mod post;
mod problem;
mod request_log;
mod retention;
mod rollouts;
mod router;
mod serve;
mod session;
mod settings_file;
mod state;
mod static_file;
mod streams;
mod tls;
pub mod view;
mod web;
mod webauthn;

pub use config::{MailConfig, OpenIdConfig, Secret, ServerConfig, StripeConfig, Tls};
pub use error::ServerError;
pub use retention::{Keep, forget};
pub use rollouts::Executor;
pub use router::openapi;
pub use serve::serve;
pub use settings_file::SettingsFileError;
