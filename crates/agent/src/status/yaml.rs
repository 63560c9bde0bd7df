//! `livepatch status --format yaml`: the same facts under this format's own names.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::{StatusReport, view};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    schema_version: u32,
    client_version: &'a str,
    machine_id: &'a str,
    architecture: &'a str,
    cpu_model: &'a str,
    last_check: Option<Timestamp>,
    boot_time: Timestamp,
    uptime: String,
    status: [Kernel<'a>; 1],
    tier: &'a str,
    stage: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kernel<'a> {
    kernel: &'a str,
    running: bool,
    livepatch: Livepatch<'a>,
    supported: &'a str,
    upgrade_required_date: Option<Date>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Livepatch<'a> {
    check_state: &'a str,
    patch_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    early_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coming: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<Withdrawn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    /// One line per hole: `* CVE-…`.
    fixes: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Withdrawn<'a> {
    version: String,
    reason: &'a str,
}

/// The document of an enabled machine.
pub fn yaml(report: &StatusReport) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&Document {
        schema_version: super::json::SCHEMA_VERSION,
        client_version: &report.agent_version,
        machine_id: report.machine_id.as_str(),
        architecture: report.kernel.architecture.as_str(),
        cpu_model: &report.cpu_model,
        last_check: report.check.last_success(),
        boot_time: report.boot_time,
        uptime: view::duration(report.uptime_secs),
        status: [Kernel {
            kernel: report.kernel.release.as_str(),
            running: true,
            livepatch: livepatch(report),
            supported: view::supported(report.coverage),
            upgrade_required_date: report.notice.covered_until,
        }],
        tier: report
            .enrolment
            .as_ref()
            .map_or("", |enrolment| &enrolment.plan),
        stage: report.stage.kind().to_string(),
    })
}

fn livepatch(report: &StatusReport) -> Livepatch<'_> {
    let line = |fix: &super::FixReport| {
        let unpatched = if fix.patched { "" } else { " (unpatched)" };
        format!("* {}{unpatched}\n", fix.cve)
    };
    let rollout = &report.rollout;
    Livepatch {
        check_state: view::check_state(&report.check),
        patch_state: view::state(report),
        failure: view::failure(&report.patch),
        version: view::version(&report.patch)
            .map(|version| version.to_string())
            .unwrap_or_default(),
        held_back: view::held_back(report),
        early_group: rollout.early_group.map(|version| version.to_string()),
        coming: rollout.coming.map(|version| version.to_string()),
        withdrawn: rollout.withdrawn.as_ref().map(|it| Withdrawn {
            version: it.version.to_string(),
            reason: &it.reason,
        }),
        channel: rollout.channel.as_ref().map(|name| name.as_str()),
        fixes: report.fixes.iter().map(line).collect(),
    }
}
