//! The vendor's command line.

use std::process::ExitCode;

use clap::Parser as _;
use suture::cli::Cli;

fn main() -> ExitCode {
    match suture::cli::run(Cli::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            if let Some(hint) = suture::cli::hint(&error) {
                eprintln!("\nhint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
