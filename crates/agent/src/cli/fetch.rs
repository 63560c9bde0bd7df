//! `livepatch fetch`: a patch with its source into a folder, for a look or for another machine.

use std::path::{Path, PathBuf};

use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::TargetName;

use super::print;
use crate::carry::{Parts, Wanted};
use crate::clock::{Clock as _, SystemClock};
use crate::config;
use crate::exit_code::ExitCode;
use crate::facts;
use crate::failure::Failure;
use crate::http;
use crate::patches::Patches;
use crate::paths::Paths;
use crate::state::StateDir;
use crate::transport::HttpTransport;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The version, e.g. 104.1; without it the newest.
    version: Option<PatchVersion>,
    /// The folder to make.
    #[arg(long, short)]
    output: PathBuf,
    /// Another machine's kernel, as `RELEASE_ARCHITECTURE_BUILDID`; `livepatch check --format
    /// json` shows the parts there.
    #[arg(long, value_parser = kernel_of)]
    kernel: Option<KernelBuild>,
    /// Bring manifest and source without the module; works before the machine is enabled.
    #[arg(long)]
    source: bool,
}

fn kernel_of(text: &str) -> Result<KernelBuild, String> {
    let name: Result<TargetName, _> = format!("{text}_1.1.ko").parse();
    name.map(|name| name.kernel)
        .map_err(|_| "not of the form RELEASE_ARCHITECTURE_BUILDID".to_owned())
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    let kernel = match &args.kernel {
        Some(kernel) => kernel.clone(),
        None => facts::kernel_build(paths).map_err(|error| Failure::from_error(&error))?,
    };
    let cannot = |error: std::io::Error| {
        Failure::new(format!("cannot make `{}`", args.output.display())).because(error.to_string())
    };
    if args.output.exists() {
        return Err(cannot(std::io::ErrorKind::AlreadyExists.into()).hint("name a new folder"));
    }
    let parent = match args.output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Under its name only when it is whole.
    let folder = tempfile::Builder::new()
        .prefix(".livepatch-fetch-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(parent)
        .map_err(cannot)?;
    let (version, files) = fetch(paths, args, &kernel, folder.path())?;
    std::fs::rename(folder.path(), &args.output).map_err(cannot)?;
    let release = &kernel.release;
    let mut text = format!(
        "Patch {version} for {release} is in {}:\n",
        args.output.display()
    );
    for file in files {
        let name = file.strip_prefix(folder.path()).unwrap_or(&file);
        text.push_str(&format!("  {}\n", args.output.join(name).display()));
    }
    print(&text)?;
    Ok(ExitCode::Success)
}

fn fetch(
    paths: &Paths,
    args: &Args,
    kernel: &KernelBuild,
    folder: &Path,
) -> Result<(PatchVersion, Vec<PathBuf>), Failure> {
    let settings = config::load(paths)?;
    let server = settings.server()?;
    let agent = http::client(&settings, &server).map_err(|error| Failure::from_error(&error))?;
    let (transport, parts) = match args.source {
        true => (
            HttpTransport::anonymous(agent, server.clone()),
            Parts::Source,
        ),
        false => (
            HttpTransport::new(agent, server.clone(), secret(paths)?),
            Parts::All,
        ),
    };
    let patches = Patches::for_once(&settings.root, folder);
    let wanted = Wanted {
        kernel,
        version: args.version,
        parts,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot fetch the patch").because(error.to_string()))?;
    let exported = patches.export(&server, transport, &wanted, folder, SystemClock.now());
    Ok(runtime.block_on(exported)?)
}

/// Modules are for enrolled machines.
fn secret(paths: &Paths) -> Result<String, Failure> {
    let secret = StateDir::existing(paths.state_dir()).secret();
    match secret.map_err(|error| Failure::from_error(&error).hint("try it with `sudo`"))? {
        Some(secret) => Ok(secret),
        None => Err(Failure::new("modules are for enabled machines")
            .hint("enable this machine, or take the source alone: `--source`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machines_kernel_is_named_by_its_parts() {
        let id = "ab".repeat(20);
        let kernel = kernel_of(&format!("6.1.0-53-amd64_amd64_{id}")).unwrap();
        assert_eq!(kernel.release.as_str(), "6.1.0-53-amd64");
        for wrong in ["", "6.1.0-53-amd64", "../x_amd64_00"] {
            assert!(kernel_of(wrong).is_err(), "{wrong}");
        }
    }
}
