//! `livepatch`, also installed as `canonical-livepatch`.

use std::process;

use clap::Parser;
use suture_agent::cli::{Cli, print_error};
use suture_agent::exit_code::ExitCode;

fn main() -> process::ExitCode {
    let code = Cli::parse().run().unwrap_or_else(|failure| {
        print_error(&format!("{failure}\n"));
        ExitCode::Failure
    });
    code.into()
}
