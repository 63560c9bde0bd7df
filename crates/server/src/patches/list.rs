//! The published live patches in order, in pieces, and by what people look for.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use suture_advisory::{CveId, PatchVersion};
use suture_kernel::KernelBuild;
use suture_protocol::{Manifest, TargetKind};
use suture_repository::{Catalogue, PublishedTarget};

use super::card::{PatchCard, beside};
use super::manifest;

/// Live patches in one piece of the list, at most.
pub const MAX_PIECE: usize = 100;

/// The live patches of one content of the repository, the latest first. A card costs a read of
/// its manifest, once for every change of the repository.
pub struct PatchList {
    entries: Vec<Entry>,
}

struct Entry {
    /// Place among the catalogue's targets.
    target: usize,
    card: OnceLock<Arc<PatchCard>>,
}

/// What to look for; an empty query finds everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchQuery {
    /// A part of the kernel's release, e.g. `6.1.0-53`.
    pub kernel: Option<String>,
    /// A hole that the patch closes.
    pub cve: Option<CveId>,
    /// The name of the patch after which to go on.
    pub after: Option<String>,
    /// Patches wanted, at most [`MAX_PIECE`].
    pub limit: usize,
}

/// A piece of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    pub cards: Vec<Arc<PatchCard>>,
    /// Whether more follow the last one.
    pub more: bool,
}

impl Piece {
    /// The name to ask with for what follows.
    pub fn next(&self) -> Option<String> {
        let last = self.cards.last().filter(|_| self.more)?;
        Some(last.name())
    }
}

/// The order of the list.
type Place<'list> = (Reverse<PatchVersion>, &'list KernelBuild);

fn place(target: &PublishedTarget) -> Place<'_> {
    (Reverse(target.name.version), &target.name.kernel)
}

impl PatchList {
    pub fn new(catalogue: &Catalogue) -> Self {
        let targets = catalogue.targets();
        let mut modules: Vec<usize> = (0..targets.len())
            .filter(|index| targets[*index].name.kind == TargetKind::Module)
            .collect();
        modules.sort_by_key(|index| place(&targets[*index]));
        let entry = |target| Entry {
            target,
            card: OnceLock::new(),
        };
        Self {
            entries: modules.into_iter().map(entry).collect(),
        }
    }

    /// Number of live patches.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Reads files; a name that is none finds nothing after it.
    pub fn piece(&self, catalogue: &Catalogue, query: &PatchQuery) -> Piece {
        let limit = query.limit.min(MAX_PIECE);
        let start = match &query.after {
            None => Some(None),
            Some(name) => module_name(name).map(Some),
        };
        let Some(start) = start else {
            return Piece::default();
        };
        let targets = catalogue.targets();
        let after = start
            .as_ref()
            .map(|name| (Reverse(name.version), &name.kernel));
        let mut found = self.entries.iter().filter(|entry| {
            let target = &targets[entry.target];
            after.is_none_or(|after| place(target) > after) && query.wants(target)
        });
        let entries: Vec<&Entry> = found.by_ref().take(limit).collect();
        let card = |entry: &&Entry| {
            let read = || Arc::new(PatchCard::read(catalogue, &targets[entry.target]));
            Arc::clone(entry.card.get_or_init(read))
        };
        Piece {
            cards: entries.iter().map(card).collect(),
            more: found.next().is_some(),
        }
    }
}

impl PatchQuery {
    fn wants(&self, module: &PublishedTarget) -> bool {
        let release = module.name.kernel.release.to_string();
        let kernel = self.kernel.as_ref();
        let cve = self.cve.as_ref();
        kernel.is_none_or(|part| release.contains(part.as_str()))
            && cve.is_none_or(|cve| module.custom.fixes.contains(cve))
    }
}

/// A live patch in full.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchInFull {
    pub card: PatchCard,
    /// None: it can't be read.
    pub manifest: Option<Manifest>,
}

impl PatchInFull {
    /// Reads the manifest of the patch with this name; none: there is no such patch.
    pub fn read(catalogue: &Catalogue, name: &str) -> Option<Self> {
        let module = catalogue.get(&module_name(name)?)?;
        let target = beside(catalogue, module, TargetKind::Manifest);
        let manifest = target.and_then(|target| manifest::read(catalogue, target));
        Some(Self {
            card: PatchCard::new(catalogue, module, manifest.as_ref()),
            manifest,
        })
    }
}

fn module_name(name: &str) -> Option<suture_protocol::TargetName> {
    format!("{name}{}", TargetKind::Module.suffix())
        .parse()
        .ok()
}
