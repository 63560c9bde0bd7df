//! The kernel's own symbol table, recovered from a stripped image.
//!
//! A vmlinuz has no ELF symbol table, but it carries what `/proc/kallsyms` prints: all names,
//! compressed with a table of 256 tokens, and all addresses. The tables have no header; they are
//! found by their inner consistency (see [`Kallsyms::recover`]).

mod addresses;
mod names;
mod tokens;

use thiserror::Error;

use crate::vmlinux::Vmlinux;
use addresses::Anchor;
use names::Names;
use tokens::TokenTable;

/// Most symbols that are read. A distribution's kernel has 90,000 to 200,000.
pub const SYMBOL_LIMIT: usize = 4 << 20;

/// Fewest symbols that a table must have: two markers, so that its place can be proven.
pub const SYMBOL_MINIMUM: usize = 257;

/// Longest symbol, in bytes with its type letter (kernel: `KSYM_NAME_LEN`, 128 before 6.1).
pub const NAME_LIMIT: usize = 512;

/// Steps that the search may take in all; Debian's 6.1, 6.12 and 7.2 need 1 to 3 million.
const SEARCH_LIMIT: u64 = 1 << 26;

/// Why the symbol table could not be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KallsymsError {
    #[error("the vmlinux has no section `{0}` to look for kallsyms in")]
    NoSection(&'static str),
    #[error("no kallsyms token table in `.rodata`: was the kernel built with CONFIG_KALLSYMS?")]
    NoTokens,
    #[error("a kallsyms token table is there, but no names whose markers agree")]
    NoNames,
    #[error("{symbols} kallsyms names are there, but no table of addresses in a known layout")]
    NoAddresses { symbols: usize },
    #[error("kallsyms symbol number {index} has no readable name")]
    InvalidName { index: usize },
    #[error("gave up the search for kallsyms: too many places look like its tables")]
    TooMuchWork,
}

/// One symbol, as a line of `/proc/kallsyms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KallsymsSymbol {
    /// The link address, before KASLR moves the kernel.
    pub address: u64,
    /// The letter that nm(1) prints, e.g. `t` for a static function.
    pub kind: u8,
    pub name: String,
}

impl KallsymsSymbol {
    /// Whether the symbol lies in code: types `t`, `T`, `w` and `W`.
    pub fn is_text(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W')
    }
}

/// All symbols of a vmlinux in kallsyms order: by address, and for equal addresses as the kernel's
/// build sorted them.
///
/// This is the order that livepatch counts `old_sympos` and the position in `.klp.sym` names in:
/// every entry of that name counts, whatever its type, init sections included (kernel:
/// `klp_find_object_symbol()`; kernels that look names up by bisection, 6.2 and newer, keep the
/// same order among equal names).
#[derive(Debug, Clone)]
pub struct Kallsyms {
    symbols: Vec<KallsymsSymbol>,
    /// Places in `symbols`, sorted by name and then by place.
    by_name: Vec<u32>,
}

impl Kallsyms {
    /// Finds the tables in `.rodata` and decodes them.
    ///
    /// 1. The token table holds the digits in a row, and the token index that follows must state
    ///    where each of its 256 tokens starts.
    /// 2. Before it lie the number of symbols, their names, and one marker for every 256th name;
    ///    a place is right if all markers agree with the names.
    /// 3. The addresses lie before the number of symbols or after the token index (6.4 and newer).
    ///    Four encodings exist; the right one gives ascending addresses and puts `_text` at the
    ///    start of the section `.text`.
    pub fn recover(vmlinux: &Vmlinux<'_>) -> Result<Self, KallsymsError> {
        let missing = KallsymsError::NoSection;
        let rodata = vmlinux.section(".rodata").ok_or(missing(".rodata"))?;
        let text = vmlinux.section(".text").ok_or(missing(".text"))?.address;
        let mut budget = Budget(SEARCH_LIMIT);
        let mut failure = KallsymsError::NoTokens;
        for tokens in TokenTable::find_all(rodata.data) {
            budget.spend(256)?;
            match Names::find(rodata.data, &tokens, &mut budget)? {
                None => failure = KallsymsError::NoNames,
                Some(names) => {
                    let symbols = names.decode(&tokens)?;
                    let anchor = Anchor {
                        rodata: rodata.address,
                        text,
                    };
                    match addresses::assign(rodata.data, &names, &tokens, symbols, anchor) {
                        Ok(symbols) => return Ok(Self::from_sorted(symbols)),
                        Err(error) => failure = error,
                    }
                }
            }
        }
        Err(failure)
    }

    fn from_sorted(symbols: Vec<KallsymsSymbol>) -> Self {
        let mut by_name: Vec<u32> = (0..symbols.len() as u32).collect();
        by_name.sort_by(|&left, &right| {
            symbols[left as usize]
                .name
                .cmp(&symbols[right as usize].name)
                .then(left.cmp(&right))
        });
        Self { symbols, by_name }
    }

    /// All symbols in kallsyms order.
    pub fn symbols(&self) -> &[KallsymsSymbol] {
        &self.symbols
    }

    /// The symbols of that name, in kallsyms order.
    pub fn named(&self, name: &str) -> impl ExactSizeIterator<Item = &KallsymsSymbol> {
        let name_at = |&place: &u32| self.symbols[place as usize].name.as_str();
        let start = self.by_name.partition_point(|place| name_at(place) < name);
        let rest = &self.by_name[start..];
        let count = rest.partition_point(|place| name_at(place) == name);
        rest[..count]
            .iter()
            .map(|&place| &self.symbols[place as usize])
    }

    /// Where the symbol at `address` stands among those of the same name, counted from 1.
    ///
    /// None if there is no such symbol. If two of that name share the address, the first counts.
    pub fn position(&self, name: &str, address: u64) -> Option<u64> {
        let index = self
            .named(name)
            .position(|symbol| symbol.address == address)?;
        Some(index as u64 + 1)
    }

    /// The symbol position that livepatch wants: 0 if the name is unique, else
    /// [`position`](Self::position).
    pub fn sympos(&self, name: &str, address: u64) -> Option<u64> {
        let position = self.position(name, address)?;
        Some(if self.named(name).len() == 1 {
            0
        } else {
            position
        })
    }

    /// The next higher address that has a symbol: an upper bound for where the symbol at
    /// `address` ends, since kallsyms knows no sizes.
    pub fn next_address_after(&self, address: u64) -> Option<u64> {
        let next = self
            .symbols
            .partition_point(|symbol| symbol.address <= address);
        self.symbols.get(next).map(|symbol| symbol.address)
    }

    /// The symbols at exactly that address, in kallsyms order.
    pub fn at(&self, address: u64) -> &[KallsymsSymbol] {
        let start = self
            .symbols
            .partition_point(|symbol| symbol.address < address);
        let rest = &self.symbols[start..];
        &rest[..rest.partition_point(|symbol| symbol.address == address)]
    }
}

/// The steps that a search has left.
struct Budget(u64);

impl Budget {
    fn spend(&mut self, steps: u64) -> Result<(), KallsymsError> {
        self.0 = self
            .0
            .checked_sub(steps)
            .ok_or(KallsymsError::TooMuchWork)?;
        Ok(())
    }
}

fn u16_at(data: &[u8], offset: usize) -> Option<u16> {
    data.get(offset..)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    data.get(offset..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(data: &[u8], offset: usize) -> Option<u64> {
    data.get(offset..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}
