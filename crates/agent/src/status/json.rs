//! `livepatch status --format json`.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::{StatusReport, view};
use crate::evidence::trouble_name;
use crate::mode::Mode;

/// Of the documents in JSON and YAML.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    /// Rises when a field changes its meaning or goes; new fields don't raise it.
    #[serde(rename = "Schema-Version")]
    schema_version: u32,
    #[serde(rename = "Client-Version")]
    client_version: &'a str,
    #[serde(rename = "Machine-Id")]
    machine_id: &'a str,
    architecture: &'a str,
    #[serde(rename = "CPU-Model")]
    cpu_model: &'a str,
    #[serde(rename = "Last-Check")]
    last_check: Option<Timestamp>,
    #[serde(rename = "Boot-Time")]
    boot_time: Timestamp,
    /// Seconds, as text.
    uptime: String,
    status: [Kernel<'a>; 1],
    #[serde(rename = "tier")]
    tier: &'a str,
    /// Of the life cycle, e.g. `in transition`.
    stage: String,
    /// What holds the agent back, where something does: `stop`, `no-apply`, `no-refresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regular_update: Option<RegularUpdate<'a>>,
    /// Holes of the running kernel that no live patch closes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_live_patched: Vec<OpenHole<'a>>,
    /// Why the agent cannot keep its state, and so applies nothing new.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_failure: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernel_trouble: Vec<Trouble<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OpenHole<'a> {
    name: &'a str,
    reason: &'a str,
}

/// Newer kernels; one at least.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegularUpdate<'a> {
    /// Waits for a restart.
    installed: Option<&'a str>,
    /// Waits for an upgrade.
    offered: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Trouble<'a> {
    at: Timestamp,
    kind: &'a str,
    version: Option<String>,
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Transition<'a> {
    open_seconds: u64,
    reverse_in_seconds: Option<u64>,
    tasks: Vec<TransitionTask<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TransitionTask<'a> {
    id: u32,
    name: &'a str,
    state: &'a str,
    functions: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kernel<'a> {
    kernel: &'a str,
    /// GNU build id of the kernel.
    build_id: &'a str,
    running: bool,
    livepatch: Livepatch<'a>,
    supported: &'a str,
    upgrade_required_date: Option<Date>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Livepatch<'a> {
    check_state: &'a str,
    /// Why the last check-in failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    check_failure: Option<&'a str>,
    state: &'a str,
    /// Why the patch on offer is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    version: String,
    /// The transition that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    transition: Option<Transition<'a>>,
    /// Why there is nothing to apply, where a patch is made for this kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<String>,
    /// The version in force or on offer of whose early group this machine is.
    #[serde(skip_serializing_if = "Option::is_none")]
    early_group: Option<String>,
    /// The version that comes to this machine in its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    coming: Option<String>,
    /// The version in force, if it was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<Withdrawn<'a>>,
    /// The channel that the machine's group follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    fixes: Vec<Fix<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantine: Vec<Quarantine<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fix<'a> {
    name: String,
    description: &'a str,
    bug: &'a str,
    patched: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Withdrawn<'a> {
    version: String,
    reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Quarantine<'a> {
    version: String,
    reason: &'a str,
    since: Timestamp,
}

/// The document of an enabled machine.
pub fn json(report: &StatusReport) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&document(report))?;
    text.push('\n');
    Ok(text)
}

fn document(report: &StatusReport) -> Document<'_> {
    Document {
        schema_version: SCHEMA_VERSION,
        client_version: &report.agent_version,
        machine_id: report.machine_id.as_str(),
        architecture: report.kernel.architecture.as_str(),
        cpu_model: &report.cpu_model,
        last_check: report.check.last_success(),
        boot_time: report.boot_time,
        uptime: report.uptime_secs.to_string(),
        status: [Kernel {
            kernel: report.kernel.release.as_str(),
            build_id: report.kernel.build_id.as_str(),
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
        mode: (report.brake.mode != Mode::Normal).then(|| report.brake.mode.as_str()),
        regular_update: regular_update(report),
        not_live_patched: report
            .notice
            .not_live_patched
            .iter()
            .map(|(name, reason)| OpenHole { name, reason })
            .collect(),
        state_failure: report.unwritten.as_ref().map(|it| it.one_line()),
        kernel_trouble: report.trouble.iter().map(trouble).collect(),
    }
}

fn regular_update(report: &StatusReport) -> Option<RegularUpdate<'_>> {
    let update = &report.regular_update;
    (update.installed.is_some() || update.offered.is_some()).then(|| RegularUpdate {
        installed: update.installed.as_ref().map(|it| it.release.as_str()),
        offered: update.offered.as_ref().map(|it| it.release.as_str()),
    })
}

fn trouble(trouble: &super::TroubleReport) -> Trouble<'_> {
    Trouble {
        at: trouble.at,
        kind: trouble_name(trouble.kind),
        version: trouble.names_patch.map(|version| version.to_string()),
        text: &trouble.text,
    }
}

fn transition(report: &StatusReport) -> Option<Transition<'_>> {
    let tasks = report.unpatched_tasks.iter().map(|task| TransitionTask {
        id: task.id,
        name: &task.name,
        state: &task.state,
        functions: &task.functions,
    });
    let transition = report.transition.as_ref()?;
    Some(Transition {
        open_seconds: transition.open_secs,
        reverse_in_seconds: transition.reverse_in_secs,
        tasks: tasks.collect(),
    })
}

fn livepatch(report: &StatusReport) -> Livepatch<'_> {
    let fixes = report.fixes.iter().map(|fix| Fix {
        name: fix.cve.to_lowercase(),
        description: if fix.description.is_empty() {
            &fix.title
        } else {
            &fix.description
        },
        bug: "",
        patched: fix.patched,
    });
    let quarantine = report.quarantine.iter().map(|entry| Quarantine {
        version: entry.version.to_string(),
        reason: &entry.reason,
        since: entry.at,
    });
    let rollout = &report.rollout;
    Livepatch {
        check_state: view::check_state(&report.check),
        check_failure: match &report.check {
            super::CheckReport::Failed { message, .. } => Some(message),
            super::CheckReport::Never | super::CheckReport::Succeeded { .. } => None,
        },
        state: view::state(report),
        failure: view::failure(&report.patch),
        version: view::version(&report.patch)
            .map(|version| version.to_string())
            .unwrap_or_default(),
        transition: transition(report),
        held_back: view::held_back(report),
        early_group: rollout.early_group.map(|version| version.to_string()),
        coming: rollout.coming.map(|version| version.to_string()),
        withdrawn: rollout.withdrawn.as_ref().map(|it| Withdrawn {
            version: it.version.to_string(),
            reason: &it.reason,
        }),
        channel: rollout.channel.as_ref().map(|name| name.as_str()),
        fixes: fixes.collect(),
        quarantine: quarantine.collect(),
    }
}
