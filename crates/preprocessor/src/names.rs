//! Texts of tokens, each kept once, so that tokens are compared as numbers.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The text of a token, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub(crate) u32);

/// So many threads can look for texts at once without waiting for each other, mostly.
const SHARDS: usize = 64;

/// Texts of the first piece of the list; each later piece is twice as long.
const FIRST: u32 = 1 << 12;
const PIECES: usize = 20;

type Piece = Box<[OnceLock<Box<str>>]>;

/// All texts. Only grows, so that a text can be read while others are added.
pub struct Names {
    hasher: RandomState,
    shards: [Mutex<HashMap<Box<str>, u32>>; SHARDS],
    pieces: [OnceLock<Piece>; PIECES],
    next: AtomicU32,
}

macro_rules! words {
    ($($name:ident $text:literal)*) => {
        const WORDS: &[&str] = &[$($text),*];

        /// Names that the code of this crate knows.
        pub(crate) mod word {
            use super::Name;
            words!(@number 0_u32; $($name)*);
        }
    };
    (@number $number:expr; $name:ident $($rest:ident)*) => {
        pub const $name: Name = Name($number);
        words!(@number $number + 1; $($rest)*);
    };
    (@number $number:expr;) => {};
}

words! {
    HASH "#" PASTE "##" OPEN "(" CLOSE ")" COMMA "," SEMICOLON ";" OPEN_BRACE "{" CLOSE_BRACE "}"
    OPEN_BRACKET "[" CLOSE_BRACKET "]" EQUALS "=" COLON ":" LESS "<" GREATER ">" ELLIPSIS "..."
    VA_ARGS "__VA_ARGS__" VA_OPT "__VA_OPT__" DEFINED "defined" PRAGMA "_Pragma"
    LINE "__LINE__" FILE "__FILE__" COUNTER "__COUNTER__" LEVEL "__INCLUDE_LEVEL__"
    BASE_FILE "__BASE_FILE__" TIMESTAMP "__TIMESTAMP__" DATE "__DATE__" TIME "__TIME__"
    HAS_ATTRIBUTE "__has_attribute" HAS_C_ATTRIBUTE "__has_c_attribute"
    HAS_CPP_ATTRIBUTE "__has_cpp_attribute" HAS_BUILTIN "__has_builtin"
    HAS_FEATURE "__has_feature" HAS_EXTENSION "__has_extension" HAS_EMBED "__has_embed"
    HAS_INCLUDE "__has_include" HAS_INCLUDE_NEXT "__has_include_next"
    STATIC "static" TYPEDEF "typedef" EXTERN "extern" STRUCT "struct" UNION "union" ENUM "enum"
    ATTRIBUTE "__attribute__" ATTRIBUTE_SHORT "__attribute" DECLSPEC "__declspec"
    TYPEOF "typeof" TYPEOF_LONG "__typeof__" TYPEOF_SHORT "__typeof" ASM "asm" ASM_LONG "__asm__"
    ALIGNAS "_Alignas" EXTENSION "__extension__" SIZEOF "sizeof"
    USED "used" USED_LONG "__used__" CONSTRUCTOR "constructor" CONSTRUCTOR_LONG "__constructor__"
    SECTION "section" SECTION_LONG "__section__" ALIAS "alias" ALIAS_LONG "__alias__"
    PACKED_LONG "__packed__" PACKED "packed" ALIGNED_LONG "__aligned__" ALIGNED "aligned"
    LONG "long" RANDOMIZE "__randomize_layout__" STAR "*" CONST "const" CONST_LONG "__const"
    RESTRICT_LONG "__restrict" VOLATILE "volatile" VOLATILE_LONG "__volatile__" ATOMIC "_Atomic"
    STATIC_ASSERT "_Static_assert"
}

impl Default for Names {
    fn default() -> Self {
        let names = Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            pieces: std::array::from_fn(|_| OnceLock::new()),
            next: AtomicU32::new(0),
        };
        for word in WORDS {
            names.name(word);
        }
        names
    }
}

impl Names {
    /// The name of a text.
    pub fn name(&self, text: &str) -> Name {
        let shard = self.hasher.hash_one(text) as usize % SHARDS;
        let mut shard = self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = shard.get(text) {
            return Name(*number);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (piece, place) = place(number);
        let made = self.pieces[piece].get_or_init(|| {
            let length = FIRST << piece;
            (0..length).map(|_| OnceLock::new()).collect()
        });
        made[place].get_or_init(|| text.into());
        shard.insert(text.into(), number);
        Name(number)
    }

    /// The text of a name.
    pub fn text(&self, name: Name) -> &str {
        let (piece, place) = place(name.0);
        let piece = self.pieces[piece].get().and_then(|piece| piece.get(place));
        piece.and_then(OnceLock::get).map_or("", |text| text)
    }
}

/// Spreads numbers that are given one after another.
#[derive(Default)]
pub(crate) struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ u64::from(number))
            .wrapping_mul(ODD)
            .rotate_left(26);
    }
}

/// Something for each of many names.
pub(crate) type ByName<T> = HashMap<Name, T, BuildHasherDefault<ByNumber>>;

/// The piece of the list that has a number, and its place there.
fn place(number: u32) -> (usize, usize) {
    let piece = (number / FIRST + 1).ilog2();
    let before = FIRST * ((1 << piece) - 1);
    (piece as usize, (number - before) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_name_and_a_name_its_text() {
        let names = Names::default();
        assert_eq!(names.name("__LINE__"), word::LINE);
        assert_eq!(names.text(word::RANDOMIZE), "__randomize_layout__");
        let texts: Vec<String> = (0..30_000).map(|number| format!("n{number}")).collect();
        let made: Vec<Name> = texts.iter().map(|text| names.name(text)).collect();
        for (text, name) in texts.iter().zip(made) {
            assert_eq!((names.text(name), names.name(text)), (text.as_str(), name));
        }
    }
}
