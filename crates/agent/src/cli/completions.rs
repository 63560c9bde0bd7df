//! `livepatch completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, print};
use crate::exit_code::ExitCode;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
    /// Name under which the program is called.
    #[arg(long, default_value = "livepatch")]
    name: String,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), &args.name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "livepatch", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in ["enable", "quarantine", "kernel-upgrade-required"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
