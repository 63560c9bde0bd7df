//! `suture module-key`

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use suture_kernel::signature::ModuleKey;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name in the certificate, shown by the kernel's key ring.
    #[arg(long, default_value = "Suture live patches")]
    subject: String,
    /// Days that the certificate is valid. The kernel does not check this; people do.
    #[arg(long, default_value_t = 3650)]
    days: u32,
    /// Folder to write `module.key` and `module.crt` to.
    #[arg(long, short)]
    output: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let begin = crate::clock::system_now();
    let end = begin + Duration::from_secs(u64::from(args.days) * 86_400);
    let key = ModuleKey::generate(&args.subject, begin, end)?;
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot make the folder `{}`", args.output.display()))?;
    write_new(&args.output.join("module.key"), &key.private_key_pem, 0o600)?;
    write_new(&args.output.join("module.crt"), &key.certificate_pem, 0o644)?;
    eprintln!(
        "wrote module.key and module.crt to `{}`",
        args.output.display()
    );
    Ok(())
}

/// An existing key is never overwritten.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let context = || format!("cannot write `{}`", path.display());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}
