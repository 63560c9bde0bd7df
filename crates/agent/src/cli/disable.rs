//! `livepatch disable`.

use super::{WORK_PATIENCE, print, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};

pub fn run(paths: &Paths) -> Result<ExitCode, Failure> {
    let Answer::Disabled { in_force } =
        socket::call(&paths.socket(), &Request::Disable, WORK_PATIENCE)?
    else {
        return Err(unexpected());
    };
    print("This machine is disabled.\n")?;
    if let Some(version) = in_force {
        print(&format!(
            "Live patch {version} stays in force until the next restart of the machine.\n"
        ))?;
    }
    Ok(ExitCode::Success)
}
