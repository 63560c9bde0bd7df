//! The operator's file of hooks. It holds secrets, so nobody else may read it.
//!
//! ```toml
//! [[hook]]
//! name = "on-call"
//! kind = "webhook"               # signed as Standard Webhooks says
//! url = "https://alerts.example.org/suture"
//! secret = "whsec_…"             # base64 of 24 to 64 random bytes
//!
//! [[hook]]
//! name = "chat"
//! kind = "chat"                  # an incoming webhook of Slack, Mattermost, Rocket.Chat, …
//! url = "https://chat.example.org/hooks/…"
//! actions = ["halt-rollout"]     # of the audit log; default: all that concern rollouts
//!
//! [[hook]]
//! name = "mail"
//! kind = "mail"
//! to = "operators@example.org"
//! ```

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Deserialize;
use suture_store::{Action, EmailAddress, HookName};
use url::Url;

use super::signature::SigningSecret;
use crate::outgoing::is_protected;
use crate::settings_file::{SettingsFileError, read_toml};

/// Most hooks.
const MOST: usize = 32;

/// Permissions of others than the file's owner and group.
const OTHERS: u32 = 0o007;

/// Who is told of what.
#[derive(Clone)]
pub struct Hook {
    pub name: HookName,
    pub target: Target,
    pub actions: Vec<Action>,
}

impl Hook {
    pub fn wants(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }
}

/// How somebody is told.
#[derive(Clone)]
pub enum Target {
    Webhook { url: Url, secret: SigningSecret },
    Chat { url: Url },
    Mail { to: EmailAddress },
}

