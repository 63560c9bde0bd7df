//! The differ on small units, compiled as the kernel compiles its own.

mod common;
mod constants;
mod fuzz;
mod link;
mod pairs;
mod refused;
mod reports;
mod stories;
mod taken_in;
