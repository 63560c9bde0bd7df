//! From the text of a file to its tokens.

use crate::names::{Name, Names};

/// What a token is, as far as the preprocessor tells tokens apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Identifier,
    Number,
    /// A string or a character, with its prefix.
    Literal,
    Punctuator,
    /// A whole `#pragma …`.
    Pragma,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub name: Name,
    pub(crate) kind: Kind,
    /// Whether white space stands before it.
    pub(crate) spaced: bool,
    /// Whether it is the name of a macro that is not expanded here any more.
    pub(crate) painted: bool,
    /// Whether it is joined with the next one of a macro's body.
    pub(crate) pasted: bool,
    /// Its line in the file.
    pub(crate) line: u32,
}

impl Token {
    pub(crate) fn new(kind: Kind, name: Name) -> Self {
        Self {
            name,
            kind,
            spaced: false,
            painted: false,
            pasted: false,
            line: 0,
        }
    }

    pub(crate) fn is_identifier(&self) -> bool {
        self.kind == Kind::Identifier
    }
}

/// Around the number that `__COUNTER__` gave, also within a name that is made with it: characters
/// for private use.
pub(crate) const COUNTED: (char, char) = ('\u{e000}', '\u{e001}');

/// A line of a file with its continuations, and with a space for each comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub text: String,
    /// Where in the text a further line of the file starts, and its number. The first is at 0.
    pub starts: Vec<(usize, u32)>,
}

impl Line {
    fn number_at(&self, at: usize) -> u32 {
        let after = self.starts.partition_point(|(start, _)| *start <= at);
        self.starts[after.max(1) - 1].1
    }
}

/// Splits into lines that go on where a backslash or a comment says so.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let bytes = text.as_bytes();
    let (mut lines, mut at, mut number) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let mut line = Line {
            text: String::new(),
            starts: vec![(0, number)],
        };
        let mut quote = None;
        // The part that is copied with the next special byte.
        let mut from = at;
        while at < bytes.len() && bytes[at] != b'\n' {
            let here = bytes[at];
            if here == b'\\' {
                if let Some(length) = continuation(&bytes[at..]) {
                    line.text.push_str(&text[from..at]);
                    at += length;
                    from = at;
                    number += 1;
                    line.starts.push((line.text.len(), number));
                } else {
                    // With what it escapes, if that is no end of a line.
                    at += 1;
                    let escapes = quote.is_some() && at < bytes.len() && bytes[at] != b'\n';
                    let plain = escapes && continuation(&bytes[at..]).is_none();
                    at += usize::from(plain);
                }
            } else if quote.is_none() && here == b'/' && bytes.get(at + 1) == Some(&b'*') {
                line.text.push_str(&text[from..at]);
                line.text.push(' ');
                let length = text[at + 2..].find("*/");
                let end = length.map_or(bytes.len(), |length| at + 2 + length + 2);
                let ended = text[at..end].matches('\n').count();
                number += u32::try_from(ended).unwrap_or_default();
                line.starts.push((line.text.len(), number));
                at = end;
                from = at;
            } else if quote.is_none() && here == b'/' && bytes.get(at + 1) == Some(&b'/') {
                line.text.push_str(&text[from..at]);
                while at < bytes.len() && bytes[at] != b'\n' {
                    match continuation(&bytes[at..]) {
                        Some(length) => {
                            at += length;
                            number += 1;
                        }
                        None => at += 1,
                    }
                }
                from = at;
            } else {
                match quote {
                    None if matches!(here, b'"' | b'\'') => quote = Some(here),
                    Some(open) if open == here => quote = None,
                    _ => {}
                }
                at += 1;
            }
        }
        let end = at.min(bytes.len());
        line.text.push_str(text.get(from..end).unwrap_or_default());
        lines.push(line);
        at += 1;
        number += 1;
    }
    lines
}

/// The length of a backslash with the end of a line, between which white space may stand.
fn continuation(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'\\') {
        return None;
    }
    let blank = bytes[1..].iter().take_while(|byte| is_blank(**byte));
    let end = 1 + blank.count();
    (bytes.get(end) == Some(&b'\n')).then_some(end + 1)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c')
}

/// The tokens of a line.
pub(crate) fn tokens(line: &Line, names: &Names, tokens: &mut Vec<Token>) {
    let text = line.text.as_str();
    let mut at = 0;
    // A new line is white space too.
    let mut spaced = true;
    while at < text.len() {
        let rest = &text[at..];
        let byte = rest.as_bytes()[0];
        if is_blank(byte) {
            spaced = true;
            at += 1;
            continue;
        }
        let (kind, length) = token(rest);
        tokens.push(Token {
            spaced,
            line: line.number_at(at),
            ..Token::new(kind, names.name(&rest[..length]))
        });
        spaced = false;
        at += length;
    }
}

