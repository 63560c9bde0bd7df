//! The command line.

mod check;
mod completions;
mod config;
mod daemon;
mod disable;
mod enable;
mod fetch;
mod kernel_upgrade_required;
mod load;
mod man;
mod quarantine;
mod refresh;
mod status;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;

/// How long a status may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);
/// How long a command may take that fetches and applies a patch: the download and the transition
/// have limits of their own, which the daemon keeps.
const WORK_PATIENCE: Duration = Duration::from_secs(1800);

/// Closes security holes of the running Linux kernel without a restart.
#[derive(Debug, Parser)]
#[command(name = "livepatch", version, max_term_width = 100)]
pub struct Cli {
    /// Prefix of all paths, for tests.
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "PREFIX",
        default_value = "/"
    )]
    root_dir: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enable live patching with the token of your account.
    Enable(enable::Args),
    /// Disable live patching on this machine; the patch in force stays until the next restart.
    Disable,
    /// Show what the running kernel has, and what the server said last.
    Status(status::Args),
    /// Ask the server now, and apply what it offers.
    Refresh(refresh::Args),
    /// Say whether live patches are made for this kernel; works before the machine is enabled.
    Check(check::Args),
    /// Show or change the configuration.
    Config(config::Args),
    /// Show or lift the quarantine of versions that brought this machine down.
    Quarantine(quarantine::Args),
    /// Bring a patch with its source into a folder, for a look or for another machine.
    Fetch(fetch::Args),
    /// Apply a patch from such a folder, without a server.
    Load(load::Args),
    /// Run the daemon in the foreground; the service manager does this.
    Daemon(daemon::Args),
    /// Say if the kernel has to be upgraded and the machine restarted; silent otherwise.
    KernelUpgradeRequired(kernel_upgrade_required::Args),
    /// Print a shell's completions for this command.
    Completions(completions::Args),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(man::Args),
}

impl Cli {
    /// Carries out the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let paths = Paths::new(self.root_dir);
        match self.command {
            Command::Enable(args) => enable::run(&paths, args),
            Command::Disable => disable::run(&paths),
            Command::Status(args) => status::run(&paths, &args),
            Command::Refresh(args) => refresh::run(&paths, &args),
            Command::Check(args) => check::run(&paths, &args),
            Command::Quarantine(args) => quarantine::run(&paths, &args),
            Command::Fetch(args) => fetch::run(&paths, &args),
            Command::Load(args) => load::run(&paths, &args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Config(args) => config::run(&paths, &args),
            Command::Daemon(args) => daemon::run(paths, &args),
            Command::KernelUpgradeRequired(args) => kernel_upgrade_required::run(&paths, &args),
        }
    }
}

/// Writes data to stdout; a reader who has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot write to the standard output").because(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes to stderr; where there is none, nobody can be told.
pub fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Shows what did not go well, and answers with the exit code for it.
fn show(problems: &[Failure]) -> ExitCode {
    for failure in problems {
        print_error(&format!("{failure}\n"));
    }
    if problems.is_empty() {
        ExitCode::Success
    } else {
        ExitCode::Failure
    }
}

fn unexpected() -> Failure {
    Failure::new("the daemon answered something else than it was asked")
        .hint("is the daemon of another version? `systemctl restart livepatchd`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
