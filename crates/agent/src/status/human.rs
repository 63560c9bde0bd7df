//! `livepatch status`: for a person. The signs repeat what the words say.

use crate::evidence::trouble_name;
use crate::mode::Mode;

use super::{
    CheckReport, Coverage, PatchState, RolloutReport, StatusReport, not_live_patched,
    regular_update, view,
};

/// Longest paragraph on a hole, in characters.
const DESCRIPTION: usize = 400;
/// Kernels with live patches that are named, the newest.
const SHOWN_RELEASES: usize = 5;

/// The text for an enabled machine; `verbose` adds the holes, open tasks and machine facts.
pub fn human(report: &StatusReport, verbose: bool) -> String {
    let mut lines = vec![
        format!("last check: {}", last_check(report)),
        format!("kernel: {}", report.kernel.release),
        format!("server check-in: {}", server_check_in(&report.check)),
        format!("kernel state: {}", kernel_state(report.coverage)),
        format!("patch state: {}", patch_state(report)),
    ];
    lines.extend(transition(report));
    if report.brake.mode != Mode::Normal {
        lines.push(format!(
            "mode: {}\n  hint: {}",
            report.brake,
            report.brake.hint()
        ));
    }
    if let Some(version) = report.patch.in_force() {
        lines.push(format!("patch version: {version}"));
    }
    lines.extend(held(report).map(|held| format!("nothing new comes: {held}")));
    lines.extend(rollout(&report.rollout, verbose));
    if let Some(enrolment) = &report.enrolment {
        let channel = report.rollout.channel.as_ref();
        let channel = channel.map(|name| format!(", channel {name}"));
        let channel = channel.unwrap_or_default();
        lines.push(format!("tier: {}{channel}", enrolment.plan));
    }
    lines.push(format!("machine id: {}", report.machine_id));
    // The patch state tells of the version on offer already.
    let others = report
        .quarantine
        .iter()
        .filter(|entry| Some(entry.version) != report.patch.newest());
    for entry in others {
        lines.push(format!(
            "quarantined: {} since {}: {}",
            entry.version, entry.at, entry.reason
        ));
    }
    lines.extend(unwritten(report));
    lines.extend(regular_update(report).map(|text| format!("regular update: {text}")));
    lines.extend(not_live_patched(report).map(|text| format!("not live patched: {text}")));
    lines.extend(trouble(report, verbose));
    if !report.covered_releases.is_empty() && (verbose || report.patch.newest().is_none()) {
        let releases = report.covered_releases.iter().rev().take(SHOWN_RELEASES);
        let releases: Vec<_> = releases.map(|release| release.as_str()).collect();
        lines.push(format!(
            "kernels with live patches: {}",
            releases.join(", ")
        ));
    }
    lines = lines.iter().flat_map(|text| keyed(text)).collect();
    if verbose {
        lines.extend(details(report));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The lines of a text, each with a key before a colon: Landscape's client takes every line apart
/// at its first colon and has no other way (landscape-client, `manager/livepatch.py`).
fn keyed(text: &str) -> Vec<String> {
    let keyed = |line: &str| match line.contains(':') {
        true => line.to_owned(),
        false => format!("  note: {}", line.trim()),
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(keyed).collect()
}

/// How long the transition is open, who holds it, and what comes of it.
fn transition(report: &StatusReport) -> Vec<String> {
    let Some(transition) = &report.transition else {
        return Vec::new();
    };
    let open = view::duration(transition.open_secs);
    let mut line = format!("transition: open for {open}");
    let tasks = &report.unpatched_tasks;
    if let Some(first) = tasks.first() {
        line.push_str(&format!(", held by task {first}"));
    }
    if tasks.len() > 1 {
        line.push_str(&format!(" and {} more", tasks.len() - 1));
    }
    if let Some(secs) = transition.reverse_in_secs {
        let time = view::duration(secs);
        line.push_str(&format!(
            "\n  note: it is taken back in {time}, and tried again later"
        ));
    }
    vec![line]
}

/// The agent can't keep its state. What is in force stays, but nothing new is applied.
fn unwritten(report: &StatusReport) -> Option<String> {
    let failure = report.unwritten.as_ref()?;
    let mut line = format!("nothing new is applied: {}", failure.one_line());
    if let Some(hint) = &failure.hint {
        line.push_str(&format!("\n  hint: {hint}"));
    }
    Some(line)
}

/// Trouble of patches of ours always; that of others when asked for more.
fn trouble(report: &StatusReport, verbose: bool) -> Vec<String> {
    let ours = |trouble: &&super::TroubleReport| verbose || trouble.names_patch.is_some();
    let line = |trouble: &super::TroubleReport| {
        let whose = match trouble.names_patch {
            Some(version) => format!(" in patched code of {version}"),
            None => String::new(),
        };
        format!(
            "kernel trouble: {}{whose} at {}: {}",
            trouble_name(trouble.kind),
            trouble.at,
            trouble.text
        )
    };
    report.trouble.iter().filter(ours).map(line).collect()
}

/// What keeps the machine from new versions, where the patch state does not say it.
fn held(report: &StatusReport) -> Option<&str> {
    let told = report.patch == PatchState::HeldBack;
    report.rollout.held.as_deref().filter(|_| !told)
}

/// The rollouts that concern this machine; `verbose` adds what they are for.
fn rollout(report: &RolloutReport, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(withdrawn) = &report.withdrawn {
        lines.push(format!(
            "withdrawn: {}: {}\n  note: it stays in force until a later version replaces it",
            withdrawn.version, withdrawn.reason
        ));
    }
    if let Some(version) = report.early_group {
        lines.push(format!("early group: this machine is in that of {version}"));
        if verbose {
            lines.push(
                "  note: the group is drawn anew for each patch and gets it before others; trouble \
                 here stops it for them"
                    .to_owned(),
            );
        }
    }
    if let Some(version) = report.coming {
        lines.push(format!(
            "coming: {version} is being rolled out, this machine's turn comes"
        ));
    }
    lines
}

fn last_check(report: &StatusReport) -> String {
    match report.check.last_success() {
        None => "never".to_owned(),
        Some(at) => ago(report.now.duration_since(at).as_secs().max(0)),
    }
}

fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn server_check_in(check: &CheckReport) -> String {
    match check {
        CheckReport::Never => "pending".to_owned(),
        CheckReport::Succeeded { .. } => "succeeded".to_owned(),
        CheckReport::Failed { message, .. } => format!("failed: {message}"),
    }
}

fn kernel_state(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Unknown => "✗ not known yet, the server was not asked for this kernel",
        Coverage::Covered => "✓ covered by live patches",
        Coverage::NotCovered => "✗ not covered, no live patches are made for this kernel",
        Coverage::Ended => "✗ no longer covered, upgrade the kernel and restart",
        Coverage::NotBuiltYet => "⧗ covered, but no live patch is built for this very kernel yet",
        Coverage::NoLivepatch => "✗ not covered, the kernel was built without live patching",
    }
}

fn patch_state(report: &StatusReport) -> String {
    match &report.patch {
        PatchState::NotChecked => "⧗ not known yet".to_owned(),
        PatchState::NothingToApply => "✓ none needed for this kernel now".to_owned(),
        PatchState::NotCovered => "✗ none is made for this kernel".to_owned(),
        PatchState::NotBuiltYet => {
            "⧗ not built yet: kernels like this one have patches, this one's comes".to_owned()
        }
        PatchState::Deferred { wanted, reason, .. } => {
            format!("⧗ {wanted} is held back here: {reason}")
        }
        PatchState::Reversing { version, .. } => {
            format!("⧗ {version} is taken back, its transition did not end")
        }
        PatchState::HeldBack => match &report.rollout.held {
            Some(held) => format!("⧗ held back: {held}"),
            None => "⧗ held back: its rollout has not come to this machine yet".to_owned(),
        },
        PatchState::Withdrawn { version, reason } => format!(
            "⧗ {version} was withdrawn and is not applied again: {reason}\n  hint: wait for its \
             replacement"
        ),
        PatchState::Pending { wanted, .. } => format!("⧗ {wanted} is on offer, not applied yet"),
        PatchState::Applying {
            version,
            stalled: false,
            ..
        } => format!("⧗ applying {version}"),
        PatchState::Applying {
            version,
            stalled: true,
            ..
        } => {
            format!("⧗ applying {version}, some tasks still run the old code")
        }
        PatchState::Applied { .. } => "✓ all applied".to_owned(),
        PatchState::Failed {
            wanted,
            reason,
            hint,
            ..
        } => {
            let hint = hint
                .as_ref()
                .map(|hint| format!("\n  hint: {hint}"))
                .unwrap_or_default();
            format!("✗ {wanted} not applied: {reason}{hint}")
        }
        PatchState::Quarantined { wanted, reason, .. } => format!(
            "✗ {wanted} is not applied again: {reason}\n  hint: wait for its replacement, or lift \
             it with `livepatch quarantine lift {wanted}`"
        ),
    }
}

fn details(report: &StatusReport) -> Vec<String> {
    let mut lines = vec![
        format!("client version: {}", report.agent_version),
        format!("stage: {}", report.stage.kind()),
        format!("architecture: {}", report.kernel.architecture),
        format!("cpu model: {}", report.cpu_model),
        format!("kernel build id: {}", report.kernel.build_id),
        format!("boot time: {}", report.boot_time),
        format!("uptime: {}", view::duration(report.uptime_secs)),
    ];
    if let Some(enrolment) = &report.enrolment {
        lines.push(format!("server: {}", enrolment.server));
    }
    if !report.unpatched_tasks.is_empty() {
        lines.push("tasks that hold the transition open:".to_owned());
        let task = |task: &crate::livepatch_sysfs::Task| format!("  {task}");
        lines.extend(report.unpatched_tasks.iter().map(task));
    }
    if !report.fixes.is_empty() {
        lines.push("fixes:".to_owned());
    }
    for fix in &report.fixes {
        let unpatched = if fix.patched { "" } else { " (unpatched)" };
        lines.push(format!("  * {}{unpatched}: {}", fix.cve, fix.title));
        let description = shortened(&fix.description, DESCRIPTION);
        lines.extend(description.lines().map(|line| format!("    {line}")));
    }
    lines
}

/// The text, or its first words with `…` where it has more than `limit` characters.
fn shortened(text: &str, limit: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(limit) else {
        return text.to_owned();
    };
    let (head, rest) = text.split_at(end);
    let head = match head.rfind(char::is_whitespace) {
        Some(space) if !rest.starts_with(char::is_whitespace) => &head[..space],
        _ => head,
    };
    format!("{} …", head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_ends_with_a_whole_word_and_a_sign() {
        assert_eq!(shortened("fix a leak", 10), "fix a leak");
        assert_eq!(shortened("fix a leaky pipe", 10), "fix a …");
        assert_eq!(shortened("fix a leak in it", 10), "fix a leak …");
        assert_eq!(shortened("größer als es war", 8), "größer …");
        assert_eq!(shortened("0123456789", 4), "0123 …");
    }
}
