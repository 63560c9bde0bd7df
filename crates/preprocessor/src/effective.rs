//! What of a unit's text has an effect.
//!
//! Left out are functions that are static and not used, and declarations of names that are not
//! used. The compiler drops those as well, so units whose remaining texts are the same compile to
//! the same code. A header with a changed inline function reaches hundreds of units; those that
//! call it are few.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::lexer::{COUNTED, Kind, Token};
use crate::names::{ByName, Name, Names, word};

/// Attributes by which a function is kept though nothing names it.
const KEEPERS: [Name; 8] = [
    word::USED,
    word::USED_LONG,
    word::CONSTRUCTOR,
    word::CONSTRUCTOR_LONG,
    word::SECTION,
    word::SECTION_LONG,
    word::ALIAS,
    word::ALIAS_LONG,
];

/// Words that look like a call in a declaration, and name nothing.
const NO_NAMES: [Name; 11] = [
    word::ATTRIBUTE,
    word::ATTRIBUTE_SHORT,
    word::DECLSPEC,
    word::TYPEOF,
    word::TYPEOF_LONG,
    word::TYPEOF_SHORT,
    word::ASM,
    word::ASM_LONG,
    word::ALIGNAS,
    word::EXTENSION,
    word::SIZEOF,
];

/// Words after a type's brace that declare no object.
const ATTRIBUTES: [Name; 8] = [
    word::ATTRIBUTE,
    word::PACKED_LONG,
    word::PACKED,
    word::ALIGNED_LONG,
    word::ALIGNED,
    word::SIZEOF,
    word::LONG,
    word::RANDOMIZE,
];

/// The declarations that have an effect, in order. Two units with the same compile to the same
/// code. Names that were made with `__COUNTER__` are numbered by their first use among them.
pub fn effective(tokens: &[Token], names: &Names) -> Vec<u8> {
    let chunks = split(tokens);
    let kept = kept(tokens, &chunks, &|_, _| true);
    written(tokens, &chunks, &kept, names)
}

/// The kept chunks as bytes.
pub(crate) fn written(
    tokens: &[Token],
    chunks: &[Range<usize>],
    kept: &[bool],
    names: &Names,
) -> Vec<u8> {
    let mut text = Vec::new();
    let mut counted = HashMap::new();
    let kept = chunks.iter().zip(kept).filter(|(_, kept)| **kept);
    for (chunk, _) in kept {
        for token in &tokens[chunk.clone()] {
            let written = names.text(token.name);
            // A number that stands alone is a number of the code.
            if token.kind != Kind::Number && written.contains(COUNTED.0) {
                text.extend(renumbered(written, &mut counted).as_bytes());
            } else {
                text.extend(written.as_bytes());
            }
            text.push(0);
        }
        text.push(0);
    }
    text
}

/// The names of what two texts of a unit declare in different ways, in their order. What declares
/// no name, or one that a macro numbered, is not told.
pub fn declared_otherwise(before: &[Token], after: &[Token], names: &Names) -> Vec<String> {
    let (before, after) = (worded(before, names), worded(after, names));
    let mut found = Vec::new();
    for (these, others) in [(&before, &after), (&after, &before)] {
        let others: HashSet<&[Name]> = others.iter().map(|(_, words)| words.as_slice()).collect();
        for (chunk, _) in these
            .iter()
            .filter(|(_, words)| !others.contains(words.as_slice()))
        {
            let mut declares = Vec::new();
            if declared(chunk, &mut declares).is_some() {
                found.extend(declares.iter().map(|name| names.text(*name).to_owned()));
            }
        }
    }
    let told = |name: &String| !name.starts_with("__") && !name.contains(COUNTED.0);
    let mut seen = HashSet::new();
    found.retain(|name| told(name) && seen.insert(name.clone()));
    found
}

/// A text's chunks, each with its words.
pub(crate) fn worded<'t>(tokens: &'t [Token], names: &Names) -> Vec<(&'t [Token], Vec<Name>)> {
    let chunks = split(tokens).into_iter().map(|chunk| &tokens[chunk]);
    chunks.map(|chunk| (chunk, words(chunk, names))).collect()
}

/// The words of a chunk, in which one word stands for all that a macro numbered: one more of them
/// moves the numbers of all later ones.
pub(crate) fn words(chunk: &[Token], names: &Names) -> Vec<Name> {
    let numbered = names.name(&COUNTED.0.to_string());
    let word = |token: &Token| match names.text(token.name).contains(COUNTED.0) {
        true => numbered,
        false => token.name,
    };
    chunk.iter().map(word).collect()
}

