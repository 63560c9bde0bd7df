//! What verified metadata says of a target.

use std::collections::HashMap;

use serde_json::Value;
use suture_advisory::{CveId, PatchVersion};
use suture_kernel::KernelBuild;
use suture_protocol::{TargetCustom, TargetKind, TargetName};
use tough::schema::{Hashes, Target, Targets};

/// Key of our data in a target's `custom` object.
const CUSTOM_KEY: &str = "suture";

/// A target with its hash, as signed by the targets role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTarget {
    pub name: TargetName,
    pub custom: TargetCustom,
    /// Bytes.
    pub length: u64,
    /// Lowercase hex.
    pub sha256: String,
}

/// A target whose `custom` data contradicts its name; it holds the name.
#[derive(Debug)]
pub(crate) struct Contradiction(pub(crate) String);

impl PublishedTarget {
    pub(crate) fn new(name: TargetName, fixes: Vec<CveId>, length: u64, sha256: String) -> Self {
        let TargetName {
            kernel,
            version,
            kind,
        } = name.clone();
        let custom = TargetCustom {
            kind,
            kernel,
            version,
            fixes,
        };
        Self {
            name,
            custom,
            length,
            sha256,
        }
    }

    /// None for a target that is none of ours (its name, or no `suture` data): other files may
    /// live in the same repository.
    fn from_metadata(name: &str, target: &Target) -> Result<Option<Self>, Contradiction> {
        let Ok(parsed) = name.parse::<TargetName>() else {
            return Ok(None);
        };
        let Some(value) = target.custom.get(CUSTOM_KEY) else {
            return Ok(None);
        };
        let contradiction = || Contradiction(name.to_owned());
        let custom: TargetCustom =
            serde_json::from_value(value.clone()).map_err(|_| contradiction())?;
        let TargetName {
            kernel,
            version,
            kind,
        } = &parsed;
        if (kind, kernel, version) != (&custom.kind, &custom.kernel, &custom.version) {
            return Err(contradiction());
        }
        let sha256 = hex::encode(&target.hashes.sha256);
        Ok(Some(Self {
            name: parsed,
            custom,
            length: target.length,
            sha256,
        }))
    }

    pub(crate) fn to_metadata(&self) -> Result<Target, serde_json::Error> {
        let custom = serde_json::to_value(&self.custom)?;
        Ok(Target {
            length: self.length,
            hashes: Hashes {
                sha256: decode(&self.sha256).into(),
                _extra: HashMap::new(),
            },
            custom: HashMap::from([(CUSTOM_KEY.to_owned(), Value::clone(&custom))]),
            _extra: HashMap::new(),
        })
    }
}

/// Our targets of verified metadata, by name.
pub(crate) fn list(targets: &Targets) -> Result<Vec<PublishedTarget>, Contradiction> {
    let mut list = Vec::with_capacity(targets.targets.len());
    for (name, target) in &targets.targets {
        list.extend(PublishedTarget::from_metadata(name.raw(), target)?);
    }
    list.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(list)
}

/// Finds a target in a list made by [`list`].
pub(crate) fn find<'list>(
    list: &'list [PublishedTarget],
    kernel: &KernelBuild,
    version: PatchVersion,
    kind: TargetKind,
) -> Option<&'list PublishedTarget> {
    let name = TargetName {
        kernel: kernel.clone(),
        version,
        kind,
    };
    let index = list
        .binary_search_by(|target| target.name.cmp(&name))
        .ok()?;
    list.get(index)
}

/// The hash came from this crate, as hex.
fn decode(sha256: &str) -> Vec<u8> {
    hex::decode(sha256).unwrap_or_default()
}
