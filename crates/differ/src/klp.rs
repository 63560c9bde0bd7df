//! Names that the kernel's livepatch code parses
//! (kernel: Documentation/livepatch/module-elf-format.rst).

use suture_kernel::ObjectName;

/// Symbol that livepatch resolves: no ordinary section, not undefined either.
pub(crate) const SHN_LIVEPATCH: u16 = 0xff20;
/// Relocation section that livepatch applies.
pub(crate) const SHF_RELA_LIVEPATCH: u64 = 0x0010_0000;
/// Longest symbol name in a livepatch symbol: `%511[^,]` in the kernel's parser.
pub(crate) const NAME_LIMIT: usize = 511;

const PREFIX: &str = ".klp.sym.";

/// A livepatch symbol by its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LivepatchSymbol<'a> {
    pub object: &'a str,
    pub name: &'a str,
    pub sympos: u64,
    /// The patched object whose relocations must hold it, where that is not `object` itself.
    ///
    /// The kernel's own format has no place for this; the link keeps it as a third component
    /// (`.klp.sym.jbd2.foo,0,ext4`), and `post_link` cuts it off.
    pub patched: Option<&'a str>,
}

impl<'a> LivepatchSymbol<'a> {
    /// Reads a name; `None` if it is not a livepatch symbol at all or not a well-formed one.
    pub fn parse(symbol: &'a str) -> Option<Self> {
        let (object, rest) = symbol.strip_prefix(PREFIX)?.split_once('.')?;
        let mut parts = rest.split(',');
        let (name, sympos) = (parts.next()?, parts.next()?.parse().ok()?);
        let patched = parts.next();
        let sound = object.parse::<ObjectName>().is_ok()
            && patched.is_none_or(|name| name.parse::<ObjectName>().is_ok())
            && (1..=NAME_LIMIT).contains(&name.len())
            && parts.next().is_none();
        sound.then_some(Self {
            object,
            name,
            sympos,
            patched,
        })
    }

    /// Whether a name claims to be a livepatch symbol.
    pub fn is_meant(symbol: &str) -> bool {
        symbol.starts_with(PREFIX)
    }

    /// The name before the last link.
    pub fn link_name(&self) -> String {
        match self.patched {
            Some(patched) => format!("{},{patched}", self.final_name()),
            None => self.final_name(),
        }
    }

    /// The name that the kernel reads.
    pub fn final_name(&self) -> String {
        format!("{PREFIX}{}.{},{}", self.object, self.name, self.sympos)
    }

    /// The patched object whose `.klp.rela` section holds relocations to this symbol. Symbols of
    /// vmlinux are allowed in `.klp.rela.vmlinux.*` only (kernel: `klp_resolve_symbols`).
    pub fn owner(&self) -> &'a str {
        if self.object == "vmlinux" {
            "vmlinux"
        } else {
            self.patched.unwrap_or(self.object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_of_a_third_module_names_the_patched_one() {
        let symbol = LivepatchSymbol::parse(".klp.sym.jbd2.jbd2_journal_stop,0,ext4").unwrap();
        assert_eq!(symbol.owner(), "ext4");
        assert_eq!(symbol.final_name(), ".klp.sym.jbd2.jbd2_journal_stop,0");
        assert_eq!(symbol.link_name(), ".klp.sym.jbd2.jbd2_journal_stop,0,ext4");
    }

    #[test]
    fn clones_keep_their_dots_and_vmlinux_stays_with_vmlinux() {
        let symbol = LivepatchSymbol::parse(".klp.sym.vmlinux.foo.constprop.0,2").unwrap();
        assert_eq!((symbol.name, symbol.sympos), ("foo.constprop.0", 2));
        assert_eq!(symbol.owner(), "vmlinux");
    }

    #[test]
    fn what_the_kernel_would_not_parse_is_no_symbol() {
        for bad in [
            ".klp.sym.vmlinux.foo",
            ".klp.sym..foo,0",
            ".klp.sym.vmlinux.,0",
            "foo",
        ] {
            assert_eq!(LivepatchSymbol::parse(bad), None, "{bad}");
        }
    }
}