/// With other numbers for those that `__COUNTER__` gave.
fn renumbered(text: &str, counted: &mut HashMap<String, usize>) -> String {
    let mut parts = text.split(COUNTED.0);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(COUNTED.1).unwrap_or((part, ""));
        let next = counted.len();
        let number = *counted.entry(number.to_owned()).or_insert(next);
        made.push_str(&format!("{}{number}{}{rest}", COUNTED.0, COUNTED.1));
    }
    made
}

/// Which of the chunks have an effect. Not every chunk may use every name.
pub(crate) fn kept(
    tokens: &[Token],
    chunks: &[Range<usize>],
    may_use: &dyn Fn(usize, Name) -> bool,
) -> Vec<bool> {
    let mut declarations = Declarations::default();
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        found.clear();
        match declared(&tokens[chunk.clone()], &mut found) {
            Some(()) => found.iter().for_each(|name| declarations.add(*name, index)),
            None => open.push(index),
        }
    }
    let mut kept = vec![false; chunks.len()];
    open.iter().for_each(|index| kept[*index] = true);
    let mut used: ByName<()> = HashMap::default();
    while let Some(index) = open.pop() {
        let tokens = &tokens[chunks[index].clone()];
        let uses = |token: &&Token| token.is_identifier() && may_use(index, token.name);
        for token in tokens.iter().filter(uses) {
            if used.insert(token.name, ()).is_none() {
                for chunk in declarations.of(token.name) {
                    if !std::mem::replace(&mut kept[chunk], true) {
                        open.push(chunk);
                    }
                }
            }
        }
    }
    kept
}

/// The chunks that declare each name.
#[derive(Default)]
struct Declarations {
    last: ByName<usize>,
    /// A chunk, and the place here of the same name's declaration before.
    all: Vec<(usize, Option<usize>)>,
}

impl Declarations {
    fn add(&mut self, name: Name, chunk: usize) {
        let before = self.last.insert(name, self.all.len());
        self.all.push((chunk, before));
    }

    fn of(&self, name: Name) -> impl Iterator<Item = usize> {
        let mut at = self.last.get(&name).copied();
        std::iter::from_fn(move || {
            let (chunk, before) = self.all[at?];
            at = before;
            Some(chunk)
        })
    }
}

/// Adds the names that a declaration declares; nothing if it has an effect though none of them is
/// used.
pub(crate) fn declared(tokens: &[Token], names: &mut Vec<Name>) -> Option<()> {
    let brace = tokens
        .iter()
        .position(|token| token.name == word::OPEN_BRACE);
    let head = &tokens[..brace.unwrap_or(tokens.len())];
    let keeps = |token: &Token| {
        let kept = token.name == word::EQUALS || KEEPERS.contains(&token.name);
        kept || token.kind == Kind::Pragma
    };
    if head.iter().any(keeps) {
        return None;
    }
    let first = tokens[0].name;
    let last = tokens.last()?.name;
    match (brace, function_name(head)) {
        (Some(_), Some(name)) if has(head, word::STATIC) && last == word::CLOSE_BRACE => {
            names.push(name);
        }
        (None, Some(name)) if first != word::TYPEDEF => names.push(name),
        (Some(_), None) => only_types(tokens, names)?,
        (None, None) if matches!(first, word::TYPEDEF | word::EXTERN) => {
            names.push(last_name(head)?);
        }
        (None, None) => names.push(forward_declaration(tokens)?),
        _ => return None,
    }
    Some(())
}

fn has(tokens: &[Token], name: Name) -> bool {
    tokens.iter().any(|token| token.name == name)
}

