//! The symbols of the running kernel that the extracted object names.

use std::collections::HashMap;

use suture_kernel::ObjectName;

use crate::klp::{LivepatchSymbol, NAME_LIMIT};
use crate::refusal::Refusal;
use crate::resolve::{ReferencedSymbol, SymbolHome, SymbolResolver};

/// Asks the resolver once for each symbol.
pub(crate) struct Symbols<'a> {
    patched: &'a ObjectName,
    resolver: &'a dyn SymbolResolver,
    known: HashMap<(String, bool), Result<SymbolHome, String>>,
}

/// An undefined symbol of the output.
pub(crate) struct Outside {
    pub name: String,
    /// Known to the kernel only after the patch's own tables have been worked on: once a module
    /// has been loaded, or in kernels that fill in all livepatch relocations so late.
    pub late: bool,
}

impl<'a> Symbols<'a> {
    pub fn new(patched: &'a ObjectName, resolver: &'a dyn SymbolResolver) -> Self {
        Self {
            patched,
            resolver,
            known: HashMap::new(),
        }
    }

    /// The name under which `symbol` is reached from the patch.
    pub fn outside(
        &mut self,
        symbol: &ReferencedSymbol<'_>,
        function: &str,
    ) -> Result<Outside, Refusal> {
        let resolver = self.resolver;
        let key = (symbol.name.to_owned(), symbol.local);
        let home = self
            .known
            .entry(key)
            .or_insert_with(|| resolver.resolve(symbol).map_err(|error| error.reason))
            .clone();
        match home {
            Ok(SymbolHome::Patch | SymbolHome::Exported) => Ok(Outside {
                name: symbol.name.to_owned(),
                late: false,
            }),
            Ok(SymbolHome::Livepatch { object, sympos }) => {
                self.livepatch_name(symbol.name, &object, sympos, function)
            }
            Err(reason) => Err(unresolved(function, symbol.name, reason)),
        }
    }

    fn livepatch_name(
        &self,
        name: &str,
        object: &ObjectName,
        sympos: u64,
        function: &str,
    ) -> Result<Outside, Refusal> {
        if self.patched.is_vmlinux() && !object.is_vmlinux() {
            return Err(Refusal::ForeignSymbol {
                symbol: name.to_owned(),
                patched: self.patched.to_string(),
                object: object.to_string(),
            });
        }
        if name.is_empty() || name.len() > NAME_LIMIT || name.contains(',') {
            let reason = format!("livepatch symbols have 1 to {NAME_LIMIT} bytes and no comma");
            return Err(unresolved(function, name, reason));
        }
        let third = !object.is_vmlinux() && object != self.patched;
        let symbol = LivepatchSymbol {
            object: object.as_str(),
            name,
            sympos,
            patched: third.then_some(self.patched.as_str()),
        };
        Ok(Outside {
            name: symbol.link_name(),
            late: !object.is_vmlinux() || self.resolver.tables_come_first(),
        })
    }

    /// Whether the running kernel has the function only as a part of others.
    pub fn is_inlined(&self, function: &str) -> bool {
        self.resolver.is_inlined(function)
    }

    /// `old_sympos` of a function to redirect.
    pub fn function_position(&self, name: &str) -> Result<u64, Refusal> {
        self.resolver
            .function_position(name)
            .map_err(|error| unresolved(name, name, error.reason))
    }
}

fn unresolved(function: &str, symbol: &str, reason: String) -> Refusal {
    Refusal::Unresolved {
        function: function.to_owned(),
        symbol: symbol.to_owned(),
        reason,
    }
}
