//! `suture build`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture_advisory::{CveId, PatchVersion, Record, Severity, SeverityClaim};
use suture_factory::{BuildOutput, BuildRequest, SmokePlan};
use suture_kernel::signature::{SigningKey, certificate_from_pem};
use suture_kernel::{InvalidName, KernelRelease};
use suture_protocol::SmokeTest;

use crate::progress::Steps;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel release to patch, as `uname -r` prints it.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Version of the live patch, `N.M`.
    #[arg(long, value_name = "N.M")]
    patch_version: PatchVersion,
    /// Diff against the kernel's source; several apply in the given order.
    #[arg(long = "fix", required = true, value_name = "FILE")]
    fixes: Vec<PathBuf>,
    /// CVE record (JSON 5) of a hole that the fixes close.
    #[arg(long = "advisory", required = true, value_name = "FILE")]
    advisories: Vec<PathBuf>,
    /// Your own rating of a hole, e.g. `CVE-2026-90327=high`; it decides in place of the claims
    /// of the hole's record.
    #[arg(long = "severity", requires = "rated_by", value_name = "CVE=SEVERITY", value_parser = parse_rating)]
    severities: Vec<(CveId, Severity)>,
    /// Who makes these ratings.
    #[arg(long, requires = "severities", value_name = "NAME")]
    rated_by: Option<String>,
    /// Unit to compile besides the edited ones, for a fix in a header.
    #[arg(long = "unit", value_name = "FILE")]
    units: Vec<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    smoke: SmokeArgs,
    /// Folder to make for the module, its manifest and its source archive.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    cache: super::CacheArgs,
}

/// The key that signs a module.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Private key (PEM) that signs the module.
    #[arg(long, requires = "module_certificate", value_name = "FILE")]
    module_key: Option<PathBuf>,
    /// Certificate (PEM) of that key.
    #[arg(long, requires = "module_key", value_name = "FILE")]
    module_certificate: Option<PathBuf>,
}

/// How the module is tried on its kernel before it is signed.
#[derive(Debug, clap::Args)]
pub struct SmokeArgs {
    /// Build without booting the kernel to try the module, for experiments. The reason is kept in
    /// the manifest, and `suture publish` refuses the module unless it is told otherwise.
    #[arg(long, value_name = "WHY")]
    skip_smoke_test: Option<String>,
    /// Shell script that is run again and again in the virtual machine while the patch is loaded,
    /// beside the usual work. Each run has to end with status 0.
    #[arg(long, conflicts_with = "skip_smoke_test", value_name = "FILE")]
    smoke_load: Option<PathBuf>,
}

impl SmokeArgs {
    pub(super) fn plan(&self) -> anyhow::Result<SmokePlan> {
        if let Some(why) = &self.skip_smoke_test {
            anyhow::ensure!(
                !why.trim().is_empty(),
                "--skip-smoke-test needs the reason in words"
            );
            return Ok(SmokePlan::Skip { why: why.clone() });
        }
        let load = self.smoke_load.as_deref().map(super::read_input_text);
        Ok(SmokePlan::Run {
            extra_load: load.transpose()?,
        })
    }

    /// Whether it was said that the module is not tried.
    pub(super) fn skips(&self) -> bool {
        self.skip_smoke_test.is_some()
    }
}

impl KeyArgs {
    pub(super) fn read(&self) -> anyhow::Result<Option<(SigningKey, Vec<u8>)>> {
        let (Some(key), Some(certificate)) = (&self.module_key, &self.module_certificate) else {
            return Ok(None);
        };
        let pair = SigningKey::from_pem(&super::read_input_text(key)?)
            .with_context(|| format!("`{}` is no usable key", key.display()))?;
        let certificate = certificate_from_pem(&super::read_input_text(certificate)?)
            .with_context(|| format!("`{}` is no certificate", certificate.display()))?;
        Ok(Some((pair, certificate)))
    }
}

fn parse_rating(text: &str) -> Result<(CveId, Severity), String> {
    let (cve, severity) = text.split_once('=').ok_or("expected CVE=SEVERITY")?;
    let severity = serde_json::Value::String(severity.to_lowercase());
    let severity = serde_json::from_value(severity)
        .map_err(|_| "expected none, low, medium, high or critical".to_owned())?;
    Ok((
        cve.parse()
            .map_err(|error: InvalidName| error.to_string())?,
        severity,
    ))
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let author = args.rated_by.unwrap_or_default();
    let ratings = args.severities.into_iter();
    let ratings = ratings.map(|(cve, severity)| (cve, SeverityClaim::rated(&author, severity)));
    let advisories = args
        .advisories
        .iter()
        .map(|path| read_record(path))
        .collect::<Result<_, _>>()?;
    let request = BuildRequest {
        release: args.kernel,
        version: args.patch_version,
        fixes: args.fixes,
        advisories,
        ratings: ratings.collect(),
        units: args.units,
        output: args.output,
        cache: args.cache.folder(),
        key: args.key.read()?,
        smoke: args.smoke.plan()?,
        created: crate::clock::now(),
    };
    let output = suture_factory::build(&request, &Steps::new())?;
    describe(&output);
    Ok(())
}

fn read_record(path: &Path) -> anyhow::Result<(Record, String)> {
    let text = super::read_input_text(path)?;
    let record = Record::parse(text.as_bytes())
        .with_context(|| format!("`{}` is no usable CVE record", path.display()))?;
    for disagreement in record.disagreements() {
        eprintln!("note: {disagreement}");
    }
    Ok((record, text))
}

pub(super) fn describe(output: &BuildOutput) {
    let manifest = &output.manifest;
    println!("live patch {} for {}", manifest.version, manifest.kernel);
    for fix in &manifest.fixes {
        let claim = &fix.decisive;
        let score = claim
            .score
            .map_or(String::new(), |score| format!(" {score:.1}"));
        println!(
            "  closes {} ({}{score} by {}): {}",
            fix.cve, claim.severity, claim.author, fix.title
        );
    }
    for object in &manifest.objects {
        for function in &object.functions {
            let sizes = format!("{} → {} bytes", function.old_size, function.new_size);
            println!(
                "  swaps {} of {} ({sizes}, {})",
                function.name, object.name, function.unit
            );
        }
    }
    println!("  module   {}", output.module.display());
    println!("  manifest {}", output.manifest_file.display());
    println!("  source   {}", output.source.display());
    match (&output.smoke, &manifest.smoke_test) {
        (Some(evidence), _) => println!("  smoke test passed: {}", evidence.display()),
        (None, Some(SmokeTest::Skipped { why })) => println!("  not smoke tested: {why}"),
        (None, _) => {}
    }
    for part in &manifest.left_out {
        println!("  left out: {part}");
    }
    if let Some(warning) = output.warning {
        println!("note: {warning}");
    }
}
