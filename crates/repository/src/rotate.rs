//! Replaces keys. Needs the root keys; readers follow from the root that they trust.

use std::path::Path;

use jiff::Timestamp;
use tough::Repository;
use tough::schema::Root;

use crate::current;
use crate::error::RepositoryError;
use crate::init::{check_threshold, generate, require_no_keys};
use crate::keys::{self, SigningKey};
use crate::layout::Layout;
use crate::lock::PublisherLock;
use crate::publisher::Publisher;
use crate::role::{OnlineRole, Role};
use crate::root;
use crate::signer::{Change, Present, Signer};

impl Publisher {
    /// Signs the next root with the same keys and a new expiry. Returns its version.
    pub async fn renew_root(
        &self,
        root_keys: &Path,
        now: Timestamp,
    ) -> Result<u64, RepositoryError> {
        let layout = Layout::new(&self.dir);
        let _lock = PublisherLock::take(&layout)?;
        let repository = current::load(&layout, None).await?;
        let old = repository.root().signed.clone();
        let new = root::next(&old, &self.expiries, now)?;
        let keys = keys::read_dir(root_keys)?;
        sign_and_write(&layout, &old, new, root_keys, root_keys, &keys).await
    }

    /// Makes new root keys in the folder `new` and lets them alone count. The next root is
    /// signed by the old keys and the new ones. Returns its version.
    pub async fn rotate_root_keys(
        &self,
        old: &Path,
        new: &Path,
        (count, threshold): (u64, u64),
        now: Timestamp,
    ) -> Result<u64, RepositoryError> {
        check_threshold(threshold, count)?;
        require_no_keys(new)?;
        let layout = Layout::new(&self.dir);
        let _lock = PublisherLock::take(&layout)?;
        let repository = current::load(&layout, None).await?;
        let old_root = repository.root().signed.clone();
        let mut keys = keys::read_dir(old)?;
        // Before new keys are made: nothing is left behind by a try without enough root keys.
        root::require_threshold(&old_root, &keys, old)?;
        let mut new_root = root::next(&old_root, &self.expiries, now)?;
        let new_keys = generate(new, Role::Root, count)?;
        root::set_keys(&mut new_root, Role::Root, &new_keys, threshold);
        keys.extend(new_keys);
        sign_and_write(&layout, &old_root, new_root, old, new, &keys).await
    }

    /// Makes a new key for an online role and lets it alone count; its file joins the
    /// publisher's keys. Everything that the role signs is signed anew, by the old key too where
    /// it is still there, so that readers are served while they change over. Returns the new
    /// root's version.
    pub async fn rotate_role_key(
        &self,
        role: OnlineRole,
        root_keys: &Path,
        now: Timestamp,
    ) -> Result<u64, RepositoryError> {
        let layout = Layout::new(&self.dir);
        let _lock = PublisherLock::take(&layout)?;
        let repository = current::load(&layout, None).await?;
        let old_root = repository.root().signed.clone();
        let offline_keys = keys::read_dir(root_keys)?;
        // Before new keys are made: nothing is left behind by a try without enough root keys.
        root::require_threshold(&old_root, &offline_keys, root_keys)?;
        let mut new_root = root::next(&old_root, &self.expiries, now)?;
        let new_key = generate(&self.keys, role.into(), 1)?;
        root::set_keys(&mut new_root, role.into(), &new_key, 1);
        self.sign_under_both(&layout, &repository, role, new_root.clone(), now)
            .await?;
        sign_and_write(
            &layout,
            &old_root,
            new_root,
            root_keys,
            root_keys,
            &offline_keys,
        )
        .await
    }

    async fn sign_under_both(
        &self,
        layout: &Layout,
        repository: &Repository,
        role: OnlineRole,
        new_root: Root,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let keys = keys::read_dir(&self.keys)?;
        let mut signer = Signer::new(layout, &self.keys, &keys, self.expiries, new_root, now);
        signer.previous = Some(repository.root().signed.clone());
        let change = match role {
            OnlineRole::Targets => Change::Targets(Box::new(repository.targets().signed.clone())),
            OnlineRole::Snapshot => Change::Snapshot,
            OnlineRole::Timestamp => Change::Timestamp,
        };
        signer
            .commit(Present::of(repository).as_ref(), change)
            .await?;
        Ok(())
    }
}

async fn sign_and_write(
    layout: &Layout,
    old: &Root,
    new: Root,
    old_dir: &Path,
    new_dir: &Path,
    keys: &[SigningKey],
) -> Result<u64, RepositoryError> {
    let version = new.version.get();
    let signed = root::sign(new, Some((old, old_dir)), new_dir, keys).await?;
    root::write(layout, &signed)?;
    Ok(version)
}
