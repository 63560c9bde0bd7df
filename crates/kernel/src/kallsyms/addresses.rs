//! The addresses of the symbols, in each encoding that kernels have had.

use super::names::Names;
use super::tokens::TokenTable;
use super::{KallsymsError, KallsymsSymbol, u32_at, u64_at};

/// What is known of the addresses beforehand.
#[derive(Clone, Copy)]
pub(super) struct Anchor {
    /// The address of `.rodata`, which the tables lie in.
    pub rodata: u64,
    /// The address of `.text`, which `_text` marks.
    pub text: u64,
}

/// How a table states an address.
#[derive(Clone, Copy)]
enum Encoding {
    /// The address, 8 bytes (before 4.6).
    Absolute,
    /// Unsigned distance from the base (CONFIG_KALLSYMS_BASE_RELATIVE).
    Relative { base: u64 },
    /// Per-CPU symbols as they are; others as `base - 1 - offset`, which is negative
    /// (CONFIG_KALLSYMS_ABSOLUTE_PERCPU, x86-64 with SMP before 6.15).
    RelativeButPerCpu { base: u64 },
    /// Signed distance from the table's own entry at the table's address (since 7.0).
    PlaceRelative { table: u64 },
}

/// Gives each symbol its address by the first table that fits.
pub(super) fn assign(
    data: &[u8],
    names: &Names<'_>,
    tokens: &TokenTable<'_>,
    mut symbols: Vec<KallsymsSymbol>,
    anchor: Anchor,
) -> Result<Vec<KallsymsSymbol>, KallsymsError> {
    for (table, encoding) in candidates(data, names, tokens, anchor) {
        if fill(data, table, encoding, &mut symbols).is_some() && fits(&symbols, anchor) {
            return Ok(symbols);
        }
    }
    Err(KallsymsError::NoAddresses {
        symbols: symbols.len(),
    })
}

/// The places where a table can be, each with the encodings that it can have there.
///
/// ```text
/// before 4.6:  addresses (u64 each), number of symbols, names, ...
/// before 6.4:  offsets (u32 each), padding, relative base (u64), number of symbols, names, ...
/// before 7.0:  ..., token table, token index, offsets (u32 each), padding, relative base (u64)
/// since 7.0:   ..., token table, token index, offsets (i32 each)
/// ```
fn candidates(
    data: &[u8],
    names: &Names<'_>,
    tokens: &TokenTable<'_>,
    anchor: Anchor,
) -> Vec<(usize, Encoding)> {
    let mut found = Vec::new();
    let mut relative = |table: usize, base_at: usize| {
        if let Some(base) = u64_at(data, base_at) {
            found.push((table, Encoding::RelativeButPerCpu { base }));
            found.push((table, Encoding::Relative { base }));
        }
    };
    let after = tokens.end.next_multiple_of(8);
    relative(after, (after + 4 * names.len()).next_multiple_of(8));
    if let Some(base_at) = names.count_at.checked_sub(8)
        && let Some(end) = base_at.checked_sub(4 * names.len())
    {
        relative(end / 8 * 8, base_at);
    }
    for after in [tokens.end.next_multiple_of(4), after] {
        let table = anchor.rodata.wrapping_add(after as u64);
        found.push((after, Encoding::PlaceRelative { table }));
    }
    if let Some(table) = names.count_at.checked_sub(8 * names.len()) {
        found.push((table, Encoding::Absolute));
    }
    found
}

fn fill(
    data: &[u8],
    table: usize,
    encoding: Encoding,
    symbols: &mut [KallsymsSymbol],
) -> Option<()> {
    for (index, symbol) in symbols.iter_mut().enumerate() {
        symbol.address = match encoding {
            Encoding::Absolute => u64_at(data, table + 8 * index)?,
            _ => encoding.relative(index as u64, u32_at(data, table + 4 * index)?),
        };
    }
    Some(())
}

impl Encoding {
    fn relative(self, index: u64, entry: u32) -> u64 {
        let signed = i64::from(entry.cast_signed()).cast_unsigned();
        match self {
            Self::Absolute => u64::from(entry),
            Self::Relative { base } => base.wrapping_add(u64::from(entry)),
            Self::RelativeButPerCpu { .. } if entry.cast_signed() >= 0 => u64::from(entry),
            Self::RelativeButPerCpu { base } => base.wrapping_sub(1).wrapping_sub(signed),
            Self::PlaceRelative { table } => table.wrapping_add(4 * index).wrapping_add(signed),
        }
    }
}

fn fits(symbols: &[KallsymsSymbol], anchor: Anchor) -> bool {
    let text_is_right =
        |symbol: &KallsymsSymbol| symbol.name == "_text" && symbol.address == anchor.text;
    symbols.is_sorted_by_key(|symbol| symbol.address) && symbols.iter().any(text_is_right)
}
