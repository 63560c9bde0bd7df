//! The compressed names and the markers that prove their place.

use super::tokens::TokenTable;
use super::{
    Budget, KallsymsError, KallsymsSymbol, NAME_LIMIT, SYMBOL_LIMIT, SYMBOL_MINIMUM, u32_at, u64_at,
};

/// How far before the token table the names may start, in bytes. A distribution's take 1 to 4 MB.
const REACH: usize = 64 << 20;

/// Most bytes that a symbol takes on average, markers included. A distribution's take 15.
const DENSITY: usize = 64;

/// ```text
/// kallsyms_num_syms:  u32, padding (u64 before 4.20)
/// kallsyms_names:     one record for each symbol, padding
///                       length  1 byte, or 2 (ULEB128) since 6.1 if it is above 127
///                       tokens  `length` bytes
/// kallsyms_markers:   u32 (u64 before 4.20) for each 256th symbol: where its record starts
/// ```
///
/// The tables are padded to 8 bytes, since 7.0 to 4.
pub(super) struct Names<'data> {
    /// Where `kallsyms_num_syms` lies in `.rodata`.
    pub count_at: usize,
    records: Vec<&'data [u8]>,
}

impl<'data> Names<'data> {
    /// Looks backwards from the token table.
    pub(super) fn find(
        data: &'data [u8],
        tokens: &TokenTable<'_>,
        budget: &mut Budget,
    ) -> Result<Option<Self>, KallsymsError> {
        let data = &data[..tokens.start];
        let nearest = tokens.start / 4;
        for count_at in (nearest.saturating_sub(REACH / 4)..nearest)
            .rev()
            .map(|word| word * 4)
        {
            budget.spend(1)?;
            if let Some(count) = plausible_count(data, count_at) {
                for padding in [8, 4] {
                    if let Some(records) = records(data, count_at, count, padding, budget)? {
                        return Ok(Some(Self { count_at, records }));
                    }
                }
            }
        }
        Ok(None)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The symbols with their types, still without addresses.
    pub(super) fn decode(
        &self,
        tokens: &TokenTable<'_>,
    ) -> Result<Vec<KallsymsSymbol>, KallsymsError> {
        let decode = |(index, record): (usize, &&[u8])| {
            symbol(record, tokens).ok_or(KallsymsError::InvalidName { index })
        };
        self.records.iter().enumerate().map(decode).collect()
    }
}

fn plausible_count(data: &[u8], count_at: usize) -> Option<usize> {
    let count = usize::try_from(u32_at(data, count_at)?).ok()?;
    let room = data.len() - count_at;
    let dense = room / DENSITY <= count && count <= room / 2;
    ((SYMBOL_MINIMUM..=SYMBOL_LIMIT).contains(&count) && dense).then_some(count)
}

/// The records behind the count, if the markers behind them agree.
fn records<'data>(
    data: &'data [u8],
    count_at: usize,
    count: usize,
    padding: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<&'data [u8]>>, KallsymsError> {
    let start = (count_at + 4).next_multiple_of(padding);
    let mut records = Vec::new();
    let mut markers = Vec::new();
    let mut offset = start;
    for number in 0..count {
        budget.spend(1)?;
        if number % 256 == 0 {
            markers.push((offset - start) as u64);
        }
        let Some((record, next)) = record_at(data, offset) else {
            return Ok(None);
        };
        records.push(record);
        offset = next;
    }
    let markers_at = offset.next_multiple_of(padding);
    Ok(markers_agree(data, markers_at, &markers).then_some(records))
}

/// The record at `offset` and where the next one starts.
fn record_at(data: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let first = usize::from(*data.get(offset)?);
    let (length, start) = if first & 0x80 == 0 {
        (first, offset + 1)
    } else {
        (
            (first & 0x7f) | usize::from(*data.get(offset + 1)?) << 7,
            offset + 2,
        )
    };
    let record = data.get(start..start + length)?;
    (1..=NAME_LIMIT)
        .contains(&length)
        .then_some((record, start + length))
}

fn markers_agree(data: &[u8], start: usize, markers: &[u64]) -> bool {
    let agree = |read: &dyn Fn(usize) -> Option<u64>| {
        markers
            .iter()
            .enumerate()
            .all(|(index, marker)| read(index) == Some(*marker))
    };
    agree(&|index| u32_at(data, start + 4 * index).map(u64::from))
        || agree(&|index| u64_at(data, start + 8 * index))
}

fn symbol(record: &[u8], tokens: &TokenTable<'_>) -> Option<KallsymsSymbol> {
    let mut text = Vec::with_capacity(32);
    for byte in record {
        text.extend_from_slice(tokens.token(*byte));
        if text.len() > NAME_LIMIT {
            return None;
        }
    }
    let (kind, name) = text.split_first()?;
    let printable = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let kind = *kind;
    let name = String::from_utf8(name.to_vec())
        .ok()
        .filter(|_| printable)?;
    // nm(1) prints `?` for a type that it does not know.
    let known = kind.is_ascii_alphabetic() || kind == b'?';
    known.then_some(KallsymsSymbol {
        address: 0,
        kind,
        name,
    })
}
