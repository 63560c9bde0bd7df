//! `livepatch check`: before a token is bought or copied.
//!
//! It asks the repository itself and not the daemon: metadata is open to everyone, so anyone may
//! run it, and nothing of it is kept.

use clap::ValueEnum;
use serde::Serialize;
use suture_kernel::KernelBuild;

use super::print;
use crate::clock::{Clock as _, SystemClock};
use crate::config;
use crate::coverage::Series;
use crate::exit_code::ExitCode;
use crate::facts;
use crate::failure::Failure;
use crate::http;
use crate::patches::Patches;
use crate::paths::Paths;
use crate::transport::HttpTransport;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 live patches are made for this kernel, 1 it is not known, \
                        5 none are, 8 they are for kernels like it and not yet for it"
)]
pub struct Args {
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Whether a kernel is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Covered {
    Yes,
    NotBuiltYet,
    No,
    /// The kernel was built without live patching.
    NoLivepatch,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    schema_version: u32,
    kernel: &'a KernelBuild,
    covered: Covered,
    kernels_with_live_patches: Vec<&'a str>,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    let kernel = facts::kernel_build(paths).map_err(|error| Failure::from_error(&error))?;
    let (covered, series) = if facts::has_livepatch(paths) {
        let series = ask(paths, &kernel)?;
        (covered(&series), Some(series))
    } else {
        (Covered::NoLivepatch, None)
    };
    print(&match args.format {
        Format::Human => human(&kernel, covered, series.as_ref()),
        Format::Json => json(&kernel, covered, series.as_ref())?,
    })?;
    Ok(match covered {
        Covered::Yes => ExitCode::Success,
        Covered::NotBuiltYet => ExitCode::NotBuiltYet,
        Covered::No | Covered::NoLivepatch => ExitCode::NotCovered,
    })
}

fn ask(paths: &Paths, kernel: &KernelBuild) -> Result<Series, Failure> {
    let settings = config::load(paths)?;
    let server = settings.server()?;
    let cannot = |error: std::io::Error| {
        Failure::new("cannot ask the repository").because(error.to_string())
    };
    let folder = tempfile::tempdir().map_err(cannot)?;
    let agent = http::client(&settings, &server).map_err(|error| Failure::from_error(&error))?;
    let transport = HttpTransport::anonymous(agent, server.clone());
    let patches = Patches::for_once(&settings.root, folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot)?;
    let series = patches.series(&server, transport, kernel, SystemClock.now());
    Ok(runtime.block_on(series)?)
}

fn covered(series: &Series) -> Covered {
    if series.built {
        Covered::Yes
    } else if series.is_built_later() {
        Covered::NotBuiltYet
    } else {
        Covered::No
    }
}

fn human(kernel: &KernelBuild, covered: Covered, series: Option<&Series>) -> String {
    let release = &kernel.release;
    let mut text = match covered {
        Covered::Yes => format!("✓ Live patches are made for {release}.\n"),
        Covered::NotBuiltYet => format!(
            "⧗ Live patches are made for kernels like {release}, and not yet for this one.\n"
        ),
        Covered::No => format!("✗ No live patches are made for {release}.\n"),
        Covered::NoLivepatch => {
            format!("✗ {release} was built without live patching (CONFIG_LIVEPATCH).\n")
        }
    };
    let releases = releases(series);
    if covered != Covered::Yes && !releases.is_empty() {
        text.push_str(&format!("  They are made for: {}\n", releases.join(", ")));
    }
    text
}

fn releases(series: Option<&Series>) -> Vec<&str> {
    let releases = series.into_iter().flat_map(|series| &series.releases);
    releases.map(|release| release.as_str()).collect()
}

fn json(
    kernel: &KernelBuild,
    covered: Covered,
    series: Option<&Series>,
) -> Result<String, Failure> {
    let document = Document {
        schema_version: 1,
        kernel,
        covered,
        kernels_with_live_patches: releases(series),
    };
    let mut text =
        serde_json::to_string_pretty(&document).map_err(|error| Failure::from_error(&error))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, Service, manifest, module, time};

    /// What a machine with this release hears from a repository with a patch for 6.1.0-53.
    async fn asked(service: &Service, release: &str) -> (Covered, String) {
        let tree = FakeTree::new();
        tree.write("etc/livepatch/root.json", &service.root);
        let config = format!("remote-server = \"{}\"\n", service.url());
        tree.write("etc/livepatch/config.d/50-site.toml", config.as_bytes());
        tree.write("proc/sys/kernel/osrelease", release.as_bytes());
        let paths = tree.paths();
        let told = tokio::task::spawn_blocking(move || {
            let kernel = facts::kernel_build(&paths).unwrap();
            let series = ask(&paths, &kernel).unwrap();
            let covered = covered(&series);
            (covered, human(&kernel, covered, Some(&series)))
        });
        told.await.unwrap()
    }

    #[tokio::test]
    async fn anyone_may_ask_before_enrolment_and_gets_one_of_three_answers() {
        let service = Service::start().await;
        let module = module("1.1", "6.1.0-53-amd64");
        // The repository's times are of today: this command asks the real clock.
        let now = SystemClock.now();
        service
            .publish(&manifest("1.1", &module), module, now)
            .await;
        assert!(now > time(-1_000_000_000));
        let (covered, text) = asked(&service, "6.1.0-53-amd64").await;
        assert_eq!(covered, Covered::Yes, "{text}");
        let (covered, text) = asked(&service, "6.1.0-54-amd64").await;
        assert_eq!(covered, Covered::NotBuiltYet);
        assert!(
            text.ends_with("They are made for: 6.1.0-53-amd64\n"),
            "{text}"
        );
        let (covered, text) = asked(&service, "6.12.3-1-amd64").await;
        assert_eq!(covered, Covered::No, "{text}");
        assert_eq!(service.desk().check_ins, [], "nobody was enrolled");
    }
}
