//! The differ on small units, compiled as the kernel compiles its own.

mod common;
mod functions;
mod link;
mod stories;
