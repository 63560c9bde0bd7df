//! Ten thousand simulated agents against a real server.

mod clock;
mod halt;
mod invariants;
mod server;
mod site;
mod slow_database;
mod troubles;
