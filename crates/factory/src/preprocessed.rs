//! Whether an edited header changes anything for a unit, told from what its compiler sees.
//!
//! Two preprocessed texts are compared after all that has no effect was left out: functions that
//! are static and not used, declarations of names that are not used. The compiler drops those as
//! well, so units whose remaining texts are the same compile to the same code. A header with a
//! changed inline function reaches hundreds of units; those that call it are few.

use std::collections::{HashMap, HashSet};

/// Attributes by which a function is kept though nothing names it.
const KEEPERS: [&str; 8] = [
    "used",
    "__used__",
    "constructor",
    "__constructor__",
    "section",
    "__section__",
    "alias",
    "__alias__",
];

/// Words that look like a call in a declaration, and name nothing.
const NO_NAMES: [&str; 11] = [
    "__attribute__",
    "__attribute",
    "__declspec",
    "typeof",
    "__typeof__",
    "__typeof",
    "asm",
    "__asm__",
    "_Alignas",
    "__extension__",
    "sizeof",
];

/// Whether two preprocessed texts of a unit can compile to different code.
pub(crate) fn differ(original: &str, patched: &str) -> bool {
    original != patched && effective(original) != effective(patched)
}

/// The texts' declarations that have an effect, in order.
fn effective(text: &str) -> Vec<Vec<&str>> {
    let chunks: Vec<Chunk<'_>> = split(&tokens(text)).into_iter().map(Chunk::new).collect();
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut open = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        match &chunk.declares {
            Some(names) => {
                for name in names {
                    by_name.entry(name).or_default().push(index);
                }
            }
            None => open.push(index),
        }
    }
    let mut kept: HashSet<usize> = open.iter().copied().collect();
    let mut used = HashSet::new();
    while let Some(index) = open.pop() {
        for token in chunks[index].tokens.iter().filter(|token| is_name(token)) {
            if used.insert(*token) {
                let declared = by_name.get(token).map_or(&[][..], Vec::as_slice);
                open.extend(declared.iter().filter(|index| kept.insert(**index)));
            }
        }
    }
    let numbered = chunks.into_iter().enumerate();
    numbered
        .filter(|(index, _)| kept.contains(index))
        .map(|(_, chunk)| chunk.tokens)
        .collect()
}

/// One declaration or definition of file scope.
struct Chunk<'a> {
    tokens: Vec<&'a str>,
    /// The names that it declares, if it has no effect unless one of them is used.
    declares: Option<Vec<&'a str>>,
}

impl<'a> Chunk<'a> {
    fn new(tokens: Vec<&'a str>) -> Self {
        let declares = declared(&tokens);
        Self { tokens, declares }
    }
}

fn declared<'a>(tokens: &[&'a str]) -> Option<Vec<&'a str>> {
    let brace = tokens.iter().position(|token| *token == "{");
    let head = &tokens[..brace.unwrap_or(tokens.len())];
    if head
        .iter()
        .any(|token| KEEPERS.contains(token) || *token == "=")
    {
        return None;
    }
    match (brace, function_name(head)) {
        (Some(_), Some(name)) if head.contains(&"static") && tokens.last() == Some(&"}") => {
            Some(vec![name])
        }
        (None, Some(name)) if tokens[0] != "typedef" => Some(vec![name]),
        (Some(_), None) => only_types(tokens),
        (None, None) if matches!(tokens[0], "typedef" | "extern") => Some(vec![last_name(head)?]),
        (None, None) if is_forward_declaration(tokens) => Some(vec![tokens[1]]),
        _ => None,
    }
}

/// `NAME` of `… NAME ( … )`, at the outermost level.
fn function_name<'a>(head: &[&'a str]) -> Option<&'a str> {
    let mut depth = 0_u32;
    for (index, token) in head.iter().enumerate() {
        if matches!(*token, "(" | "[") {
            let before = index.checked_sub(1).and_then(|before| head.get(before));
            let names = before.filter(|name| is_name(name) && !NO_NAMES.contains(name));
            if depth == 0 && *token == "(" && names.is_some() {
                return names.copied();
            }
            depth += 1;
        } else if matches!(*token, ")" | "]") {
            depth = depth.saturating_sub(1);
        } else if *token == "=" && depth == 0 {
            return None;
        }
    }
    None
}

/// The names of a declaration that only makes types: every tag, every enumerator, and the name
/// of a `typedef`. None if it declares an object too.
fn only_types<'a>(tokens: &[&'a str]) -> Option<Vec<&'a str>> {
    let end = tokens.iter().rposition(|token| *token == "}")?;
    let rest = &tokens[end + 1..];
    let mut names = Vec::new();
    if tokens[0] == "typedef" {
        names.push(last_name(rest)?);
    } else if !matches!(tokens[0], "struct" | "union" | "enum")
        || !rest
            .iter()
            .all(|token| !is_name(token) || is_attribute(token))
    {
        return None;
    }
    let mut in_enum = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match *token {
            "{" => {
                let (keyword, between) = tag(&tokens[..index])?;
                names.extend(between.iter().copied().filter(|token| is_name(token)));
                in_enum.push(keyword == "enum");
            }
            "}" => {
                in_enum.pop();
            }
            name if is_name(name) && in_enum.last() == Some(&true) => names.push(name),
            _ => {}
        }
    }
    Some(names)
}

