//! The shipped code of one kernel object: the image, or a module's file.
//!
//! Both are read without their debug information, which distributions keep apart.

use suture_differ::object::{Object, Symbol};
use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::module::ModuleSymbols;
use suture_kernel::vmlinux::Vmlinux;

/// Where something lies in a shipped object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Location {
    /// A link-time address of the image.
    Address(u64),
    /// A section (by index) of a module's file, and an offset in it.
    InModule { section: usize, offset: u64 },
}

impl Location {
    /// Moved by so many bytes, forward or (wrapping) back.
    pub fn plus(self, bytes: u64) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.wrapping_add(bytes)),
            Self::InModule { section, offset } => Self::InModule {
                section,
                offset: offset.wrapping_add(bytes),
            },
        }
    }

    pub fn minus(self, bytes: u64) -> Self {
        self.plus(bytes.wrapping_neg())
    }
}

/// What a relocated field of shipped code refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    At(Location),
    /// A symbol of another object, by name, with the addend that the shipped file has.
    External {
        name: String,
        addend: i64,
    },
}

/// The shipped counterpart of the unit that is patched.
pub(crate) enum ShippedObject<'a> {
    Vmlinux {
        image: &'a Vmlinux<'a>,
        kallsyms: &'a Kallsyms,
    },
    Module {
        object: Object,
        symbols: ModuleSymbols<'a>,
    },
}

impl<'a> ShippedObject<'a> {
    /// A module from its decompressed file.
    pub fn module(bytes: &'a [u8]) -> Result<Self, String> {
        let object = Object::parse(bytes).map_err(|error| error.to_string())?;
        let symbols = ModuleSymbols::parse(bytes).map_err(|error| error.to_string())?;
        Ok(Self::Module { object, symbols })
    }

    /// Where functions of that name begin.
    pub fn functions(&self, name: &str) -> Vec<Location> {
        match self {
            Self::Vmlinux { kallsyms, .. } => kallsyms
                .named(name)
                .filter(|symbol| symbol.is_text())
                .map(|symbol| Location::Address(symbol.address))
                .collect(),
            Self::Module { object, .. } => {
                let functions = object
                    .symbols
                    .iter()
                    .filter(|s| s.is_function() && s.name == name);
                functions.filter_map(module_location).collect()
            }
        }
    }

    /// `length` bytes of the file at a location.
    pub fn bytes(&self, location: Location, length: usize) -> Option<&[u8]> {
        match (self, location) {
            (Self::Vmlinux { image, .. }, Location::Address(address)) => {
                image.bytes_at(address, length)
            }
            (Self::Module { object, .. }, Location::InModule { section, offset }) => {
                let start = usize::try_from(offset).ok()?;
                object
                    .sections
                    .get(section)?
                    .data
                    .get(start..start.checked_add(length)?)
            }
            _ => None,
        }
    }

    /// Whether the shipped file has a symbol of that name at the location. None: it has no such
    /// name anywhere, as with labels that the kernel keeps no names of.
    pub fn is_named(&self, location: Location, name: &str) -> Option<bool> {
        let locations = self.locations(name);
        (!locations.is_empty()).then(|| locations.contains(&location))
    }

    /// All places with that name.
    pub fn locations(&self, name: &str) -> Vec<Location> {
        match self {
            Self::Vmlinux { kallsyms, .. } => kallsyms
                .named(name)
                .map(|symbol| Location::Address(symbol.address))
                .collect(),
            Self::Module { object, .. } => {
                let named = object.symbols.iter().filter(|symbol| symbol.name == name);
                named.filter_map(module_location).collect()
            }
        }
    }

    /// Where a module's global symbol of that name lies; another unit's static one is not meant.
    pub fn module_global(&self, name: &str) -> Option<Location> {
        match self {
            Self::Vmlinux { .. } => None,
            Self::Module { object, .. } => {
                let mut globals = object.symbols.iter().filter(|symbol| !symbol.is_local());
                globals
                    .find(|symbol| symbol.name == name && symbol.section().is_some())
                    .and_then(module_location)
            }
        }
    }

    /// Livepatch's position of the symbol with that name at that location: 0 where the name is
    /// unique, else counted from 1.
    pub fn sympos(&self, name: &str, location: Location) -> Option<u64> {
        match (self, location) {
            (Self::Vmlinux { kallsyms, .. }, Location::Address(address)) => {
                kallsyms.sympos(name, address)
            }
            (Self::Module { object, symbols }, _) => {
                let index = object.symbols.iter().position(|symbol| {
                    symbol.name == name && module_location(symbol) == Some(location)
                })?;
                symbols.sympos(index)
            }
            _ => None,
        }
    }
}

/// Where a defined symbol of a module lies; none for sections' own symbols.
pub(crate) fn module_location(symbol: &Symbol) -> Option<Location> {
    let section_symbol = symbol.kind == object_kind::SECTION;
    let section = symbol.section().filter(|_| !section_symbol)?;
    Some(Location::InModule {
        section,
        offset: symbol.value,
    })
}

/// `STT_*` values that matter here (ELF gABI, symbol table).
pub(crate) mod object_kind {
    pub const SECTION: u8 = 3;
}
