//! `suture rebuild`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture_advisory::{PatchVersion, Record};
use suture_factory::{BuildOutput, BuildRequest, Recipe, SmokePlan, SourceArchive, check_way_back};
use suture_kernel::signature::SigningKey;
use suture_protocol::Manifest;

use crate::progress::Steps;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The published source archive.
    archive: PathBuf,
    /// Folder to make for the results; without a key the module in it is not signed.
    #[arg(long, short)]
    output: PathBuf,
    /// Build it under a later version, which supersedes the one that --instead-of names: the way
    /// back from a withdrawn version.
    #[arg(long = "as", requires = "instead_of", value_name = "N.M")]
    new_version: Option<PatchVersion>,
    /// Build folder of the withdrawn version.
    #[arg(long, requires = "new_version", value_name = "FOLDER")]
    instead_of: Option<PathBuf>,
    #[command(flatten)]
    key: super::build::KeyArgs,
    #[command(flatten)]
    smoke: super::build::SmokeArgs,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let archive = read_archive(&args.archive)?;
    let mut recipe = archive.recipe.clone();
    // The same version again is for comparing bytes; a new one is for machines.
    let smoke = if args.new_version.is_some() || args.smoke.skips() {
        args.smoke.plan()?
    } else {
        for_comparing()
    };
    if let (Some(version), Some(withdrawn)) = (args.new_version, &args.instead_of) {
        check(version, &recipe, withdrawn)?;
        recipe.version = version;
        recipe.created = crate::clock::now();
    }
    let build = Rebuild {
        recipe,
        output: &args.output,
        cache: args.cache.folder(),
        key: args.key.read()?,
        smoke,
    };
    let output = build.run(archive)?;
    super::build::describe(&output);
    println!(
        "  unsigned sha256 {}",
        output.manifest.module.unsigned_sha256
    );
    Ok(())
}

/// Reads a published source archive.
pub(super) fn read_archive(path: &Path) -> anyhow::Result<SourceArchive> {
    let bytes = super::read_input(path)?;
    SourceArchive::read(&bytes)
        .map_err(|why| anyhow::anyhow!("`{}` is no source archive: {why}", path.display()))
}

/// A module that is only compared is not tried on a kernel.
pub(super) fn for_comparing() -> SmokePlan {
    SmokePlan::Skip {
        why: "rebuilt to compare it with what was published".to_owned(),
    }
}

/// A build from a source archive.
pub(super) struct Rebuild<'a> {
    /// The archive's, or with a version of its own.
    pub recipe: Recipe,
    pub output: &'a Path,
    pub cache: PathBuf,
    pub key: Option<(SigningKey, Vec<u8>)>,
    pub smoke: SmokePlan,
}

impl Rebuild<'_> {
    pub(super) fn run(self, archive: SourceArchive) -> anyhow::Result<BuildOutput> {
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
        let request = BuildRequest {
            release: self.recipe.release,
            version: self.recipe.version,
            fixes,
            advisories,
            ratings: self.recipe.ratings,
            units: self.recipe.units,
            output: self.output.to_owned(),
            cache: self.cache,
            key: self.key,
            smoke: self.smoke,
            created: self.recipe.created,
        };
        Ok(suture_factory::build(&request, &Steps::new())?)
    }
}

/// Refuses a way back that would be unsafe.
fn check(version: PatchVersion, recipe: &Recipe, withdrawn: &Path) -> anyhow::Result<()> {
    let path = withdrawn.join("manifest.json");
    let manifest: Manifest = serde_json::from_slice(&super::read_input(&path)?)
        .with_context(|| format!("`{}` is no manifest", path.display()))?;
    let module = super::read_input(&withdrawn.join("livepatch.ko"))?;
    let earlier = (recipe.version, &recipe.release);
    check_way_back(version, earlier, &manifest, &module)
        .context("there is no way back with these fixes")
}
