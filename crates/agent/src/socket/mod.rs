//! The daemon's Unix socket: one line of JSON in, one line of JSON out, per connection.

mod client;
mod message;
mod server;

pub use client::call;
pub use message::{Answer, Request};
pub use server::{Listener, listen};
