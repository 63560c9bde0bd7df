//! Where the symbols that patched code refers to live in the running kernel.

use std::collections::{HashMap, HashSet};

use suture_differ::object::{Object, Symbol};
use suture_differ::{ReferencedSymbol, SymbolHome, SymbolResolver, Unresolved};
use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::symvers::Symvers;
use suture_kernel::{LivepatchAbi, ObjectName};

use crate::added::Added;
use crate::equality::Proof;
use crate::needed_modules::NeededModules;
use crate::shipped_object::{Location, ShippedObject};

/// Answers for one unit.
pub(crate) struct UnitResolver<'a> {
    pub object: &'a ObjectName,
    pub plain: &'a Object,
    pub proof: &'a Proof,
    pub shipped: &'a ShippedObject<'a>,
    pub kallsyms: &'a Kallsyms,
    pub symvers: &'a Symvers,
    /// Global symbols that the fix adds, in any unit.
    pub added: &'a HashMap<String, Added>,
    /// Modules that are loaded whenever this one is.
    pub needed: &'a NeededModules,
    /// Of objects of another compile than the plain one, which may inline others: its clones that
    /// the running kernel does not have.
    pub other_compile: Option<&'a HashSet<String>>,
    pub abi: LivepatchAbi,
}

impl UnitResolver<'_> {
    fn livepatch(&self, object: &ObjectName, sympos: u64) -> SymbolHome {
        SymbolHome::Livepatch {
            object: object.clone(),
            sympos,
        }
    }

    /// A symbol that the unit itself defines, wherever the proof found it.
    fn own(&self, name: &str) -> Option<u64> {
        let location = self.proof.location(self.plain, self.shipped, name)?;
        self.shipped.sympos(name, location)
    }

    /// A global symbol of another unit.
    fn global(&self, name: &str) -> Result<SymbolHome, String> {
        match self.added.get(name) {
            Some(Added::New(home)) => return self.of_patch(home),
            Some(Added::WasStatic { object, sympos }) => return self.of_unit(object, sympos),
            None => {}
        }
        if let Some(location) = self.shipped.module_global(name) {
            let sympos = self.shipped.sympos(name, location);
            return sympos
                .map(|sympos| self.livepatch(self.object, sympos))
                .ok_or_else(|| format!("{} drops it after its start", self.object));
        }
        match self.symvers.exporter(name) {
            // Importing a namespace is a promise to its owner; a livepatch relocation needs none.
            Some(export) if export.module.is_vmlinux() && export.namespace.is_none() => {
                Ok(SymbolHome::Exported)
            }
            // A module exports a name only if no other symbol of it could be meant.
            Some(export) if self.needed.has(&export.module) => {
                Ok(self.livepatch(&export.module, 0))
            }
            Some(export) if !export.module.is_vmlinux() => Err(format!(
                "module {} exports it, and {} is loaded without that module",
                export.module, self.object
            )),
            _ => self.vmlinux_global(name),
        }
    }

    /// What another unit of the patch defines. The kernel completes its code when that unit's
    /// object is loaded, so it must not be called without.
    fn of_patch(&self, home: &ObjectName) -> Result<SymbolHome, String> {
        if self.is_there(home) {
            return Ok(SymbolHome::Patch);
        }
        Err(format!(
            "the fix adds it to {home}, and {} may be loaded without that",
            self.object
        ))
    }

    /// What was static in another unit, and the fix lets this one use.
    fn of_unit(
        &self,
        home: &ObjectName,
        sympos: &Result<u64, String>,
    ) -> Result<SymbolHome, String> {
        if !self.is_there(home) {
            return Err(format!(
                "it is of {home}, and {} may be loaded without that",
                self.object
            ));
        }
        sympos.clone().map(|sympos| self.livepatch(home, sympos))
    }

    /// Whether an object is loaded whenever this unit's is.
    fn is_there(&self, home: &ObjectName) -> bool {
        home.is_vmlinux() || home == self.object || self.needed.has(home)
    }

    fn vmlinux_global(&self, name: &str) -> Result<SymbolHome, String> {
        let vmlinux = ObjectName::vmlinux();
        let globals: Vec<u64> = self
            .kallsyms
            .named(name)
            .filter(|symbol| symbol.kind.is_ascii_uppercase())
            .map(|symbol| symbol.address)
            .collect();
        let address = match globals.as_slice() {
            [only] => *only,
            [] => return Err("no object of this kernel has a global symbol of that name".into()),
            _ => return Err("several global symbols of the image have that name".into()),
        };
        let sympos = self.kallsyms.sympos(name, address);
        let sympos = sympos.ok_or("its place among symbols of that name is not certain")?;
        Ok(self.livepatch(&vmlinux, sympos))
    }
}

impl SymbolResolver for UnitResolver<'_> {
    fn resolve(&self, symbol: &ReferencedSymbol<'_>) -> Result<SymbolHome, Unresolved> {
        let unresolved = |reason: String| Unresolved {
            name: symbol.name.to_owned(),
            reason,
        };
        let defined_here = self
            .plain
            .symbols
            .iter()
            .any(|own| own.name == symbol.name && own.section().is_some() && !own.is_weak());
        let exported = self.object.is_vmlinux()
            && !symbol.local
            && self
                .symvers
                .exporter(symbol.name)
                .is_some_and(|export| export.module.is_vmlinux() && export.namespace.is_none());
        if exported {
            Ok(SymbolHome::Exported)
        } else if defined_here {
            let sympos = self.own(symbol.name).ok_or_else(|| {
                unresolved("its place in the shipped kernel could not be proven".to_owned())
            })?;
            Ok(self.livepatch(self.object, sympos))
        } else if symbol.local {
            Err(unresolved(
                "the plain compile of the unit has no such symbol".to_owned(),
            ))
        } else {
            self.global(symbol.name).map_err(unresolved)
        }
    }

    fn function_position(&self, name: &str) -> Result<u64, Unresolved> {
        let unresolved = |reason: String| Unresolved {
            name: name.to_owned(),
            reason,
        };
        let proven = self.proof.function(name).map_err(unresolved)?;
        self.position(name, proven.location).ok_or_else(|| {
            unresolved("its place among functions of that name is not certain".into())
        })
    }

    fn is_inlined(&self, function: &str) -> bool {
        let defines = |own: &Symbol| own.name == function && own.section().is_some();
        self.other_compile.is_some_and(|clones| {
            clones.contains(function) || !self.plain.symbols.iter().any(defines)
        })
    }

    fn tables_come_first(&self) -> bool {
        self.abi == LivepatchAbi::Registering
    }
}

impl UnitResolver<'_> {
    fn position(&self, name: &str, location: Location) -> Option<u64> {
        self.shipped.sympos(name, location)
    }
}
