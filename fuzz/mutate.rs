//! The ways in which an input is changed.

use fastrand::Rng;

/// Changes that one input gets at most.
const CHANGES: usize = 6;
/// Bytes of an ELF64 section header (gABI: `Elf64_Shdr`).
const SECTION_HEADER: usize = 64;

/// The changed seed of one execution.
pub fn mutant(seeds: &[Vec<u8>], execution: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(execution);
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..=CHANGES) {
        change(&mut bytes, seeds, &mut random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    match random.u8(..16) {
        0..=2 => *byte(bytes, random) ^= 1 << random.u8(..8),
        3 | 4 => *byte(bytes, random) = random.u8(..),
        5..=7 => lie(bytes, random),
        8..=11 => lie_in_section_header(bytes, random),
        12 => splice(bytes, &seeds[random.usize(..seeds.len())], random),
        13 => repeat(bytes, random),
        14 => remove(bytes, random),
        _ => {
            if random.u8(..4) == 0 {
                bytes.truncate(random.usize(..bytes.len()));
            }
        }
    }
}

fn byte<'a>(bytes: &'a mut [u8], random: &mut Rng) -> &'a mut u8 {
    let place = random.usize(..bytes.len());
    &mut bytes[place]
}

/// Puts a number that lengths and offsets go wrong with in the place of another.
fn lie(bytes: &mut [u8], random: &mut Rng) {
    let width = 1 << random.usize(..4);
    let length = bytes.len();
    let place = random.usize(..length) / width * width;
    let number = tempting(length, random).to_le_bytes();
    if let Some(field) = bytes.get_mut(place..place + width) {
        field.copy_from_slice(&number[..width]);
    }
}

/// Likewise in a field of a section header, where most of an object's structure is told.
fn lie_in_section_header(bytes: &mut [u8], random: &mut Rng) {
    let length = bytes.len();
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let Some(table) = number(0x28).and_then(|at| usize::try_from(at).ok()) else {
        return;
    };
    if !bytes.starts_with(b"\x7fELF") || table >= length {
        return lie(bytes, random);
    }
    let headers = (length - table) / SECTION_HEADER;
    let header = table + random.usize(..headers.max(1)) * SECTION_HEADER;
    let (field, width) = FIELDS[random.usize(..FIELDS.len())];
    let lie = if random.bool() {
        tempting(length, random)
    } else {
        random.u64(..headers.max(1) as u64 + 2)
    };
    if let Some(field) = bytes.get_mut(header + field..header + field + width) {
        field.copy_from_slice(&lie.to_le_bytes()[..width]);
    }
}

/// Offset and width of `sh_name` to `sh_entsize`.
const FIELDS: [(usize, usize); 10] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 8),
];

fn tempting(length: usize, random: &mut Rng) -> u64 {
    let length = length as u64;
    let numbers = [
        0,
        1,
        length - 1,
        length,
        length + 1,
        0x7f,
        0xff,
        0x7fff,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
        u64::MAX - 7,
        random.u64(..length + 1),
        random.u64(..),
    ];
    numbers[random.usize(..numbers.len())]
}

/// Overwrites a piece by a piece of another seed.
fn splice(bytes: &mut [u8], other: &[u8], random: &mut Rng) {
    if other.is_empty() {
        return;
    }
    let from = random.usize(..other.len());
    let to = random.usize(..bytes.len());
    let length = (other.len() - from).min(bytes.len() - to).min(256);
    let length = random.usize(..=length);
    bytes[to..to + length].copy_from_slice(&other[from..from + length]);
}

fn piece(bytes: &[u8], random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(..bytes.len());
    let end = start + random.usize(..=(bytes.len() - start).min(64));
    start..end
}

fn repeat(bytes: &mut Vec<u8>, random: &mut Rng) {
    let piece = piece(bytes, random);
    let copy = bytes[piece.clone()].to_vec();
    bytes.splice(piece.end..piece.end, copy);
}

fn remove(bytes: &mut Vec<u8>, random: &mut Rng) {
    let piece = piece(bytes, random);
    bytes.drain(piece);
}
