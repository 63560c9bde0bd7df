//! Commands.

mod admin;
mod advisory;
mod backup;
mod build;
mod database;
mod differ;
mod fix;
mod judge;
mod kernel;
mod kernels;
mod module_key;
mod output;
mod prove;
mod publish;
mod rebuild;
mod repository;
mod rollout;
mod serve;
mod shell;
mod verify;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use suture_remote::RemoteError;
use suture_repository::RepositoryError;

/// Live patches for Linux kernels: build them, publish them, serve them.
#[derive(Debug, Parser)]
#[command(name = "suture", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the stock kernels that the package archive offers.
    Kernels(kernels::Args),
    /// Take in kernels that no archive offers.
    #[command(subcommand)]
    Kernel(kernel::Command),
    /// Make a fix diff from two versions of the kernel's source package.
    Fix(fix::Args),
    /// Tell whether a fix can be live patched, function by function.
    Judge(judge::Args),
    /// Make the key that signs modules, and its certificate.
    ModuleKey(module_key::Args),
    /// Build a live patch from a fix.
    Build(build::Args),
    /// Compare two objects of a unit directly, without a kernel.
    Differ(differ::Args),
    /// Keep CVE records; say which of a kernel's holes are open.
    Advisory(advisory::Args),
    /// Check that units compiled here equal what the distribution shipped.
    Prove(prove::Args),
    /// Build a live patch again from its published source archive.
    Rebuild(rebuild::Args),
    /// Check that a module is what its published source archive makes.
    Verify(verify::Args),
    /// Make and maintain the signed repository.
    #[command(subcommand)]
    Repository(repository::Command),
    /// Publish built live patches in the repository.
    Publish(publish::Args),
    /// Run the service for machines and people.
    Serve(Box<serve::Args>),
    /// Show, start, halt and withdraw rollouts.
    Rollout(rollout::Args),
    /// Manage accounts, tokens, machines and operators' keys.
    Admin(admin::Args),
    /// Write all that the database holds into one file, while the service runs.
    Backup(backup::BackupArgs),
    /// Fill an empty database from a backup.
    Restore(backup::RestoreArgs),
    /// Print a shell's completions for this command.
    Completions(shell::CompletionsArgs),
    /// Write manual pages into a folder.
    Man(shell::ManArgs),
    /// Show the main job on this machine: a real hole in a running kernel is closed.
    Demo(crate::scenario::demo::Args),
}

/// Runs a command. The status of success is a command's own: an answer of `suture differ` that
/// is no patch is no error.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Differ(args) => return differ::run(&args),
        Command::Verify(args) => return verify::run(&args),
        Command::Judge(args) => return judge::run(&args),
        Command::Advisory(args) => block_on(advisory::run(args)),
        Command::Kernels(args) => kernels::run(&args),
        Command::Kernel(command) => kernel::run(&command),
        Command::Fix(args) => fix::run(&args),
        Command::ModuleKey(args) => module_key::run(&args),
        Command::Build(args) => build::run(args),
        Command::Prove(args) => prove::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Repository(command) => block_on(repository::run(command)),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Serve(args) => block_on(serve::run(*args)),
        Command::Rollout(args) => block_on(rollout::run(args)),
        Command::Admin(args) => block_on(admin::run(args)),
        Command::Backup(args) => block_on(backup::back_up(args)),
        Command::Restore(args) => block_on(backup::restore(args)),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Demo(args) => crate::scenario::demo::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What to do about an error, where its maker knows.
pub fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let remote = cause.downcast_ref().map(RemoteError::hint);
        remote.or_else(|| cause.downcast_ref().map(RepositoryError::hint))
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")?
        .block_on(work)
}

/// Largest input file of the command line: 64 MiB.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// Reads a file that a person named, within bounds.
fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe has no length to look at before.
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_INPUT_BYTES,
        "`{}` has more than the {MAX_INPUT_BYTES} bytes that are read",
        path.display()
    );
    Ok(bytes)
}

fn read_input_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_input(path)?)
        .with_context(|| format!("`{}` is not text", path.display()))
}

/// Options that several commands share.
#[derive(Debug, clap::Args)]
struct CacheArgs {
    /// Folder for packages, prepared trees and compiled units [default: ~/.cache/suture].
    #[arg(long, env = "SUTURE_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

impl CacheArgs {
    fn folder(&self) -> PathBuf {
        self.cache
            .clone()
            .unwrap_or_else(suture_factory::default_cache)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn refused(line: &str) -> (ErrorKind, String) {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rating_needs_its_author_and_a_known_severity() {
        let build = "suture build --kernel 6.1.0-53-amd64 --patch-version 1.1 --fix f --advisory a \
                     --output o";
        assert!(Cli::try_parse_from(build.split(' ')).is_ok());
        let (kind, _) = refused(&format!("{build} --severity CVE-2026-90327=high"));
        assert_eq!(kind, ErrorKind::MissingRequiredArgument);
        let (_, text) = refused(&format!(
            "{build} --rated-by us --severity CVE-2026-90327=bad"
        ));
        assert!(
            text.contains("expected none, low, medium, high or critical"),
            "{text}"
        );
        let (_, text) = refused(&format!("{build} --module-key k"));
        assert!(text.contains("--module-certificate"), "{text}");
    }

    #[test]
    fn a_server_has_tls_unless_plain_http_is_said_aloud() {
        let (kind, text) = refused("suture serve --repository r");
        assert_eq!(kind, ErrorKind::MissingRequiredArgument);
        assert!(text.contains("--tls-certificate"), "{text}");
        let (kind, _) = refused("suture serve --repository r --tls-certificate c");
        assert_eq!(kind, ErrorKind::MissingRequiredArgument);
        let plain = "suture serve --repository r --plain-http";
        assert!(Cli::try_parse_from(plain.split(' ')).is_ok());
        let (kind, _) = refused(&format!("{plain} --tls-certificate c --tls-key k"));
        assert_eq!(kind, ErrorKind::ArgumentConflict);
    }

    #[test]
    fn advice_of_the_repository_reaches_the_person() {
        let path = PathBuf::from("keys");
        let error = anyhow::Error::new(RepositoryError::Exists { path }).context("cannot begin");
        let advice = "choose another folder; nothing was overwritten";
        assert_eq!(hint(&error), Some(advice));
        assert_eq!(hint(&anyhow::anyhow!("another")), None);
    }

    #[test]
    fn an_endless_input_is_refused() {
        let error = read_input(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(
            error,
            "`/dev/zero` has more than the 67108864 bytes that are read"
        );
    }
}
