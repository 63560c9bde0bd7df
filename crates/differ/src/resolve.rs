//! Where a symbol that a patched function refers to lives in the running kernel. The differ
//! asks, its caller (who knows the kernel) answers.

use suture_kernel::ObjectName;
use thiserror::Error;

/// Where a referenced symbol is found when the patch is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolHome {
    /// Another unit of this same patch defines it: an ordinary undefined symbol.
    Patch,
    /// vmlinux exports it to modules: an ordinary undefined symbol.
    Exported,
    /// Any other symbol of vmlinux or of a module: a livepatch relocation.
    Livepatch {
        /// `vmlinux` or the module that defines it.
        object: ObjectName,
        /// 1-based place among the symbols of that name in kallsyms order, 0 if it is the only
        /// one (kernel: Documentation/livepatch/livepatch.rst, `old_sympos`).
        sympos: u64,
    },
}

/// What kind of thing a symbol names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    Function,
    Data,
    /// The unit does not define it, so its object does not say.
    Unknown,
}

/// A symbol that a taken function refers to and that the running kernel must supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferencedSymbol<'a> {
    /// The name in the original object, e.g. `foo.12` for a static local.
    pub name: &'a str,
    /// Whether it is static in this unit (`STB_LOCAL` in the original object).
    pub local: bool,
    pub kind: SymbolKind,
}

/// A symbol that the running kernel does not have, or not unmistakably.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` can't be found in the running kernel: {reason}")]
pub struct Unresolved {
    pub name: String,
    pub reason: String,
}

/// Knows the kernel that is patched.
pub trait SymbolResolver {
    /// Where `symbol` lives.
    fn resolve(&self, symbol: &ReferencedSymbol<'_>) -> Result<SymbolHome, Unresolved>;

    /// 1-based position of a function of this unit among the same-named symbols of its object
    /// in kallsyms order, 0 if its name is unique there.
    fn function_position(&self, name: &str) -> Result<u64, Unresolved>;

    /// Whether the running kernel has no function of that name although the original object has,
    /// because there it is part of its callers. A copy of it goes along with code that calls it.
    fn is_inlined(&self, _function: &str) -> bool {
        false
    }

    /// Whether the kernel works on a patch's tables (alternatives, static branches, …) before it
    /// fills in any of its livepatch relocations. Others fill in those of vmlinux first.
    fn tables_come_first(&self) -> bool {
        false
    }
}
