//! The differ on small units, compiled as the kernel compiles its own.

mod common;
mod link;
mod stories;
