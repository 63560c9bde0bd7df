//! `suture publish`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture_factory::SMOKE_FILE;
use suture_kernel::modinfo::Modinfo;
use suture_kernel::signature;
use suture_protocol::{Manifest, SmokeEvidence, SmokeTest, TargetKind, TargetName, built_for};
use suture_repository::{Content, NewTarget};

use super::repository::PublisherArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output folders of `suture build`.
    #[arg(required = true, value_name = "FOLDER")]
    builds: Vec<PathBuf>,
    /// Publish also what was built with --skip-smoke-test, for experiments.
    #[arg(long)]
    untested: bool,
    #[command(flatten)]
    publisher: PublisherArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut targets = Vec::new();
    for folder in &args.builds {
        targets.extend(targets_of(folder, args.untested)?);
    }
    let published = args
        .publisher
        .publisher()
        .publish(targets, crate::clock::now())
        .await?;
    for target in &published.added {
        println!("published {} ({} bytes)", target.name, target.length);
    }
    for target in &published.unchanged {
        println!("unchanged {}", target.name);
    }
    args.publisher.push().await
}

/// The three targets of one build, once they are seen to belong together.
fn targets_of(folder: &Path, untested: bool) -> anyhow::Result<Vec<NewTarget>> {
    let manifest_path = folder.join("manifest.json");
    let bytes = super::read_input(&manifest_path)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no manifest", manifest_path.display()))?;
    anyhow::ensure!(
        manifest.schema == Manifest::SCHEMA,
        "`{}` has the format {}, not {}",
        manifest_path.display(),
        manifest.schema,
        Manifest::SCHEMA
    );
    let module = belongs(&folder.join("livepatch.ko"), &manifest.module.file.sha256)?;
    let modinfo = Modinfo::of_module(&module)
        .with_context(|| format!("the module in `{}` is unreadable", folder.display()))?;
    anyhow::ensure!(
        built_for(&modinfo).as_ref() == Some(&manifest.kernel),
        "the module in `{}` was not made for {}; build it again",
        folder.display(),
        manifest.kernel
    );
    match &manifest.smoke_test {
        Some(SmokeTest::Passed { evidence }) => {
            let evidence = belongs(&folder.join(SMOKE_FILE), &evidence.sha256)?;
            check_evidence(&evidence, &manifest, &module)
                .with_context(|| format!("the smoke test of `{}`", folder.display()))?;
        }
        Some(SmokeTest::Skipped { why }) if untested => {
            eprintln!("note: `{}` was not smoke tested: {why}", folder.display());
        }
        Some(SmokeTest::Skipped { why }) => anyhow::bail!(
            "`{}` was not smoke tested ({why}); build it again without --skip-smoke-test, or \
             publish it with --untested where no machine of a customer gets it",
            folder.display()
        ),
        None => anyhow::bail!(
            "the manifest in `{}` tells of no smoke test; build it again",
            folder.display()
        ),
    }
    let source = belongs(&folder.join("source.tar.gz"), &manifest.source.sha256)?;
    let fixes: Vec<_> = manifest.fixes.iter().map(|fix| fix.cve.clone()).collect();
    let target = |kind, content| NewTarget {
        name: TargetName {
            kernel: manifest.kernel.clone(),
            version: manifest.version,
            kind,
        },
        content,
        fixes: fixes.clone(),
    };
    Ok(vec![
        target(TargetKind::Module, Content::Bytes(module)),
        target(TargetKind::Manifest, Content::Bytes(bytes)),
        target(TargetKind::Source, Content::Bytes(source)),
    ])
}

/// The evidence is of a test that passed, with the very bytes that were signed.
fn check_evidence(evidence: &[u8], manifest: &Manifest, module: &[u8]) -> anyhow::Result<()> {
    let evidence: SmokeEvidence =
        serde_json::from_slice(evidence).context("its evidence is unreadable")?;
    if let Some(why) = &evidence.failure {
        anyhow::bail!("it failed: {why}");
    }
    let (unsigned, _) = signature::split(module).context("the module's signature is unreadable")?;
    let tested = evidence.unsigned_sha256 == suture_factory::sha256_hex(unsigned)
        && evidence.kernel == manifest.kernel
        && evidence.version == manifest.version;
    anyhow::ensure!(tested, "it was of another module; build it again");
    for object in evidence.objects.iter().filter(|object| !object.loaded) {
        eprintln!(
            "note: {} could not be loaded for the smoke test: {}",
            object.name, object.why_not
        );
    }
    Ok(())
}

fn belongs(path: &Path, sha256: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = super::read_input(path)?;
    anyhow::ensure!(
        suture_factory::sha256_hex(&bytes) == sha256,
        "`{}` is not the file that its manifest describes; build it again",
        path.display()
    );
    Ok(bytes)
}
