//! What is printed: a line for each thing, for people and for cut, or JSON.

use clap::ValueEnum;
use serde::Serialize;
use suture_server::view::{
    AccountSummary, AuditLine, ChannelView, FleetView, GroupView, HookTestView, HookView,
    MachineRow, OperatorKeySummary, PolicyView, TokenSummary,
};

use crate::cli::output::print;

/// How answers are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines with tabs between their parts.
    #[default]
    Text,
    Json,
}

/// Something that is a line.
pub trait Line {
    fn line(&self) -> String;
}

impl Format {
    pub fn show<T: Line + Serialize>(self, thing: &T) -> anyhow::Result<()> {
        match self {
            Self::Text => print(&format!("{}\n", thing.line())),
            Self::Json => print_json(thing),
        }
    }

    pub fn list<T: Line + Serialize>(self, things: &[T]) -> anyhow::Result<()> {
        match self {
            Self::Text => {
                let lines = things.iter().map(|thing| format!("{}\n", thing.line()));
                print(&lines.collect::<String>())
            }
            Self::Json => print_json(&things),
        }
    }
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or("-".to_owned(), T::to_string)
}

impl Line for AccountSummary {
    fn line(&self) -> String {
        let early = self.early.as_str();
        let (email, plan) = (&self.email, &self.plan);
        let (created, machines) = (self.created, self.machines);
        let limit = self.limit.map_or("-".to_owned(), |limit| limit.to_string());
        format!("{email}\t{plan}\t{created}\t{early}\t{machines}\t{limit}")
    }
}

impl Line for GroupView {
    fn line(&self) -> String {
        format!("{}\t{}\t{}", self.name, self.machines, self.policy.line())
    }
}

impl Line for ChannelView {
    fn line(&self) -> String {
        let join = |words: Vec<String>| match words.is_empty() {
            true => "-".to_owned(),
            false => words.join(","),
        };
        let versions = self.promotions.iter().map(|it| it.version.to_string());
        let (groups, versions) = (join(self.groups.clone()), join(versions.collect()));
        format!("{}\t{groups}\t{versions}", self.name)
    }
}

impl Line for HookView {
    fn line(&self) -> String {
        let (name, target, given_up) = (&self.name, &self.target, self.given_up);
        let told = self.told.map_or("never".to_owned(), |at| at.to_string());
        let trouble = self.trouble.as_ref();
        let trouble = trouble.map_or("-", |trouble| trouble.what.as_str());
        format!("{name}\t{target}\t{told}\t{given_up}\t{trouble}")
    }
}

impl Line for HookTestView {
    fn line(&self) -> String {
        self.to_string()
    }
}

impl Line for PolicyView {
    fn line(&self) -> String {
        match self.rules() {
            rules if rules.is_empty() => "everything in its turn".to_owned(),
            rules => rules.join(", "),
        }
    }
}

impl Line for TokenSummary {
    fn line(&self) -> String {
        let state = state(self.revoked);
        format!("{}\t{}\t{}\t{state}", self.id, self.label, self.created)
    }
}

impl Line for OperatorKeySummary {
    fn line(&self) -> String {
        let state = state(self.revoked);
        format!("{}\t{}\t{}\t{state}", self.id, self.name, self.created)
    }
}

fn state(revoked: Option<jiff::Timestamp>) -> String {
    revoked.map_or("valid".to_owned(), |at| format!("revoked {at}"))
}

impl Line for MachineRow {
    fn line(&self) -> String {
        let state = self.state.map_or("new", |state| state.as_str());
        let seen = self.last_check_in.as_ref();
        let seen = seen.map_or("never".to_owned(), ToString::to_string);
        let parts = [
            self.id.to_string(),
            self.hostname.clone(),
            self.kernel.release.to_string(),
            seen,
            state.to_owned(),
            or_dash(self.applied.as_ref()),
            self.owner.clone(),
            or_dash(self.group.as_ref()),
        ];
        parts.join("\t")
    }
}

/// When, who, what, to what, of which account, why.
impl Line for AuditLine {
    fn line(&self) -> String {
        let account = self.account.as_ref();
        let account = account.map_or("-".to_owned(), |account| format!("account:{account}"));
        let reason = self.reason.as_ref();
        let reason = reason.map_or(String::new(), |why| format!("\t{why}"));
        format!(
            "{}\t{}\t{}\t{}\t{account}{reason}",
            self.at, self.actor, self.action, self.subject
        )
    }
}

/// A few lines: all, by state, by version and by kernel.
impl Line for FleetView {
    fn line(&self) -> String {
        let mut lines = vec![
            format!("machines\t{}", self.machines),
            format!("patched\t{}", self.patched),
            format!("heard of in the last hour\t{}", self.heard),
        ];
        let kinds = [
            ("state", &self.states),
            ("version", &self.versions),
            ("kernel", &self.kernels),
        ];
        for (kind, counted) in kinds {
            let line =
                |it: &suture_server::view::Counted| format!("{kind}\t{}\t{}", it.name, it.machines);
            lines.extend(counted.iter().map(line));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_audit_log_is_for_people_and_for_cut() {
        let line = AuditLine {
            number: 7,
            at: "2026-11-20T08:00:00Z".parse().unwrap(),
            actor: "operator:root".to_owned(),
            action: "change-plan".to_owned(),
            account: Some("6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11".to_owned()),
            subject: "account:6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11".to_owned(),
            reason: Some("paid by transfer".to_owned()),
        };
        assert_eq!(
            line.line(),
            "2026-11-20T08:00:00Z\toperator:root\tchange-plan\t\
             account:6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11\t\
             account:6f1c2f6e-3a52-4b3e-9a58-0d1f5f2b7c11\tpaid by transfer"
        );
    }
}
