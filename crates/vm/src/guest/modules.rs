//! Kernel modules at boot.

use std::fs::File;

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::system::finit_module;

/// Loads module files in the order given; one that is loaded already is no error.
pub fn load_all(paths: &[String]) -> Result<()> {
    for path in paths {
        load(path).with_context(|| format!("cannot load module `{path}`"))?;
    }
    Ok(())
}

fn load(path: &str) -> Result<()> {
    let file = File::open(path)?;
    match finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
