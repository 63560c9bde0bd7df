//! Makes root metadata: which keys count for which role.

use std::collections::HashMap;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use jiff::Timestamp;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{KeyHolder, RoleKeys, Root};

use crate::durable;
use crate::error::RepositoryError;
use crate::expiry::Expiries;
use crate::keys::{self, SigningKey};
use crate::layout::Layout;
use crate::role::Role;
use crate::signer::{SPEC_VERSION, non_zero};

/// Version 1, without keys.
pub(crate) fn new(expiries: &Expiries, now: Timestamp) -> Result<Root, RepositoryError> {
    Ok(Root {
        spec_version: SPEC_VERSION.to_owned(),
        consistent_snapshot: true,
        version: non_zero(1),
        expires: expiries.sign(Role::Root, now)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    })
}

/// The successor of a root, with a new expiry and the same keys.
pub(crate) fn next(
    root: &Root,
    expiries: &Expiries,
    now: Timestamp,
) -> Result<Root, RepositoryError> {
    let version = non_zero(root.version.get() + 1);
    Ok(Root {
        version,
        expires: expiries.sign(Role::Root, now)?,
        ..root.clone()
    })
}

/// Lets exactly these keys count for a role, and drops keys that no role uses any more.
pub(crate) fn set_keys(root: &mut Root, role: Role, keys: &[SigningKey], threshold: u64) {
    let keyids = keys.iter().map(|key| key.id().clone()).collect();
    let threshold = non_zero(threshold);
    root.roles.insert(
        role.to_tough(),
        RoleKeys {
            keyids,
            threshold,
            _extra: HashMap::new(),
        },
    );
    root.keys.extend(
        keys.iter()
            .map(|key| (key.id().clone(), key.public().clone())),
    );
    let used = |id: &_| root.roles.values().any(|role| role.keyids.contains(id));
    root.keys.retain(|id, _| used(id));
}

/// The threshold of a role, and how many of the given keys count for it.
fn count(root: &Root, role: Role, keys: &[SigningKey]) -> (u64, u64) {
    let Some(role_keys) = root.roles.get(&role.to_tough()) else {
        return (1, 0);
    };
    let counting = keys
        .iter()
        .filter(|key| role_keys.keyids.contains(key.id()))
        .count();
    (role_keys.threshold.get(), counting as u64)
}

/// A root needs a threshold of its predecessor's keys and of its own
/// (source: TUF specification 1.0, 5.3.4).
pub(crate) async fn sign(
    root: Root,
    previous: Option<(&Root, &Path)>,
    keys_dir: &Path,
    keys: &[SigningKey],
) -> Result<SignedRole<Root>, RepositoryError> {
    if let Some((previous, dir)) = previous {
        require_threshold(previous, keys, dir)?;
    }
    require_threshold(&root, keys, keys_dir)?;
    let sources = keys::sources(keys);
    let signed = sign_under(root.clone(), &root, &sources).await?;
    let Some((previous, _)) = previous else {
        return Ok(signed);
    };
    let old = sign_under(root, previous, &sources).await?;
    signed
        .add_old_signatures(old.signed().signatures.clone())
        .map_err(failed)
}

/// Puts a root in place; it never replaces one.
pub(crate) fn write(layout: &Layout, root: &SignedRole<Root>) -> Result<(), RepositoryError> {
    let path = layout.root(root.signed().signed.version.get());
    if path.exists() {
        return Err(RepositoryError::Exists { path });
    }
    durable::write(&path, root.buffer()).map_err(RepositoryError::io("write", path))
}

async fn sign_under(
    root: Root,
    holder: &Root,
    sources: &[Box<dyn KeySource>],
) -> Result<SignedRole<Root>, RepositoryError> {
    SignedRole::new(
        root,
        &KeyHolder::Root(holder.clone()),
        sources,
        &SystemRandom::new(),
    )
    .await
    .map_err(failed)
}

pub(crate) fn require_threshold(
    root: &Root,
    keys: &[SigningKey],
    dir: &Path,
) -> Result<(), RepositoryError> {
    let (needed, found) = count(root, Role::Root, keys);
    if found < needed {
        return Err(RepositoryError::TooFewRootKeys {
            needed,
            found,
            dir: dir.to_owned(),
        });
    }
    Ok(())
}

fn failed(source: tough::error::Error) -> RepositoryError {
    RepositoryError::Sign {
        role: Role::Root,
        source: Box::new(source),
    }
}
