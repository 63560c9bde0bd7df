//! What the author of a fix declares in its code, by the macros of `<linux/suture.h>`.

use std::collections::BTreeMap;

use suture_differ::object::Object;
use suture_kernel::ObjectName;

use crate::error::Refusal;
use crate::fix::Fix;

/// Where the header lies in the tree that a fix is compiled in.
pub(crate) const HEADER_PATH: &str = "include/linux/suture.h";
const HEADER: &str = include_str!("declared/suture.h");
/// The patch itself, by a name that fixes may use; the glue defines it.
pub(crate) const PATCH_SYMBOL: &str = "suture_patch";
const STATES: &str = ".suture.states";
/// Two `unsigned long`: id and version.
const STATE_BYTES: usize = 16;

/// A function that the kernel calls when a patch comes or goes (`struct klp_callbacks`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Callback {
    pub kind: CallbackKind,
    pub symbol: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallbackKind {
    PrePatch,
    PostPatch,
    PreUnpatch,
    PostUnpatch,
}

impl CallbackKind {
    const ALL: [Self; 4] = [
        Self::PrePatch,
        Self::PostPatch,
        Self::PreUnpatch,
        Self::PostUnpatch,
    ];

    /// The field of `struct klp_callbacks`.
    pub fn field(self) -> &'static str {
        match self {
            Self::PrePatch => "pre_patch",
            Self::PostPatch => "post_patch",
            Self::PreUnpatch => "pre_unpatch",
            Self::PostUnpatch => "post_unpatch",
        }
    }

    /// What it returns, in C.
    pub fn returns(self) -> &'static str {
        match self {
            Self::PrePatch => "int",
            Self::PostPatch | Self::PreUnpatch | Self::PostUnpatch => "void",
        }
    }

    /// The kind that the name of a macro's function tells.
    pub fn of_symbol(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("__suture_")?;
        let is = |kind: &Self| {
            let rest = rest.strip_prefix(kind.field());
            rest.is_some_and(|rest| rest.starts_with('_'))
        };
        Self::ALL.into_iter().find(is)
    }
}

/// The declarations of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub callbacks: Vec<Callback>,
    /// Versions of states by their id.
    pub states: BTreeMap<u64, u64>,
}

impl Declared {
    /// Reads them from the patched object of a unit.
    pub fn of(patched: &Object) -> Self {
        let functions = patched.symbols.iter().filter(|symbol| {
            symbol.is_function() && !symbol.is_local() && symbol.section().is_some()
        });
        let callbacks = functions.filter_map(|symbol| {
            Some(Callback {
                kind: CallbackKind::of_symbol(&symbol.name)?,
                symbol: symbol.name.clone(),
            })
        });
        let mut states = BTreeMap::new();
        for section in patched
            .sections
            .iter()
            .filter(|section| section.name == STATES)
        {
            for entry in section.data.chunks_exact(STATE_BYTES) {
                let (id, version) = entry.split_at(STATE_BYTES / 2);
                let number = |bytes: &[u8]| {
                    bytes
                        .iter()
                        .rev()
                        .fold(0, |number: u64, &byte| number << 8 | u64::from(byte))
                };
                states.insert(number(id), number(version));
            }
        }
        Self {
            callbacks: callbacks.collect(),
            states,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.callbacks.is_empty() && self.states.is_empty()
    }
}

/// What the kernel's own header has of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abi {
    callbacks: bool,
    states: bool,
}

impl Abi {
    /// Reads the text of `include/linux/livepatch.h`.
    pub fn of(header: &str) -> Self {
        Self {
            callbacks: header.contains("struct klp_callbacks"),
            states: header.contains("struct klp_state"),
        }
    }