/// `NAME` of `… NAME ( … )`, at the outermost level.
fn function_name(head: &[Token]) -> Option<Name> {
    let mut depth = 0_u32;
    for (index, token) in head.iter().enumerate() {
        match token.name {
            word::OPEN | word::OPEN_BRACKET => {
                let before = index.checked_sub(1).and_then(|before| head.get(before));
                let names =
                    before.filter(|name| name.is_identifier() && !NO_NAMES.contains(&name.name));
                if let Some(name) = names
                    && depth == 0
                    && token.name == word::OPEN
                {
                    return Some(name.name);
                }
                depth += 1;
            }
            word::CLOSE | word::CLOSE_BRACKET => depth = depth.saturating_sub(1),
            word::EQUALS if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The names of a declaration that only makes types: every tag, every enumerator, and the name
/// of a `typedef`. None if it declares an object too.
fn only_types(tokens: &[Token], names: &mut Vec<Name>) -> Option<()> {
    let end = tokens
        .iter()
        .rposition(|token| token.name == word::CLOSE_BRACE)?;
    let rest = &tokens[end + 1..];
    let makes = |token: &Token| matches!(token.name, word::STRUCT | word::UNION | word::ENUM);
    if tokens[0].name == word::TYPEDEF {
        names.push(last_name(rest)?);
    } else if !makes(&tokens[0])
        || !rest
            .iter()
            .all(|token| is_plain(token) || ATTRIBUTES.contains(&token.name))
    {
        return None;
    }
    let mut in_enum = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.name {
            word::OPEN_BRACE => {
                // What stands before the brace: the tag, and words of attributes, which are taken
                // for tags as well.
                let at = tokens[..index].iter().rposition(makes)?;
                let between = tokens[at + 1..index].iter();
                let between = between.filter(|token| token.is_identifier());
                names.extend(between.map(|token| token.name));
                in_enum.push(tokens[at].name == word::ENUM);
            }
            word::CLOSE_BRACE => {
                in_enum.pop();
            }
            name if token.is_identifier() && in_enum.last() == Some(&true) => names.push(name),
            _ => {}
        }
    }
    Some(())
}

/// Whether it names nothing and says nothing to the compiler by itself.
fn is_plain(token: &Token) -> bool {
    !matches!(token.kind, Kind::Identifier | Kind::Pragma)
}

/// The name of `struct NAME ;`.
fn forward_declaration(tokens: &[Token]) -> Option<Name> {
    match tokens {
        [keyword, name, end]
            if matches!(keyword.name, word::STRUCT | word::UNION | word::ENUM)
                && name.is_identifier()
                && end.name == word::SEMICOLON =>
        {
            Some(name.name)
        }
        _ => None,
    }
}

/// The declared name of `… NAME ;` and `… NAME [ … ] ;`, of one declarator without parentheses.
fn last_name(head: &[Token]) -> Option<Name> {
    let other = |token: &Token| {
        matches!(
            token.name,
            word::OPEN | word::COMMA | word::EQUALS | word::COLON
        )
    };
    if head.iter().any(other) {
        return None;
    }
    let ends = |token: &Token| matches!(token.name, word::OPEN_BRACKET | word::SEMICOLON);
    let end = head.iter().position(ends).unwrap_or(head.len());
    let last = head[..end].last().filter(|token| token.is_identifier());
    last.map(|token| token.name)
}

/// Splits at file scope: after `;`, and after the `}` of a function's body.
pub(crate) fn split(tokens: &[Token]) -> Vec<Range<usize>> {
    let (mut chunks, mut start) = (Vec::new(), 0);
    let (mut braces, mut others) = (0_u32, 0_u32);
    let mut body = false;
    for (index, token) in tokens.iter().enumerate() {
        let outermost = braces == 0 && others == 0;
        if token.kind == Kind::Pragma && start == index {
            // It stands alone and always has an effect.
            chunks.push(index..index + 1);
            start = index + 1;
            continue;
        }
        match token.name {
            word::OPEN_BRACE => {
                if outermost {
                    let head = &tokens[start..=index];
                    body = function_name(head).is_some() && !has(head, word::EQUALS);
                }
                braces += 1;
            }
            word::CLOSE_BRACE => braces = braces.saturating_sub(1),
            word::OPEN | word::OPEN_BRACKET => others += 1,
            word::CLOSE | word::CLOSE_BRACKET => others = others.saturating_sub(1),
            _ => {}
        }
        let ends = token.name == word::SEMICOLON || token.name == word::CLOSE_BRACE && body;
        if ends && braces == 0 && others == 0 {
            chunks.push(start..index + 1);
            start = index + 1;
            body = false;
        }
    }
    if start < tokens.len() {
        chunks.push(start..tokens.len());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    const UNIT: &str = "typedef unsigned int u32;\n\
        struct sock { int a; u32 b; };\n\
        extern int elsewhere(struct sock *sk);\n\
        static inline __attribute__((__unused__)) int helper(struct sock *sk) { return sk->a; }\n\
        static inline int caller(struct sock *sk) { return helper(sk) + 1; }\n\
        int used(struct sock *sk) { return caller(sk); }\n";

    fn differs(original: &str, patched: &str) -> bool {
        let names = Names::default();
        let of = |text| effective(&lex(text, &names), &names);
        of(original) != of(patched)
    }

    fn changed(from: &str, to: &str) -> bool {
        let patched = UNIT.replacen(from, to, 1);
        assert_ne!(patched, UNIT);
        differs(UNIT, &patched)
    }

    #[test]
    fn a_new_function_or_declaration_that_nobody_uses_changes_nothing() {
        let used = "int used";
        for new in [
            "static inline int more(struct sock *sk) { return sk->b; }\nint used",
            "extern int more(struct sock *sk);\nint used",
            "struct more { struct inner { int a; } b; };\nint used",
            "enum more { ONE, TWO = 2 };\nint used",
            "typedef struct { int a; } more_t;\nint used",
            "int used",
        ] {
            let patched = UNIT.replacen(used, new, 1);
            assert!(!differs(UNIT, &patched), "{new}");
        }
        assert!(changed(
            "int used",
            "int more(void) { return 1; }\nint used"
        ));
        assert!(changed("int used", "static int more = 1;\nint used"));
        assert!(changed(
            "int used",
            "static __attribute__((__used__)) int more(void) { return 1; }\nint used"
        ));
    }

    #[test]
    fn a_change_in_what_is_used_counts_through_callers() {
        assert!(changed("return sk->a", "return sk->b"));
        assert!(changed("int a;", "long a;"));
        assert!(changed("typedef unsigned int", "typedef unsigned long"));
    }

    #[test]
    fn a_change_in_what_is_not_used_does_not_count() {
        assert!(!changed(
            "int elsewhere(struct sock *sk)",
            "int elsewhere(struct sock *sk, int x)"
        ));
        let unused = UNIT.replace("return caller(sk)", "return 0");
        let both = unused.replace("return sk->a", "return sk->b");
        assert!(!differs(&unused, &both));
    }

    #[test]
    fn enumerators_and_pragmas_count_where_they_are_used() {
        let uses = "enum { ONE, TWO };\nint x(void) { return TWO; }\n";
        assert!(differs(uses, &uses.replace("ONE,", "ONE, MORE,")));
        let not = "enum { ONE, TWO };\nint x(void) { return 2; }\n";
        assert!(!differs(not, &not.replace("ONE,", "ONE, MORE,")));
        assert!(differs(
            "#pragma pack(1)\nint x;\n",
            "#pragma pack(2)\nint x;\n"
        ));
    }

    #[test]
    fn what_is_declared_in_another_way_is_told_by_its_name() {
        let names = Names::default();
        let told = |from: &str, to: &str| {
            let patched = UNIT.replacen(from, to, 1);
            declared_otherwise(&lex(UNIT, &names), &lex(&patched, &names), &names)
        };
        assert_eq!(told("u32 b;", "u32 b, c;"), ["sock"]);
        assert_eq!(told("return sk->a;", "return sk->b;"), ["helper"]);
        assert_eq!(
            told("extern int", "int more(void);\nextern long"),
            ["elsewhere", "more"]
        );
        assert_eq!(told("", ""), Vec::<String>::new());
        let counted = |number: u32| {
            let (open, close) = COUNTED;
            lex(
                &format!("int f(void) {{ return id_{open}{number}{close}; }}"),
                &names,
            )
        };
        let told = declared_otherwise(&counted(1), &counted(2), &names);
        assert_eq!(told, Vec::<String>::new());
    }

    #[test]
    fn a_name_made_with_the_counter_may_have_another_number() {
        let names = Names::default();
        let text = |number: u32, alone: u32| {
            let counted = |number: u32| format!("{}{number}{}", COUNTED.0, COUNTED.1);
            let text = format!(
                "int id_{0}; int f(void) {{ return id_{0} + id_{1} + {2}; }}",
                counted(number),
                counted(number + 3),
                counted(alone)
            );
            effective(&lex(&text, &names), &names)
        };
        assert_eq!(text(1, 7), text(5, 7));
        assert_ne!(
            text(1, 7),
            text(1, 8),
            "a number that stands alone is one of the code"
        );
    }
}
