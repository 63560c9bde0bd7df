//! Tells other systems what the audit log says: by signed webhooks, in a chat, by e-mail.
//!
//! Each hook reads the log by itself, in order, and stays at a line until it was taken or is too
//! old, so that a receiver that is away for an hour misses nothing and one that is away for ever
//! keeps no other back. A line may come twice, with the same id.

mod delivery;
mod file;
mod message;
mod retry;
mod signature;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use suture_store::{
    Clock, HookState, HookTrouble, Job, NumberedEntry, ServerId, Store, StoreError,
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alone::alone;
use crate::error::chain;
use crate::post::Post;
use crate::settings_file::{SettingsFile, SettingsFileError};

pub use file::Hook;

use delivery::Delivery;
use message::Message;

/// Between two looks at the log.
const LOOK: Duration = Duration::from_secs(2);

/// Lines that are younger wait: see [`suture_store::HookStore::audit_after`].
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// Lines that are read at once.
const AT_ONCE: u32 = 200;

/// The most time of one round, well within the lease of a job.
const LONGEST: Duration = Duration::from_secs(120);

/// The hooks of the operator's file, and how they are called.
pub struct Hooks {
    file: Option<SettingsFile<Vec<Hook>>>,
    delivery: Delivery,
    pages: String,
}

impl Hooks {
    /// `pages` is where people reach this service. Without a file nobody is told.
    pub fn open(
        path: Option<&Path>,
        post: Option<Post>,
        pages: &str,
    ) -> Result<Self, SettingsFileError> {
        let can_mail = post.is_some();
        let file =
            path.map(|path| SettingsFile::open(path, move |path| file::read(path, can_mail)));
        Ok(Self {
            file: file.transpose()?,
            delivery: Delivery::new(post),
            pages: pages.to_owned(),
        })
    }

    /// The hooks as the file names them now.
    pub fn all(&self) -> Vec<Hook> {
        let file = self.file.as_ref();
        file.map_or_else(Vec::new, |file| file.with(Vec::clone))
    }

    /// Sends a message that only says that it works; the error says in words why it does not.
    pub async fn test(&self, hook: &Hook, now: Timestamp) -> Result<(), String> {
        let message = Message::test(now, &self.pages);
        self.delivery.call(&hook.target, &message, now).await
    }

    /// Tells, for ever. Of several copies of the service one at a time does.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
        if self.file.is_none() {
            return;
        }
        let server = ServerId::random();
        loop {
            if let Err(error) = self.round(store.as_ref(), clock.as_ref(), server).await {
                let cause = chain(&error);
                warn!(error = cause, "cannot tell the hooks: {cause}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for the lease only if there is something to tell.
    async fn round(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        server: ServerId,
    ) -> Result<(), StoreError> {
        let hooks = self.all();
        let known = store.hooks().await?;
        let mut due = Vec::new();
        for hook in hooks {
            let state = known.iter().find(|state| state.name == hook.name);
            if is_due(store, state, clock.now()).await? {
                due.push(hook);
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let work = async {
            let until = Instant::now() + LONGEST;
            let told = due.iter().map(|hook| self.tell(store, clock, hook, until));
            join_all(told)
                .await
                .into_iter()
                .collect::<Result<(), StoreError>>()
        };
        alone(store, (Job::CallHooks, server), work).await?;
        Ok(())
    }

    /// Tells one hook line after line, until it takes one not or the time is over.
    async fn tell(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        hook: &Hook,
        until: Instant,
    ) -> Result<(), StoreError> {
        let mut state = store.begin_hook(&hook.name).await?;
        while Instant::now() < until && may_try(&state, clock.now()) {
            let lines = store
                .audit_after(state.told, settled(clock.now()), AT_ONCE)
                .await?;
            if lines.is_empty() {
                break;
            }
            for line in &lines {
                let goes_on = self.tell_line(store, clock, hook, line, &mut state).await?;
                if !goes_on || Instant::now() >= until {
                    break;
                }
            }
            // What was passed over is kept once, not line by line.
            store.keep_hook(&state).await?;
        }
        Ok(())
    }

    /// Whether the next line may follow.
    async fn tell_line(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        hook: &Hook,
        line: &NumberedEntry,
        state: &mut HookState,
    ) -> Result<bool, StoreError> {
        let now = clock.now();
        let (name, number) = (&hook.name, line.number);
        if !hook.wants(line.entry.action) {
            pass(state, number);
            return Ok(true);
        }
        if retry::is_too_old(line.entry.at, now) {
            warn!(hook = %name, line = number, "hook `{name}`: nobody took line {number} of the audit log; it is given up");
            pass(state, number);
            state.given_up += 1;
            return Ok(true);
        }
        let message = message::of(store, line, &self.pages).await?;
        match self.delivery.call(&hook.target, &message, now).await {
            Ok(()) => {
                info!(hook = %name, line = number, "hook `{name}` was told line {number} of the audit log");
                pass(state, number);
                state.told_at = Some(now);
                store.keep_hook(state).await?;
                Ok(true)
            }
            Err(what) => {
                let tries = state.trouble.as_ref().map_or(0, |it| it.tries) + 1;
                warn!(hook = %name, line = number, tries, "hook `{name}` did not take line {number} of the audit log: {what}");
                state.trouble = Some(HookTrouble {
                    tries,
                    next: retry::after(tries, now),
                    what: what.chars().take(HookTrouble::MAX_WHAT).collect(),
                });
                Ok(false)
            }
        }
    }
}

fn pass(state: &mut HookState, number: u64) {
    state.told = number;
    state.trouble = None;
}

fn settled(now: Timestamp) -> Timestamp {
    now.saturating_sub(SETTLED).unwrap_or(Timestamp::MIN)
}

fn may_try(state: &HookState, now: Timestamp) -> bool {
    state.trouble.as_ref().is_none_or(|it| it.next <= now)
}

/// One that is not known begins now: at the end of the log, before anything happens.
async fn is_due(
    store: &dyn Store,
    state: Option<&HookState>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(state) = state else {
        return Ok(true);
    };
    let news = store.audit_after(state.told, settled(now), 1);
    Ok(may_try(state, now) && !news.await?.is_empty())
}
