//! `suture rebuild`

use std::path::PathBuf;

use anyhow::Context as _;
use suture_advisory::Record;
use suture_factory::{BuildRequest, SourceArchive};

use crate::progress::Steps;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The published source archive.
    archive: PathBuf,
    /// Folder to make for the results; the module in it is not signed.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = super::read_input(&args.archive)?;
    let archive = SourceArchive::read(&bytes).map_err(|why| {
        anyhow::anyhow!("`{}` is no source archive: {why}", args.archive.display())
    })?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut fixes = Vec::new();
    for (index, text) in archive.fixes.iter().enumerate() {
        let path = scratch.path().join(format!("{:04}.diff", index + 1));
        std::fs::write(&path, text)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        fixes.push(path);
    }
    let advisories = archive
        .advisories
        .into_iter()
        .map(|text| Ok((Record::parse(text.as_bytes())?, text)))
        .collect::<anyhow::Result<_>>()
        .context("the archive holds an unusable CVE record")?;
    let recipe = archive.recipe;
    let request = BuildRequest {
        release: recipe.release,
        version: recipe.version,
        fixes,
        advisories,
        ratings: recipe.ratings,
        units: recipe.units,
        output: args.output.clone(),
        cache: args.cache.folder(),
        key: None,
        created: recipe.created,
    };
    let output = suture_factory::build(&request, &Steps::new())?;
    super::build::describe(&output);
    println!(
        "  unsigned sha256 {}",
        output.manifest.module.unsigned_sha256
    );
    Ok(())
}
