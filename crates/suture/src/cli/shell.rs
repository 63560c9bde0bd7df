//! `suture completions` and `suture man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::{print, write_file};

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Folder to write into.
    folder: PathBuf,
}

pub fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "suture", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

pub fn man(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut program = Cli::command();
    program.build();
    for (name, page) in pages(&program)? {
        write_file(&folder.join(format!("{name}.1")), &page)?;
    }
    Ok(())
}

/// The page of a command, and one of each command below it.
fn pages(command: &Command) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .context("cannot write a manual page")?;
    let mut found = vec![(name.to_owned(), page)];
    for below in command.get_subcommands() {
        if below.get_name() != "help" {
            found.extend(pages(below)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_learn_the_commands_and_those_below_them() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in ["publish", "operator-key", "set-plan"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("man1");
        man(&ManArgs {
            folder: into.clone(),
        })
        .unwrap();
        for name in ["suture", "suture-build", "suture-admin-account-set-plan"] {
            let page = std::fs::read_to_string(into.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME"), "{name}: {page}");
        }
    }
}
