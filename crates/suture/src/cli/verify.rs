//! `suture verify`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use suture_differ::object::Object;
use suture_kernel::signature;

use super::rebuild::{Rebuild, for_comparing, read_archive};

/// Builds a published source archive again, in a folder of its own, and compares the bytes before
/// signing with a module: exit status 0 if they are the same, 1 if not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The live patch, signed or not.
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// The source archive that was published with it.
    #[arg(long, value_name = "ARCHIVE")]
    source: PathBuf,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shown = args.module.display();
    let module = super::read_input(&args.module)?;
    let (published, signature) =
        signature::split(&module).with_context(|| format!("`{shown}` is no sound module"))?;
    let archive = read_archive(&args.source)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let build = Rebuild {
        recipe: archive.recipe.clone(),
        output: &scratch.path().join("again"),
        cache: args.cache.folder(),
        key: None,
        smoke: for_comparing(),
    };
    let output = build.run(archive)?;
    let built = super::read_input(&output.module)?;
    let (version, kernel) = (output.manifest.version, &output.manifest.kernel.release);
    let source = args.source.display();
    if built == published {
        let signed = if signature.is_some() {
            "before its signature"
        } else {
            "which is not signed"
        };
        println!(
            "`{shown}` is what `{source}` makes: live patch {version} for {kernel}, the same {} \
             bytes ({signed}), SHA-256 {}",
            built.len(),
            output.manifest.module.unsigned_sha256
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "`{shown}` is not what `{source}` makes: live patch {version} for {kernel} differs {}",
        difference(published, &built)
    );
    Ok(ExitCode::FAILURE)
}

/// Where two modules differ first, in the words of a person who has to look there.
fn difference(published: &[u8], built: &[u8]) -> String {
    if let (Ok(left), Ok(right)) = (Object::parse(published), Object::parse(built)) {
        let mut pairs = left.sections.iter().zip(&right.sections);
        if let Some((one, _)) = pairs.find(|(one, other)| {
            (&one.name, &one.data, &one.relocations)
                != (&other.name, &other.data, &other.relocations)
        }) {
            return format!("first in section `{}`", one.name);
        }
    }
    let same = published
        .iter()
        .zip(built)
        .take_while(|(a, b)| a == b)
        .count();
    format!(
        "from byte {same} on ({} bytes against {})",
        published.len(),
        built.len()
    )
}
