//! A file, taken apart once for all units that include it.

use std::sync::Arc;

use crate::lexer::{Token, is_word_byte, lines, tokens};
use crate::macros::Macro;
use crate::names::{Name, Names};

/// A source file or header.
#[derive(Debug, Default)]
pub struct SourceFile {
    pub(crate) items: Vec<Item>,
    /// Whether it is read once only, as it says itself.
    pub(crate) once: bool,
    /// Why it can't be used, if so.
    pub(crate) broken: Option<&'static str>,
    /// Bytes of its text.
    length: usize,
}

#[derive(Debug)]
pub(crate) enum Item {
    Text(Vec<Token>),
    Directive { line: u32, directive: Directive },
}

#[derive(Debug)]
pub(crate) enum Directive {
    /// `#if`, `#ifdef` and `#ifndef`.
    If {
        condition: Condition,
        next: Branches,
    },
    /// `#elif` and its like.
    ElseIf {
        condition: Condition,
        next: Branches,
    },
    Else {
        next: Branches,
    },
    EndIf,
    Include {
        what: Included,
        next: bool,
    },
    Define(Name, Arc<Macro>),
    Undefine(Name),
    /// `#line`, or `# 12 "file"`.
    Line(Vec<Token>),
    Pragma(Name),
    Ignored,
    /// Whatever must not be met.
    Unknown(&'static str),
}

/// Places of items.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Branches {
    /// The next branch, or the end.
    pub next: usize,
    pub end: usize,
}

#[derive(Debug)]
pub(crate) enum Condition {
    Expression(Vec<Token>),
    Defined(Name),
    NotDefined(Name),
}

#[derive(Debug)]
pub(crate) enum Included {
    Quoted(String),
    Searched(String),
    /// What macros make.
    Tokens(Vec<Token>),
}

impl SourceFile {
    /// Takes a text apart.
    pub fn new(text: &str, names: &Names) -> Self {
        let mut file = Self {
            length: text.len(),
            ..Self::default()
        };
        let mut open: Vec<Vec<usize>> = Vec::new();
        let mut found = Vec::new();
        for line in lines(text) {
            found.clear();
            tokens(&line, names, &mut found);
            let is_directive = line.text.trim_start().starts_with('#');
            if !is_directive {
                if found.is_empty() {
                    continue;
                }
                match file.items.last_mut() {
                    Some(Item::Text(text)) => text.append(&mut found),
                    _ => file.items.push(Item::Text(found.clone())),
                }
                continue;
            }
            let directive = read(&line.text, &found[1..], names);
            if matches!(directive, Directive::Ignored) {
                continue;
            }
            if let Directive::Pragma(name) = &directive
                && names.text(*name) == "#pragma once"
            {
                file.once = true;
                continue;
            }
            file.note_branch(&directive, &mut open);
            let line = found[0].line;
            file.items.push(Item::Directive { line, directive });
        }
        if !open.is_empty() {
            file.broken = Some("an #if that does not end");
        }
        file
    }

    /// A rough number of bytes that it takes in memory.
    pub fn size(&self) -> usize {
        self.length * 8
    }

    /// Tells earlier branches where the next one is, and the end.
    fn note_branch(&mut self, directive: &Directive, open: &mut Vec<Vec<usize>>) {
        let here = self.items.len();
        match directive {
            Directive::If { .. } => open.push(vec![here]),
            Directive::ElseIf { .. } | Directive::Else { .. } => match open.last_mut() {
                Some(branches) => {
                    let before = branches.last().copied();
                    branches.push(here);
                    before
                        .into_iter()
                        .for_each(|before| self.lead(before, |to| to.next = here));
                }
                None => self.broken = Some("an #else without #if"),
            },
            Directive::EndIf => match open.pop() {
                Some(branches) => {
                    for (place, branch) in branches.iter().enumerate() {
                        let last = place + 1 == branches.len();
                        self.lead(*branch, |to| {
                            to.end = here;
                            to.next = if last { here } else { to.next };
                        });
                    }
                }
                None => self.broken = Some("an #endif without #if"),
            },
            _ => {}
        }
    }