    /// What a unit declares and the kernel does not know.
    pub fn refusals(self, unit: &str, declared: &Declared) -> Vec<Refusal> {
        let lacks = |what: &'static str| Refusal::NoSuchAbi {
            unit: unit.to_owned(),
            what,
        };
        let mut refusals = Vec::new();
        if !declared.callbacks.is_empty() && !self.callbacks {
            refusals.push(lacks("callbacks"));
        }
        if !declared.states.is_empty() && !self.states {
            refusals.push(lacks("states (`klp_state`)"));
        }
        refusals
    }
}

/// The header, if one of the fixes includes it.
pub(crate) fn header(fixes: &[Fix]) -> Option<(String, String)> {
    let includes = |fix: &Fix| fix.text.contains("<linux/suture.h>");
    fixes
        .iter()
        .any(includes)
        .then(|| (HEADER_PATH.to_owned(), HEADER.to_owned()))
}

/// Units that contradict each other: an object has one callback of each kind, a state one version.
pub(crate) fn contradictions<'a>(
    units: impl Iterator<Item = (&'a ObjectName, &'a str, &'a Declared)>,
) -> Vec<Refusal> {
    let (mut refusals, mut known) = (Vec::new(), Vec::<(&ObjectName, CallbackKind)>::new());
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    for (object, unit, declared) in units {
        for Callback { kind, .. } in &declared.callbacks {
            if known.contains(&(object, *kind)) {
                refusals.push(Refusal::CallbackTwice {
                    unit: unit.to_owned(),
                    object: object.clone(),
                    kind: kind.field(),
                });
            }
            known.push((object, *kind));
        }
        for (&id, &version) in &declared.states {
            if *versions.entry(id).or_insert(version) != version {
                refusals.push(Refusal::StateTwice {
                    unit: unit.to_owned(),
                    id,
                });
            }
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(kind: CallbackKind) -> Declared {
        let symbol = format!("__suture_{}_kmod_x", kind.field());
        Declared {
            callbacks: vec![Callback { kind, symbol }],
            states: BTreeMap::new(),
        }
    }

    #[test]
    fn a_callback_is_known_by_its_name() {
        for kind in CallbackKind::ALL {
            let symbol = &callback(kind).callbacks[0].symbol;
            assert_eq!(CallbackKind::of_symbol(symbol), Some(kind));
        }
        assert_eq!(CallbackKind::of_symbol("__suture_u0_1"), None);
        assert_eq!(CallbackKind::of_symbol("pre_patch_x"), None);
    }

    #[test]
    fn an_object_has_one_callback_of_a_kind_and_a_state_one_version() {
        let (vmlinux, ext4) = (ObjectName::vmlinux(), "ext4".parse().unwrap());
        let (pre, post) = (
            callback(CallbackKind::PrePatch),
            callback(CallbackKind::PostPatch),
        );
        let sound = [
            (&vmlinux, "a.c", &pre),
            (&vmlinux, "b.c", &post),
            (&ext4, "c.c", &pre),
        ];
        assert_eq!(contradictions(sound.into_iter()), []);
        let twice = [(&vmlinux, "a.c", &pre), (&vmlinux, "b.c", &pre)];
        let found = contradictions(twice.into_iter());
        assert!(found[0].to_string().contains("`pre_patch`"), "{found:?}");
        let state = |version| Declared {
            callbacks: Vec::new(),
            states: BTreeMap::from([(7, version)]),
        };
        let (one, two) = (state(1), state(2));
        let differ = [(&vmlinux, "a.c", &one), (&ext4, "b.c", &two)];
        assert_eq!(contradictions(differ.into_iter()).len(), 1);
    }

    #[test]
    fn a_kernel_without_the_structures_is_told() {
        let declared = callback(CallbackKind::PrePatch);
        assert!(
            Abi::of("struct klp_callbacks {")
                .refusals("a.c", &declared)
                .is_empty()
        );
        let refusals = Abi::of("struct klp_object {").refusals("a.c", &declared);
        assert!(
            refusals[0].to_string().contains("callbacks"),
            "{refusals:?}"
        );
    }
}
