//! The state of the machine for Prometheus' node exporter, which reads such files from a folder
//! (source: its `textfile` collector, and Prometheus' text format).

use std::fmt::Write;

use super::{CheckReport, StatusReport, needs_upgrade, view};

/// The text of `livepatch.prom`.
pub fn metrics(report: &StatusReport) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, labels: &str, value: i64| {
        // Cannot fail: a string grows.
        let _ = write!(
            text,
            "# HELP livepatch_{name} {help}\n# TYPE livepatch_{name} gauge\n\
             livepatch_{name}{labels} {value}\n"
        );
    };
    let update = &report.regular_update;
    gauge(
        "enabled",
        "Whether the machine is enabled.",
        "",
        i64::from(report.enrolment.is_some()),
    );
    let version = view::version(&report.patch).map(|version| version.to_string());
    let labels = format!(
        "{{kernel=\"{}\",state=\"{}\",version=\"{}\"}}",
        report.kernel.release.as_str(),
        view::state(report),
        version.unwrap_or_default()
    );
    gauge("patch_info", "The patch of the running kernel.", &labels, 1);
    gauge(
        "check_failed",
        "Whether the last check-in brought no answer.",
        "",
        i64::from(matches!(report.check, CheckReport::Failed { .. })),
    );
    if let Some(at) = report.check.last_success() {
        gauge(
            "last_check_timestamp_seconds",
            "When the server answered last.",
            "",
            at.as_second(),
        );
    }
    gauge(
        "restart_pending",
        "Whether a newer kernel is installed and waits for a restart.",
        "",
        i64::from(update.installed.is_some()),
    );
    gauge(
        "kernel_offered",
        "Whether a newer kernel can be installed.",
        "",
        i64::from(update.offered.is_some()),
    );
    gauge(
        "kernel_upgrade_required",
        "Whether live patches cannot protect the running kernel any longer.",
        "",
        i64::from(needs_upgrade(report)),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::PatchState;
    use crate::testing::{report, version};

    #[test]
    fn the_file_has_one_value_for_each_question() {
        let machine = report(PatchState::Applied {
            version: version("104.1"),
        });
        insta::assert_snapshot!(metrics(&machine), @r#"
        # HELP livepatch_enabled Whether the machine is enabled.
        # TYPE livepatch_enabled gauge
        livepatch_enabled 1
        # HELP livepatch_patch_info The patch of the running kernel.
        # TYPE livepatch_patch_info gauge
        livepatch_patch_info{kernel="6.1.0-53-amd64",state="applied",version="104.1"} 1
        # HELP livepatch_check_failed Whether the last check-in brought no answer.
        # TYPE livepatch_check_failed gauge
        livepatch_check_failed 0
        # HELP livepatch_last_check_timestamp_seconds When the server answered last.
        # TYPE livepatch_last_check_timestamp_seconds gauge
        livepatch_last_check_timestamp_seconds 1795435200
        # HELP livepatch_restart_pending Whether a newer kernel is installed and waits for a restart.
        # TYPE livepatch_restart_pending gauge
        livepatch_restart_pending 0
        # HELP livepatch_kernel_offered Whether a newer kernel can be installed.
        # TYPE livepatch_kernel_offered gauge
        livepatch_kernel_offered 0
        # HELP livepatch_kernel_upgrade_required Whether live patches cannot protect the running kernel any longer.
        # TYPE livepatch_kernel_upgrade_required gauge
        livepatch_kernel_upgrade_required 0
        "#);
    }
}
