//! `livepatch enable`.

use std::io::Read;

use super::{WORK_PATIENCE, print, show, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status;

/// Longest token that is read from the standard input.
const TOKEN_LIMIT: u64 = 4096;

#[derive(clap::Args)]
pub struct Args {
    /// Token of your account; `-` reads it from the standard input, where no other user of this
    /// machine can see it.
    token: String,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Args").finish_non_exhaustive()
    }
}

/// A machine that is enrolled counts as enabled, even if its first check-in or patch failed; that
/// is told, and the daemon tries again.
pub fn run(paths: &Paths, args: Args) -> Result<ExitCode, Failure> {
    let token = if args.token == "-" {
        read_token()?
    } else {
        args.token
    };
    let token = token.trim().to_owned();
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_empty() || !plain {
        return Err(Failure::new("this is not a token")
            .hint("copy it from the service's page; it has no spaces or line breaks"));
    }
    match socket::call(&paths.socket(), &Request::Enable { token }, WORK_PATIENCE)? {
        Answer::Enabled { report, problems } => {
            if let Some(enrolment) = &report.enrolment {
                let (server, plan) = (&enrolment.server, &enrolment.plan);
                print(&format!(
                    "This machine is enabled at {server} (plan: {plan}).\n\n"
                ))?;
            }
            print(&status::human(&report, false))?;
            show(&problems);
            Ok(ExitCode::Success)
        }
        _ => Err(unexpected()),
    }
}

fn read_token() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(TOKEN_LIMIT)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::new("cannot read the token from the standard input").because(error.to_string())
        })?;
    Ok(text)
}