impl Target {
    /// In words, for operators: an address of a chat is a secret behind its host.
    pub fn words(&self) -> String {
        let host = |url: &Url| url.host_str().unwrap_or_default().to_owned();
        match self {
            Self::Webhook { url, .. } => format!("webhook at {}", host(url)),
            Self::Chat { url } => format!("chat at {}", host(url)),
            Self::Mail { to } => format!("e-mail to {to}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    hook: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    kind: Kind,
    url: Option<Url>,
    secret: Option<String>,
    to: Option<String>,
    actions: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Webhook,
    Chat,
    Mail,
}

/// What concerns everybody: how new versions fare.
const OF_ROLLOUTS: [Action; 7] = [
    Action::CreateRollout,
    Action::StartRollout,
    Action::WidenRollout,
    Action::HaltRollout,
    Action::ResumeRollout,
    Action::WithdrawRollout,
    Action::CompleteRollout,
];

/// The hooks of a file.
pub fn read(path: &Path, can_mail: bool) -> Result<Vec<Hook>, SettingsFileError> {
    let wrong = |what| SettingsFileError::Content {
        path: path.to_owned(),
        what,
    };
    let about = fs::metadata(path).map_err(|source| SettingsFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    if about.permissions().mode() & OTHERS != 0 {
        let what = "it holds secrets, and everybody on this machine may read or change it; \
                    `chmod o= ` it";
        return Err(wrong(what.to_owned()));
    }
    let file: File = read_toml(path)?;
    hooks(file.hook, can_mail).map_err(wrong)
}

fn hooks(entries: Vec<Entry>, can_mail: bool) -> Result<Vec<Hook>, String> {
    if entries.len() > MOST {
        return Err(format!("more than {MOST} hooks"));
    }
    let mut names = HashSet::new();
    let mut hooks = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let hook = hook(entry, can_mail).map_err(|what| format!("hook {number}: {what}"))?;
        if !names.insert(hook.name.clone()) {
            return Err(format!("two hooks are called `{}`", hook.name));
        }
        hooks.push(hook);
    }
    Ok(hooks)
}

/// What is wrong is said without repeating a secret.
fn hook(entry: Entry, can_mail: bool) -> Result<Hook, String> {
    let name: HookName = entry.name.parse().map_err(|it| format!("{it}"))?;
    let actions = match entry.actions {
        None => OF_ROLLOUTS.to_vec(),
        Some(named) => actions(&named)?,
    };
    let target = match (entry.kind, entry.url, entry.secret, entry.to) {
        (Kind::Webhook, Some(url), Some(secret), None) => Target::Webhook {
            url: protected(url)?,
            secret: SigningSecret::parse(&secret).ok_or(
                "the secret is not like `whsec_` and base64 of 24 to 64 bytes; \
                 `echo whsec_$(openssl rand -base64 32)` makes one",
            )?,
        },
        (Kind::Webhook, ..) => return Err("a webhook has a `url` and a `secret`".to_owned()),
        (Kind::Chat, Some(url), None, None) => Target::Chat {
            url: protected(url)?,
        },
        (Kind::Chat, ..) => return Err("a chat has a `url` and nothing else".to_owned()),
        (Kind::Mail, None, None, Some(to)) if can_mail => Target::Mail {
            to: to.parse().map_err(|it| format!("{it}"))?,
        },
        (Kind::Mail, None, None, Some(_)) => {
            return Err(
                "this service sends no e-mails; start it with `--smtp-url-file`".to_owned(),
            );
        }
        (Kind::Mail, ..) => return Err("an e-mail has an address `to` and nothing else".to_owned()),
    };
    Ok(Hook {
        name,
        target,
        actions,
    })
}

fn actions(named: &[String]) -> Result<Vec<Action>, String> {
    let action = |name: &String| {
        let known = || Action::ALL.map(Action::as_str).join(", ");
        name.parse().map_err(|_| {
            format!(
                "no action is called like one of `actions`; there are {}",
                known()
            )
        })
    };
    let actions: Vec<Action> = named.iter().map(action).collect::<Result<_, _>>()?;
    if actions.is_empty() {
        return Err("`actions` is empty; leave it out for all that concern rollouts".to_owned());
    }
    Ok(actions)
}

fn protected(url: Url) -> Result<Url, String> {
    if is_protected(&url) {
        return Ok(url);
    }
    Err(
        "the `url` must begin with https:// or lie on this machine, or others read what is sent"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read_text(text: &str, mode: u32) -> Result<Vec<Hook>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path, true).map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_is_read_and_shown_without_its_secret() {
        let text = format!(
            "[[hook]]\nname = 'on-call'\nkind = 'webhook'\nurl = 'https://a.example.org/x'\n\
             secret = '{SECRET}'\n\
             [[hook]]\nname = 'chat'\nkind = 'chat'\nurl = 'https://b.example.org/hooks/hunter2'\n\
             actions = ['halt-rollout']\n\
             [[hook]]\nname = 'mail'\nkind = 'mail'\nto = 'ops@example.org'\n"
        );
        let hooks = read_text(&text, 0o640).unwrap();
        let words: Vec<_> = hooks.iter().map(|hook| hook.target.words()).collect();
        let expected = [
            "webhook at a.example.org",
            "chat at b.example.org",
            "e-mail to ops@example.org",
        ];
        assert_eq!(words, expected);
        assert!(hooks[0].wants(Action::CompleteRollout) && !hooks[0].wants(Action::CreateToken));
        assert!(hooks[1].wants(Action::HaltRollout) && !hooks[1].wants(Action::CompleteRollout));
    }

    #[test]
    fn what_is_wrong_is_told_and_no_secret_with_it() {
        let refused = |entry: &str, expected: &str| {
            let text = format!("[[hook]]\nname = 'x'\n{entry}");
            let error = read_text(&text, 0o600).err().unwrap();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        let at = "url = 'https://a.example.org/x'";
        refused(
            "kind = 'webhook'\nurl = 'https://a.example.org'",
            "and a `secret`",
        );
        refused(
            &format!("kind = 'webhook'\n{at}\nsecret = 'hunter2'"),
            "openssl rand",
        );
        refused(
            "kind = 'chat'\nurl = 'http://a.example.org/hunter2'",
            "https://",
        );
        refused("kind = 'mail'\nto = 'hunter2'", "e-mail address");
        refused("kind = 'fax'", "unknown variant");
        refused(
            &format!("kind = 'chat'\n{at}\nactions = ['hunter2']"),
            "halt-rollout",
        );
        refused(
            &format!("kind = 'chat'\n{at}\nactions = []"),
            "leave it out",
        );
        refused(
            &format!("kind = 'chat'\n{at}\n[[hook]]\nname = 'x'\nkind = 'chat'\n{at}"),
            "two",
        );
        let open = read_text("", 0o644).err().unwrap();
        assert!(open.contains("holds secrets"), "{open}");
        assert!(read_text("", 0o640).unwrap().is_empty());
    }
}