/// The last `struct`, `union` or `enum`, and what stands between it and the brace: the tag, and
/// words of attributes, which are taken for tags as well.
fn tag<'a, 't>(before: &'t [&'a str]) -> Option<(&'a str, &'t [&'a str])> {
    let at = before
        .iter()
        .rposition(|token| matches!(*token, "struct" | "union" | "enum"))?;
    Some((before[at], &before[at + 1..]))
}

/// `struct NAME ;`
fn is_forward_declaration(tokens: &[&str]) -> bool {
    matches!(tokens, ["struct" | "union" | "enum", name, ";"] if is_name(name))
}

fn is_attribute(token: &str) -> bool {
    const ATTRIBUTES: [&str; 8] = [
        "__attribute__",
        "__packed__",
        "packed",
        "__aligned__",
        "aligned",
        "sizeof",
        "long",
        "__randomize_layout__",
    ];
    ATTRIBUTES.contains(&token)
}

/// The declared name of `… NAME ;` and `… NAME [ … ] ;`, of one declarator without parentheses.
fn last_name<'a>(head: &[&'a str]) -> Option<&'a str> {
    if head
        .iter()
        .any(|token| matches!(*token, "(" | "," | "=" | ":"))
    {
        return None;
    }
    let end = head
        .iter()
        .position(|token| matches!(*token, "[" | ";"))
        .unwrap_or(head.len());
    head[..end].last().copied().filter(|token| is_name(token))
}

fn is_name(token: &str) -> bool {
    token.bytes().next().is_some_and(|byte| {
        byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$' || byte >= 0x80
    })
}

/// Splits at file scope: after `;`, and after the `}` of a function's body.
fn split<'a>(tokens: &[&'a str]) -> Vec<Vec<&'a str>> {
    let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
    let (mut braces, mut others) = (0_u32, 0_u32);
    let mut body = false;
    for token in tokens {
        let outermost = braces == 0 && others == 0;
        if token.starts_with('#') && outermost {
            // A pragma: it stands alone and always has an effect.
            chunks.push(vec![*token]);
            continue;
        }
        chunk.push(*token);
        match *token {
            "{" => {
                if outermost {
                    body = function_name(&chunk).is_some() && !chunk.contains(&"=");
                }
                braces += 1;
            }
            "}" => braces = braces.saturating_sub(1),
            "(" | "[" => others += 1,
            ")" | "]" => others = others.saturating_sub(1),
            _ => {}
        }
        let ends = *token == ";" || *token == "}" && body;
        if ends && braces == 0 && others == 0 {
            chunks.push(std::mem::take(&mut chunk));
            body = false;
        }
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

/// Words, numbers, literals and single signs; a line that starts with `#` is one token.
fn tokens(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let mut line_start = true;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            line_start |= byte == b'\n';
            at += 1;
            continue;
        }
        at += match byte {
            b'#' if line_start => run_of(&bytes[at..], |byte| byte != b'\n'),
            b'"' | b'\'' => literal(&bytes[at..]),
            b'0'..=b'9' => run_of(&bytes[at..], |byte| word_byte(byte) || byte == b'.'),
            _ if word_byte(byte) => run_of(&bytes[at..], word_byte),
            _ => 1,
        };
        line_start = false;
        // A literal may hold any bytes, but starts and ends with one of ASCII.
        tokens.push(text.get(start..at).unwrap_or_default());
    }
    tokens
}

fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let length = bytes.iter().position(|byte| !belongs(*byte));
    length.unwrap_or(bytes.len())
}

/// The length of a string or character literal with its quotes.
fn literal(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != bytes[0] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "typedef unsigned int u32;\n\
        struct sock { int a; u32 b; };\n\
        extern int elsewhere(struct sock *sk);\n\
        static inline __attribute__((__unused__)) int helper(struct sock *sk) { return sk->a; }\n\
        static inline int caller(struct sock *sk) { return helper(sk) + 1; }\n\
        int used(struct sock *sk) { return caller(sk); }\n";

    fn changed(from: &str, to: &str) -> bool {
        let patched = UNIT.replacen(from, to, 1);
        assert_ne!(patched, UNIT);
        differ(UNIT, &patched)
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
            assert!(!differ(UNIT, &patched), "{new}");
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
        assert!(!differ(&unused, &both));
    }

    #[test]
    fn enumerators_and_pragmas_count_where_they_are_used() {
        let uses = "enum { ONE, TWO };\nint x(void) { return TWO; }\n";
        assert!(differ(uses, &uses.replace("ONE,", "ONE, MORE,")));
        let not = "enum { ONE, TWO };\nint x(void) { return 2; }\n";
        assert!(!differ(not, &not.replace("ONE,", "ONE, MORE,")));
        assert!(differ(
            "#pragma pack(1)\nint x;\n",
            "#pragma pack(2)\nint x;\n"
        ));
    }

    #[test]
    fn literals_hide_what_looks_like_code() {
        assert_eq!(
            tokens(r#"a("}\";", '"');"#),
            ["a", "(", r#""}\";""#, ",", "'\"'", ")", ";"]
        );
    }
}
