//! The `.modinfo` section: what a module says about itself.

use thiserror::Error;

use crate::elf::{self, ElfError};
use crate::{InvalidName, ObjectName};

/// Largest `.modinfo` that is read, in bytes. Modules with thousands of aliases have 300 KB.
const MODINFO_LIMIT: usize = 16 << 20;

/// Why `.modinfo` could not be read.
#[derive(Debug, Error)]
pub enum ModinfoError {
    #[error("cannot read the module")]
    Elf(#[from] ElfError),
    #[error("`.modinfo` has {0} bytes, at most 16 MiB are read")]
    TooLarge(usize),
    #[error("`.modinfo` holds `{0}`, expected `key=value`")]
    NoValue(String),
    #[error("`.modinfo` holds text that is not UTF-8")]
    NotUtf8,
    #[error("`.modinfo` has no `{0}`")]
    Missing(&'static str),
    #[error("`.modinfo` names an impossible module")]
    Name(#[from] InvalidName),
}

/// The key and value pairs of a module, in file order. A key may come more than once (`alias`,
/// `parm`, `import_ns`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modinfo {
    pairs: Vec<(String, String)>,
}

impl Modinfo {
    /// Reads `.modinfo` of an ELF module; a signature behind it doesn't matter.
    pub fn of_module(module: &[u8]) -> Result<Self, ModinfoError> {
        let sections = elf::sections(&elf::open(module)?, module)?;
        let section = sections.iter().find(|section| section.name == ".modinfo");
        Self::parse(section.ok_or(ElfError::NoSection(".modinfo"))?.data)
    }

    /// Reads the bytes of the section: `key=value` texts, each with a NUL after it.
    pub fn parse(section: &[u8]) -> Result<Self, ModinfoError> {
        if section.len() > MODINFO_LIMIT {
            return Err(ModinfoError::TooLarge(section.len()));
        }
        let text = std::str::from_utf8(section).map_err(|_| ModinfoError::NotUtf8)?;
        let pair = |line: &str| {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| ModinfoError::NoValue(line.chars().take(80).collect()))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        let lines = text.split('\0').filter(|line| !line.is_empty());
        Ok(Self {
            pairs: lines.map(pair).collect::<Result<_, ModinfoError>>()?,
        })
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a key, in file order.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// All pairs, in file order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The kernel that the module is for, e.g. `6.1.0-53-amd64 SMP preempt mod_unload modversions`.
    pub fn vermagic(&self) -> Option<&str> {
        self.get("vermagic")
    }

    /// The modules that must be loaded before this one.
    pub fn depends(&self) -> Result<Vec<ObjectName>, ModinfoError> {
        let names = self.get("depends").unwrap_or_default().split(',');
        names
            .filter(|name| !name.is_empty())
            .map(|name| Ok(name.parse()?))
            .collect()
    }

    /// The name that the module has in memory.
    pub fn name(&self) -> Result<ObjectName, ModinfoError> {
        Ok(self
            .get("name")
            .ok_or(ModinfoError::Missing("name"))?
            .parse()?)
    }

    /// Whether the module declares itself a live patch (`livepatch=Y`).
    pub fn is_livepatch(&self) -> bool {
        self.get("livepatch") == Some("Y")
    }
}
