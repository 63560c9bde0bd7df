//! What is said of a line of the audit log.

use jiff::Timestamp;
use serde::Serialize;
use suture_store::{Action, NumberedEntry, Rollout, Store, StoreError, Subject};

use crate::view::AuditLine;

/// Something that happened, for programs and for people.
pub struct Message {
    /// The same whenever it is sent again.
    pub id: String,
    /// As JSON.
    pub body: Vec<u8>,
    /// In one line.
    pub headline: String,
    /// The lines below it.
    pub details: String,
}

/// The body of a webhook (source: Standard Webhooks 1.0.0, "Payload structure").
#[derive(Serialize)]
struct Body<'a> {
    /// The action, as the audit log names it; or `test`.
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    /// Where people read more.
    page: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<AuditLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutOfLine>,
}

#[derive(Serialize)]
struct RolloutOfLine {
    id: String,
    version: String,
    /// None: all for which the version is published.
    kernel: Option<String>,
}

impl Message {
    /// One that only says that it arrives.
    pub fn test(now: Timestamp, pages: &str) -> Self {
        let page = format!("{pages}/fleet/settings");
        let data = Data {
            page: &page,
            line: None,
            rollout: None,
        };
        Self {
            id: format!("test-{}", now.as_millisecond()),
            body: body("test", now, data),
            headline: "A test: this hook works".to_owned(),
            details: page,
        }
    }
}

/// What is said of a line; `pages` is where people reach this service.
pub async fn of(
    store: &dyn Store,
    line: &NumberedEntry,
    pages: &str,
) -> Result<Message, StoreError> {
    let rollout = match line.entry.subject {
        Subject::Rollout(id) => Some(store.rollout(id).await?),
        _ => None,
    };
    Ok(message(line, rollout.as_ref(), pages))
}

fn message(numbered: &NumberedEntry, rollout: Option<&Rollout>, pages: &str) -> Message {
    let entry = &numbered.entry;
    let page = match rollout {
        Some(rollout) => format!("{pages}/rollouts/{}", rollout.id),
        None => format!("{pages}/fleet/audit"),
    };
    let headline = match rollout {
        Some(rollout) => format!("Rollout of {}: {}", rollout.scope, fate(entry.action)),
        None => format!("{}: {}", entry.action, entry.subject),
    };
    let mut details = vec![format!("by {}", entry.actor)];
    details.extend(entry.reason.clone());
    details.push(page.clone());
    let data = Data {
        page: &page,
        line: Some(numbered.into()),
        rollout: rollout.map(|rollout| RolloutOfLine {
            id: rollout.id.to_string(),
            version: rollout.scope.version.to_string(),
            kernel: rollout.scope.kernel.as_ref().map(ToString::to_string),
        }),
    };
    Message {
        id: format!("audit-{}", numbered.number),
        body: body(entry.action.as_str(), entry.at, data),
        headline,
        details: details.join("\n"),
    }
}

fn fate(action: Action) -> &'static str {
    match action {
        Action::CreateRollout => "planned",
        Action::StartRollout => "started",
        Action::WidenRollout => "widened",
        Action::HaltRollout => "halted",
        Action::ResumeRollout => "resumed",
        Action::WithdrawRollout => "withdrawn",
        Action::CompleteRollout => "complete",
        other => other.as_str(),
    }
}

fn body(kind: &str, timestamp: Timestamp, data: Data<'_>) -> Vec<u8> {
    let body = Body {
        kind,
        timestamp,
        data,
    };
    serde_json::to_vec(&body).expect("texts and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use suture_store::{Actor, AuditEntry, TokenId};

    use super::*;

    #[test]
    fn a_line_is_told_to_programs_and_to_people() {
        let token = TokenId::random();
        let numbered = NumberedEntry {
            number: 7,
            entry: AuditEntry {
                at: "2026-11-26T00:00:00Z".parse().unwrap(),
                actor: Actor::Operator("grace".parse().unwrap()),
                action: Action::RevokeToken,
                account: None,
                subject: Subject::Token(token),
                reason: Some("it leaked".to_owned()),
            },
        };
        let message = message(&numbered, None, "https://patches.example.org");
        assert_eq!(message.id, "audit-7");
        assert_eq!(message.headline, format!("revoke-token: token:{token}"));
        let page = "https://patches.example.org/fleet/audit";
        assert_eq!(
            message.details,
            format!("by operator:grace\nit leaked\n{page}")
        );
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        let expected = serde_json::json!({
            "type": "revoke-token",
            "timestamp": "2026-11-26T00:00:00Z",
            "data": {
                "page": page,
                "line": {
                    "number": 7,
                    "at": "2026-11-26T00:00:00Z",
                    "actor": "operator:grace",
                    "action": "revoke-token",
                    "subject": format!("token:{token}"),
                    "account": null,
                    "reason": "it leaked",
                },
            },
        });
        assert_eq!(body, expected);
    }
}
