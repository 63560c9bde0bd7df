//! The token table: 256 strings that a byte of a compressed name may stand for.

use super::{NAME_LIMIT, u16_at};

/// Ten tokens in a row that every kernel has, since digits occur in its names and so keep their
/// own meaning.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";

/// ```text
/// kallsyms_token_table:  NUL-terminated strings 0..=255, padding
/// kallsyms_token_index:  u16 x 256, where each string starts in the table
/// ```
pub(super) struct TokenTable<'data> {
    /// Where the table starts in `.rodata`.
    pub start: usize,
    /// Where the index ends.
    pub end: usize,
    tokens: Vec<&'data [u8]>,
}

impl<'data> TokenTable<'data> {
    /// All places in `data` that hold a consistent table and index.
    pub(super) fn find_all(data: &'data [u8]) -> impl Iterator<Item = Self> {
        memchr::memmem::find_iter(data, DIGITS).filter_map(|digits| Self::around(data, digits))
    }

    /// The table whose token 48 (`0`) starts at `zero`.
    fn around(data: &'data [u8], zero: usize) -> Option<Self> {
        let mut end = zero;
        for _ in b'0'..=255 {
            end += token_at(data, end)?.len() + 1;
        }
        (end..end + 8).find_map(|index| Self::with_index(data, zero, index, end))
    }

    fn with_index(data: &'data [u8], zero: usize, index: usize, end: usize) -> Option<Self> {
        let start_of = |token: usize| u16_at(data, index + 2 * token).map(usize::from);
        let start = zero.checked_sub(start_of(usize::from(b'0'))?)?;
        let mut tokens = Vec::with_capacity(256);
        let mut offset = 0;
        for token in 0..256 {
            if start_of(token)? != offset {
                return None;
            }
            let text = token_at(data, start + offset)?;
            offset += text.len() + 1;
            tokens.push(text);
        }
        (start + offset == end).then_some(Self {
            start,
            end: index + 512,
            tokens,
        })
    }

    pub(super) fn token(&self, byte: u8) -> &'data [u8] {
        self.tokens[usize::from(byte)]
    }
}

fn token_at(data: &[u8], start: usize) -> Option<&[u8]> {
    let rest = data.get(start..)?;
    let rest = &rest[..rest.len().min(NAME_LIMIT)];
    Some(&rest[..memchr::memchr(0, rest)?])
}
