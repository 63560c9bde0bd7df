//! `livepatch load`: a patch from a folder, without a server.

use std::path::PathBuf;

use suture_advisory::PatchVersion;

use super::WORK_PATIENCE;
use super::refresh::tell;
use crate::carry;
use crate::exit_code::ExitCode;
use crate::facts;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Request};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The folder is verified from this machine's trusted root on, as if it came \
                        from the server. What was loaded is applied again after a restart."
)]
pub struct Args {
    /// A folder that `livepatch fetch` made, here or on another machine.
    folder: PathBuf,
    /// The version, e.g. 104.1; without it the newest for this kernel.
    version: Option<PatchVersion>,
}

/// The daemon does it, which keeps the journal; it may not look into everybody's folders, so it
/// gets a copy where it may.
pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("only root may do this").hint("try it with `sudo`"));
    }
    let cannot = |error: std::io::Error| {
        Failure::new(format!(
            "cannot read the patch in `{}`",
            args.folder.display()
        ))
        .because(error.to_string())
        .hint("`livepatch fetch --output FOLDER` makes such a folder")
    };
    let kernel = facts::kernel_build(paths).map_err(|error| Failure::from_error(&error))?;
    let copy = tempfile::Builder::new()
        .prefix("livepatch-load-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(paths.run())
        .map_err(cannot)?;
    carry::copy(&args.folder, copy.path(), &kernel).map_err(cannot)?;
    let request = Request::Load {
        folder: copy.path().to_owned(),
        version: args.version,
    };
    tell(
        socket::call(&paths.socket(), &request, WORK_PATIENCE)?,
        "load",
    )
}
