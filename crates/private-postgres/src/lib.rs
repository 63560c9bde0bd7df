//! A PostgreSQL server of a test's own.
//!
//! The programs are those of Debian's package `postgresql`. The server lies in a folder for
//! temporary files, is reached by a socket in it, and never waits for the disk. It ends with the
//! process that started it, however that ends, and takes its folder with it. Problems panic, as
//! tests do.

mod programs;
mod server;

pub use server::{Certificate, PrivatePostgres};