    fn lead(&mut self, item: usize, set: impl Fn(&mut Branches)) {
        if let Some(Item::Directive {
            directive:
                Directive::If { next, .. } | Directive::ElseIf { next, .. } | Directive::Else { next },
            ..
        }) = self.items.get_mut(item)
        {
            set(next);
        }
    }
}

/// Reads a directive: its line, and its tokens without the `#`.
fn read(line: &str, found: &[Token], names: &Names) -> Directive {
    let Some((word, rest)) = found.split_first() else {
        return Directive::Ignored;
    };
    let next = Branches::default();
    let named = |make: fn(Name) -> Condition| match rest.first() {
        Some(name) if name.is_identifier() => Some(make(name.name)),
        _ => None,
    };
    let expression = || Condition::Expression(rest.to_vec());
    match names.text(word.name) {
        "if" => Directive::If {
            condition: expression(),
            next,
        },
        word @ ("ifdef" | "ifndef") => {
            let make = if word == "ifdef" {
                Condition::Defined
            } else {
                Condition::NotDefined
            };
            // One without a name is an error where it is met; it is a branch nevertheless.
            let condition = named(make).unwrap_or(Condition::Expression(Vec::new()));
            Directive::If { condition, next }
        }
        "elif" => Directive::ElseIf {
            condition: expression(),
            next,
        },
        "elifdef" | "elifndef" => Directive::ElseIf {
            condition: Condition::Expression(Vec::new()),
            next,
        },
        "else" => Directive::Else { next },
        "endif" => Directive::EndIf,
        word @ ("include" | "include_next") => Directive::Include {
            what: included(after(line, word), rest),
            next: word == "include_next",
        },
        "define" => match Macro::read(rest) {
            Some((name, read)) => Directive::Define(name, Arc::new(read)),
            None => Directive::Unknown("#define"),
        },
        "undef" => match rest {
            [name] if name.is_identifier() => Directive::Undefine(name.name),
            _ => Directive::Unknown("#undef"),
        },
        "line" => Directive::Line(rest.to_vec()),
        "pragma" => pragma(rest, names),
        "warning" | "ident" | "sccs" => Directive::Ignored,
        "error" => Directive::Unknown("#error"),
        _ => Directive::Unknown("a directive"),
    }
}

fn included(written: &str, rest: &[Token]) -> Included {
    let closed = |close: char| {
        written[1..]
            .split_once(close)
            .map(|(name, _)| name.to_owned())
    };
    let name = match written.as_bytes().first() {
        Some(b'"') => closed('"').map(Included::Quoted),
        Some(b'<') => closed('>').map(Included::Searched),
        _ => None,
    };
    name.unwrap_or_else(|| Included::Tokens(rest.to_vec()))
}

/// What stands after a word that is the first of a line.
fn after<'a>(line: &'a str, word: &str) -> &'a str {
    let start = line.find(word).map_or(line.len(), |at| at + word.len());
    line[start..].trim()
}

/// Pragmas that change what the preprocessor does are not known here.
fn pragma(rest: &[Token], names: &Names) -> Directive {
    let words: Vec<&str> = rest.iter().map(|token| names.text(token.name)).collect();
    let first_two = words.get(..2).unwrap_or(&words);
    if let ["push_macro" | "pop_macro" | "redefine_extname", ..] = first_two {
        return Directive::Unknown("#pragma");
    }
    if let ["GCC", "poison" | "dependency" | "warning" | "error"] = first_two {
        return Directive::Unknown("#pragma GCC");
    }
    Directive::Pragma(pragma_name(&words, names))
}

/// The one token that stands for a pragma.
pub(crate) fn pragma_name(words: &[&str], names: &Names) -> Name {
    let mut text = String::from("#pragma");
    for word in words {
        let glued = word
            .bytes()
            .next()
            .is_some_and(|first| !is_word_byte(first));
        if !glued || text == "#pragma" {
            text.push(' ');
        }
        text.push_str(word);
    }
    names.name(&text)
}
