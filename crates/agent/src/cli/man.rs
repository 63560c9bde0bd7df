//! `livepatch man`, for packages.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use super::Cli;
use crate::exit_code::ExitCode;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write into.
    folder: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    for (name, page) in pages()? {
        let path = args.folder.join(&name);
        std::fs::write(&path, page).map_err(|error| cannot_write(&path, &error))?;
    }
    Ok(ExitCode::Success)
}

/// The page of the program and one of each command, by file name.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut program = Cli::command().after_help(NOTES);
    program.build();
    let mut pages = vec![("livepatch.1".to_owned(), page(&program)?)];
    for command in program.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = format!("livepatch-{}", command.get_name());
        let named = command.clone().display_name(name.clone());
        pages.push((format!("{name}.1"), page(&named)?));
    }
    Ok(pages)
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut bytes);
    rendered.map_err(|error| Failure::from_error(&error))?;
    Ok(bytes)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write `{}`", path.display())).because(error.to_string())
}

const NOTES: &str = "livepatch_mode=stop on the kernel's command line, or the word stop in \
    /etc/livepatch/mode, keeps the agent from doing anything; no-apply lets it ask the server, \
    no-refresh lets it apply what it has.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "livepatch.1",
            "livepatch-enable.1",
            "livepatch-quarantine.1",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.contains(&"livepatch-man.1"));
        let text = String::from_utf8_lossy(&pages[0].1).into_owned();
        assert!(text.contains("livepatch_mode=stop"), "{text}");
        assert!(!text.contains("root-dir"), "hidden options stay hidden");
    }
}
