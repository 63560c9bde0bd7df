//! E-mails: what they say, and how they leave.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use suture_store::{EmailAddress, LinkSecret};
use tokio::io::AsyncWriteExt as _;
use tracing::{error, info};
use uuid::Uuid;

use crate::error::chain;
use crate::{MailConfig, ServerError};

/// What a letter is about. Links are whole addresses of this service's pages.
pub enum Letter<'a> {
    /// Confirm that the address is yours.
    Confirm { link: &'a str },
    /// Somebody, probably you, wants an account for an address that has one.
    Known { sign_in: &'a str },
    /// Choose a new password.
    Reset { link: &'a str },
    /// The account has one way to sign in more, or less.
    Way { what: &'a str, page: &'a str },
    /// Machines need their owner: a line for each.
    Attention { lines: &'a str, page: &'a str },
    /// Something happened that operators asked to hear of.
    Happened { headline: &'a str, details: &'a str },
}

impl<'a> Letter<'a> {
    fn subject(&self) -> &'a str {
        match self {
            Self::Confirm { .. } => "Confirm your e-mail address",
            Self::Known { .. } => "You have an account already",
            Self::Reset { .. } => "Choose a new password",
            Self::Way { .. } => "How you sign in has changed",
            Self::Attention { .. } => "Machines of yours need attention",
            Self::Happened { headline, .. } => headline,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Confirm { link } => format!(
                "Somebody, probably you, registered this address for live patches of Linux \
                 kernels.\n\nOpen this page within a day and enter the password that you chose:\
                 \n\n{link}\n\nIf it was not you, do nothing: no account is made.\n"
            ),
            Self::Known { sign_in } => format!(
                "Somebody, probably you, wanted to register this address. There is an account for \
                 it already.\n\nSign in, or have a link sent to choose a new password:\n\n\
                 {sign_in}\n\nIf it was not you, do nothing: nothing was changed.\n"
            ),
            Self::Reset { link } => format!(
                "Somebody, probably you, wants to choose a new password for this account.\n\nOpen \
                 this page within an hour:\n\n{link}\n\nIf it was not you, do nothing: the \
                 password stays as it is.\n"
            ),
            Self::Way { what, page } => format!(
                "{what}.\n\nIf it was you, do nothing. If not, sign in, take away on your \
                 account's page what is not yours, sign out everywhere and choose a new \
                 password:\n\n{page}\n"
            ),
            Self::Attention { lines, page } => format!(
                "These machines need you:\n\n{lines}\n\nWhat they have and what to do:\n\n\
                 {page}\n\nOn your account's page you can choose to get no such letters.\n"
            ),
            Self::Happened { headline, details } => format!("{headline}\n\n{details}\n"),
        }
    }
}

/// How letters leave.
#[derive(Clone)]
enum Way {
    Folder(Arc<PathBuf>),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

/// The post office.
#[derive(Clone)]
pub struct Post {
    way: Way,
    from: Mailbox,
}

impl Post {
    /// Reads the settings; a server that is named is asked only when a letter leaves.
    pub fn open(config: &MailConfig) -> Result<Self, ServerError> {
        let unusable = |why: String| ServerError::Mail { why };
        let (way, from) = match config {
            MailConfig::Folder { folder } => (
                Way::Folder(Arc::new(folder.clone())),
                "suture@localhost.localdomain",
            ),
            MailConfig::Smtp { url, from } => {
                let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose())
                    // The address may hold a password and is not repeated.
                    .map_err(|_| unusable("the address of the mail server is not like `smtps://user:password@mail.example.org`".to_owned()))?;
                (Way::Smtp(server.build()), from.as_str())
            }
        };
        let from = from
            .parse()
            .map_err(|_| unusable(format!("`{from}` is no sender's address")))?;
        Ok(Self { way, from })
    }

    /// Sends a letter by itself: nobody waits for it, so the time of an answer does not tell
    /// whether there is an account. What goes wrong is logged.
    pub fn send(&self, to: &EmailAddress, letter: &Letter<'_>) {
        let (post, subject) = (self.clone(), letter.subject().to_owned());
        let message = match self.message(to, letter) {
            Ok(message) => message,
            Err(cause) => {
                error!(error = cause, "cannot write an e-mail: {cause}");
                return;
            }
        };
        tokio::spawn(async move {
            if let Err(cause) = post.deliver(message, &subject).await {
                error!(error = cause, "cannot send an e-mail: {cause}");
            }
        });
    }

    /// Sends a letter and waits until the mail server took it; false if it did not. What goes
    /// wrong is logged.
    pub async fn sent(&self, to: &EmailAddress, letter: &Letter<'_>) -> bool {
        let sent = match self.message(to, letter) {
            Ok(message) => self.deliver(message, letter.subject()).await,
            Err(cause) => Err(cause),
        };
        if let Err(cause) = &sent {
            error!(error = cause, "cannot send an e-mail: {cause}");
        }
        sent.is_ok()
    }

    fn message(&self, to: &EmailAddress, letter: &Letter<'_>) -> Result<Message, String> {
        let to: Mailbox = to
            .as_str()
            .parse()
            .map_err(|_| "an address that no mail goes to".to_owned())?;
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject())
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text())
            .map_err(|error| error.to_string())
    }

    async fn deliver(&self, message: Message, subject: &str) -> Result<(), String> {
        match &self.way {
            Way::Smtp(server) => {
                let sent = server.send(message).await;
                sent.map_err(|error| chain(&error))?;
                info!("sent an e-mail: {subject}");
            }
            Way::Folder(folder) => {
                let path = write(folder, &message.formatted())
                    .await
                    .map_err(|error| format!("`{}`: {error}", folder.display()))?;
                info!(path = %path.display(), "wrote an e-mail to `{}`: {subject}", path.display());
            }
        }
        Ok(())
    }
}

/// Whole or not at all, for its owner's eyes: it holds a link.
async fn write(folder: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    tokio::fs::create_dir_all(folder).await?;
    let name = Uuid::new_v4();
    let (scratch, path) = (
        folder.join(format!(".{name}")),
        folder.join(format!("{name}.eml")),
    );
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&scratch)
        .await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&scratch, &path).await?;
    Ok(path)
}

/// The address of one of our pages that takes a link's secret.
pub fn link(public_url: &str, page: &str, secret: &LinkSecret) -> String {
    format!("{public_url}{page}?link={}", secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_says_what_to_do_if_it_was_not_you() {
        let letters = [
            Letter::Confirm {
                link: "https://patches.example.org/x",
            },
            Letter::Known {
                sign_in: "https://patches.example.org/x",
            },
            Letter::Reset {
                link: "https://patches.example.org/x",
            },
        ];
        for letter in letters {
            let text = letter.text();
            assert!(text.contains("https://patches.example.org/x"), "{text}");
            assert!(text.contains("If it was not you, do nothing"), "{text}");
        }
    }

    #[test]
    fn a_mail_server_with_a_bad_address_is_refused_without_repeating_it() {
        let config = MailConfig::Smtp {
            url: "hunter2".to_owned().into(),
            from: "suture@example.org".to_owned(),
        };
        let error = Post::open(&config).err().unwrap().to_string();
        assert!(error.contains("smtps://"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
