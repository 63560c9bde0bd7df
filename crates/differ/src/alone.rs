//! A unit without the kernel that it belongs to.

use std::collections::HashMap;

use suture_kernel::ObjectName;

use crate::object::Symbol;
use crate::resolve::{ReferencedSymbol, SymbolHome, SymbolResolver, Unresolved};
use crate::unit::Unit;

/// Answers from the original object alone: what it defines lives in `object`, and all else is
/// taken to be exported. Good enough to look at a change, not to load it: how many symbols of one
/// name the kernel has is unknown, so a static one is taken to be the first.
pub(crate) struct Alone<'a> {
    object: &'a ObjectName,
    defined: HashMap<&'a str, Vec<&'a Symbol>>,
}

impl<'a> Alone<'a> {
    pub fn new(unit: &'a Unit, object: &'a ObjectName) -> Self {
        let mut defined: HashMap<&str, Vec<&Symbol>> = HashMap::new();
        for symbol in &unit.object.symbols {
            if symbol.section().is_some() {
                defined.entry(&symbol.name).or_default().push(symbol);
            }
        }
        Self { object, defined }
    }

    fn sympos(&self, name: &str) -> Result<Option<u64>, Unresolved> {
        match self.defined.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([symbol]) => Ok(Some(u64::from(symbol.is_local()))),
            Some(several) => Err(Unresolved {
                name: name.to_owned(),
                reason: format!("the unit has {} symbols of that name", several.len()),
            }),
        }
    }
}

impl SymbolResolver for Alone<'_> {
    fn resolve(&self, symbol: &ReferencedSymbol<'_>) -> Result<SymbolHome, Unresolved> {
        let object = self.object.clone();
        Ok(match self.sympos(symbol.name)? {
            Some(sympos) => SymbolHome::Livepatch { object, sympos },
            None => SymbolHome::Exported,
        })
    }

    fn function_position(&self, name: &str) -> Result<u64, Unresolved> {
        Ok(self.sympos(name)?.unwrap_or(0))
    }
}
