//! Writes kallsyms tables in each layout that kernels have had.

use crate::elf_file::{self, RODATA};

/// Which kernels lay their tables out so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Addresses of 8 bytes, markers of 8 bytes (4.4).
    Absolute,
    /// Offsets before the names; per-CPU symbols as they are (6.1).
    OffsetsBefore,
    /// Offsets before the names, all of them relative (without SMP).
    OffsetsBeforeAllRelative,
    /// Offsets after the token index (6.12).
    OffsetsAfter,
    /// Signed distances from each entry, padding to 4 bytes (7.2).
    PlaceRelative,
}

pub const LAYOUTS: [Layout; 5] = [
    Layout::Absolute,
    Layout::OffsetsBefore,
    Layout::OffsetsBeforeAllRelative,
    Layout::OffsetsAfter,
    Layout::PlaceRelative,
];

/// Address, type letter, name.
pub type Symbol = (u64, u8, String);

/// A vmlinux with the tables of these symbols, which are sorted by address.
pub fn vmlinux(layout: Layout, symbols: &[Symbol]) -> Vec<u8> {
    elf_file::vmlinux(&rodata(layout, symbols))
}

/// Two tokens stand for more than one letter, so that names are really compressed.
const TOKENS: [(u8, &str); 2] = [(1, "Tsys_"), (2, "_x_")];

fn rodata(layout: Layout, symbols: &[Symbol]) -> Vec<u8> {
    let base = symbols
        .iter()
        .map(|symbol| symbol.0)
        .find(|address| *address >= 1 << 32);
    let base = base.expect("one symbol outside per-CPU data");
    let padding = if layout == Layout::PlaceRelative {
        4
    } else {
        8
    };
    let mut out = b"constants before the tables".to_vec();
    pad(&mut out, 8);
    match layout {
        Layout::Absolute => symbols
            .iter()
            .for_each(|symbol| out.extend(symbol.0.to_le_bytes())),
        Layout::OffsetsBefore => offsets(&mut out, symbols, base, true),
        Layout::OffsetsBeforeAllRelative => offsets(&mut out, symbols, base, false),
        Layout::OffsetsAfter | Layout::PlaceRelative => {}
    }
    if layout == Layout::PlaceRelative {
        out.extend([0xee; 4]); // what comes before ends at no multiple of 8
    }
    names(&mut out, symbols, padding, layout == Layout::Absolute);
    out.extend(tokens());
    match layout {
        Layout::OffsetsAfter => offsets(&mut out, symbols, base, true),
        Layout::PlaceRelative => place_relative(&mut out, symbols),
        _ => {}
    }
    out.extend(b"constants behind the tables");
    out
}

fn pad(out: &mut Vec<u8>, padding: usize) {
    out.resize(out.len().next_multiple_of(padding), 0);
}

fn offsets(out: &mut Vec<u8>, symbols: &[Symbol], base: u64, per_cpu: bool) {
    for (address, ..) in symbols {
        let offset = match (per_cpu, *address < 1 << 32) {
            (true, true) => *address as u32,
            (true, false) => base.wrapping_sub(1).wrapping_sub(*address) as u32,
            (false, _) => (address - base) as u32,
        };
        out.extend(offset.to_le_bytes());
    }
    pad(out, 8);
    out.extend(base.to_le_bytes());
}

fn place_relative(out: &mut Vec<u8>, symbols: &[Symbol]) {
    for (address, ..) in symbols {
        let place = RODATA + out.len() as u64;
        out.extend((address.wrapping_sub(place) as u32).to_le_bytes());
    }
}

fn names(out: &mut Vec<u8>, symbols: &[Symbol], padding: usize, wide_markers: bool) {
    out.extend((symbols.len() as u32).to_le_bytes());
    pad(out, padding);
    let start = out.len();
    let mut markers = Vec::new();
    for (number, (_, kind, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            markers.push((out.len() - start) as u64);
        }
        let mut text = format!("{}{name}", char::from(*kind));
        for (token, meaning) in TOKENS {
            text = text.replace(meaning, &char::from(token).to_string());
        }
        if text.len() < 0x80 {
            out.push(text.len() as u8);
        } else {
            out.extend([text.len() as u8 | 0x80, (text.len() >> 7) as u8]);
        }
        out.extend(text.as_bytes());
    }
    pad(out, padding);
    for marker in markers {
        let width = if wide_markers { 8 } else { 4 };
        out.extend(&marker.to_le_bytes()[..width]);
    }
    pad(out, padding);
}

/// The token table and its index, padded to 8 bytes.
pub fn tokens() -> Vec<u8> {
    let mut table = Vec::new();
    let mut index = Vec::new();
    for byte in 0..=255_u8 {
        index.extend((table.len() as u16).to_le_bytes());
        if let Some((_, meaning)) = TOKENS.iter().find(|(token, _)| *token == byte) {
            table.extend(meaning.as_bytes());
        } else if byte.is_ascii_graphic() {
            table.push(byte);
        }
        table.push(0);
    }
    pad(&mut table, 8);
    table.extend(index);
    table
}