/// The tokens of a preprocessed text; a line that starts with `#` is one token.
pub fn lex(text: &str, names: &Names) -> Vec<Token> {
    let mut all = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            all.push(Token::new(Kind::Pragma, names.name(line.trim())));
        } else {
            let starts = vec![(0, 1)];
            let line = Line {
                text: line.to_owned(),
                starts,
            };
            tokens(&line, names, &mut all);
        }
    }
    all
}

/// Whether tokens are those of a text that the compiler preprocessed: the same letters and signs,
/// without white space.
pub fn same(tokens: &[Token], text: &str, names: &Names) -> bool {
    let written = tokens
        .iter()
        .flat_map(|token| names.text(token.name).chars());
    let uncounted = |letter: &char| *letter != COUNTED.0 && *letter != COUNTED.1;
    let black = |letter: &char| !letter.is_whitespace();
    let own = written.filter(uncounted).filter(black);
    own.eq(text.chars().filter(black))
}

/// Whether a text is one token, and of which kind.
pub(crate) fn single(text: &str) -> Option<Kind> {
    let (kind, length) = token(text);
    (length == text.len()).then_some(kind)
}

/// Kind and length of the token at the start of a text that is not empty.
fn token(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let first = bytes[0];
    let next = bytes.get(1).copied().unwrap_or_default();
    if first.is_ascii_digit()
        || first == b'.' && next.is_ascii_digit()
        || text.starts_with(COUNTED.0)
    {
        return (Kind::Number, number(bytes));
    }
    if let Some(prefix) = ["u8", "u", "U", "L", ""]
        .into_iter()
        .find(|prefix| text.starts_with(prefix) && is_quote(bytes.get(prefix.len())))
        && let Some(length) = literal(&bytes[prefix.len()..])
    {
        return (Kind::Literal, prefix.len() + length);
    }
    if is_word_byte(first) {
        let length = bytes.iter().position(|byte| !is_word_byte(*byte));
        return (Kind::Identifier, length.unwrap_or(bytes.len()));
    }
    (Kind::Punctuator, punctuator(text))
}

fn is_quote(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'"' | b'\''))
}

pub(crate) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The length of a number as the preprocessor has it: with letters, dots, and signs after an
/// exponent's letter.
fn number(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let after_exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E' | b'p' | b'P');
        let sign = matches!(byte, b'+' | b'-') && after_exponent;
        if !(is_word_byte(*byte) || *byte == b'.' || sign) {
            break;
        }
        at += 1;
    }
    at
}

/// The length of a literal with its quotes; nothing if it does not end.
fn literal(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    while *bytes.get(at)? != bytes[0] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn punctuator(text: &str) -> usize {
    const LONG: [&str; 26] = [
        "...", "<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
        "*=", "/=", "%=", "+=", "-=", "&=", "^=", "|=", "##", "<:", ":>", "<%",
    ];
    let long = LONG.iter().find(|long| text.starts_with(**long));
    let one = || text.chars().next().map_or(1, char::len_utf8);
    long.map_or_else(one, |long| long.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let names = Names::default();
        let mut found = Vec::new();
        for line in lines(text) {
            tokens(&line, &names, &mut found);
        }
        let text = |token: &Token| format!("{}:{}", token.line, names.text(token.name));
        found.iter().map(text).collect()
    }

    #[test]
    fn lines_go_on_after_a_backslash_and_within_a_comment() {
        assert_eq!(
            texts("a \\\nb /* c\nd */ e // f \\\ng\nh\"/*\"\n'\\\\' i"),
            ["1:a", "2:b", "3:e", "5:h", "5:\"/*\"", "6:'\\\\'", "6:i"]
        );
        assert_eq!(texts("ab\\\ncd"), ["1:abcd"]);
        assert_eq!(texts("\"a\\\nb\" c"), ["1:\"ab\"", "2:c"]);
    }

    #[test]
    fn numbers_literals_and_signs_are_whole_tokens() {
        assert_eq!(
            texts("1.5e+3UL .5 x->y<<=2 L\"a\\\"b\" '\"' don't"),
            [
                "1:1.5e+3UL",
                "1:.5",
                "1:x",
                "1:->",
                "1:y",
                "1:<<=",
                "1:2",
                "1:L\"a\\\"b\"",
                "1:'\"'",
                "1:don",
                "1:'",
                "1:t"
            ]
        );
    }
}
