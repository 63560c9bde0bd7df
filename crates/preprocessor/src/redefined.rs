//! Structures, unions and enumerations that two texts of a unit define in different ways, and what
//! of them differs.
//!
//! Most code that sees a structure is about members that an edit of it leaves alone. If those keep
//! their places, a unit that names none of the others compiles to the same code as before. Here is
//! the part of that which the text tells: the names that are new or declared in another way. That
//! places, sizes and types stay is for debug information to prove.
//!
//! Initialisers may name no member at all. So the members that they fill, one after another, have
//! to be the same: of a union that is the first. If one of them is declared in another way, whoever
//! has an object of the type may be meant.

use std::collections::HashSet;

use crate::definition::{Definition, Untold, definitions, enumerators, members, same_names};
use crate::effective::{self, kept, split, worded, words, written};
use crate::lexer::{COUNTED, Token};
use crate::names::{Name, Names, word};

/// A type with a tag that two texts define in different ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redefinition {
    /// e.g. `struct sock`.
    pub tag: String,
    name: Name,
    before: Vec<Token>,
    after: Vec<Token>,
}

/// Members, or enumerators, that an edit of their type touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Only the edited type has them.
    pub new: Vec<String>,
    /// Both have them, declared in different ways.
    pub other: Vec<String>,
}

/// A redefinition that is proven to have no effect on code that names nothing of what it touches.
#[derive(Debug, Clone)]
pub struct Harmless {
    redefinition: Redefinition,
    touched: Vec<Name>,
    /// Whether a member is declared in another way: who makes objects of the type may give it a
    /// value without naming it.
    is_redeclared: bool,
}

/// What is known of an edit from some of the units that see it.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Names that only the edited text of some unit declares.
    new_names: HashSet<Name>,
    /// What only the edited text of some unit has, in words.
    new_chunks: HashSet<Vec<Name>>,
    harmless: Vec<Harmless>,
}

/// An edited text, with harmless redefinitions taken as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What of it has an effect, as [`effective`](crate::effective) gives it.
    pub text: Vec<u8>,
    /// Whether it names, outside of the types, something that their edit touches.
    pub is_touched: bool,
    /// How often it defines or names the types; 0 if it does not see them.
    pub mentions: usize,
}

/// The types with a tag that both texts define once, in different ways.
pub fn redefined(before: &[Token], after: &[Token], names: &Names) -> Vec<Redefinition> {
    let (before, after) = (definitions(before), definitions(after));
    let mut found: Vec<Redefinition> = before
        .into_iter()
        .filter_map(|(tag, before)| {
            let (before, after) = (before?, (*after.get(&tag)?)?);
            let numbered = |token: &Token| names.text(token.name).contains(COUNTED.0);
            let differs = !same_names(before, after);
            let plain = differs && !before.iter().chain(after).any(numbered);
            plain.then(|| Redefinition {
                tag: format!("{} {}", names.text(tag.0), names.text(tag.1)),
                name: tag.1,
                before: alone(before),
                after: alone(after),
            })
        })
        .collect();
    found.sort_by(|one, other| one.tag.cmp(&other.tag));
    found
}

/// Without where they stand, so that the same definition is equal in all units.
fn alone(tokens: &[Token]) -> Vec<Token> {
    let tokens = tokens.iter();
    tokens
        .map(|token| Token::new(token.kind, token.name))
        .collect()
}

impl Edit {
    /// Learns from both texts of a unit.
    pub fn learn(&mut self, before: &[Token], after: &[Token], names: &Names) {
        let (before, after) = (worded(before, names), worded(after, names));
        let known: HashSet<&[Name]> = before.iter().map(|(_, words)| words.as_slice()).collect();
        let mut new_names = HashSet::new();
        for (chunk, words) in after {
            if !known.contains(words.as_slice()) {
                new_names.extend(declared_names(chunk));
                self.new_chunks.insert(words);
            }
        }
        if !new_names.is_empty() {
            for name in before.iter().flat_map(|(chunk, _)| declared_names(chunk)) {
                new_names.remove(&name);
            }
        }
        self.new_names.extend(new_names);
    }

    pub fn add(&mut self, harmless: Harmless) {
        self.harmless.push(harmless);
    }

    pub fn has_harmless(&self) -> bool {
        !self.harmless.is_empty()
    }

    /// An edited text with what is harmless undone. If it has the effect of the text before the
    /// edit and is not touched, the unit's code is the same.
    ///
    /// Text that both have can't mean what only the edited one declares, or the other would not
    /// compile: where it has such a name, that is a parameter's or a member's. So it does not count
    /// as a use of the name. Should a unit have new text that is not known here, it differs by that.
    pub fn restored(&self, after: &[Token], names: &Names) -> Restored {
        let tokens = self.undone(after);
        let chunks = split(&tokens);
        let is_new = |chunk: usize| {
            let words = words(&tokens[chunks[chunk].clone()], names);
            self.new_chunks.contains(&words)
        };
        let kept = kept(&tokens, &chunks, &|chunk, name| {
            !self.new_names.contains(&name) || is_new(chunk)
        });
        let text = written(&tokens, &chunks, &kept, names);
        let touched = self.harmless.iter().flat_map(|one| &one.touched);
        let touched: HashSet<Name> = touched.copied().collect();
        let tags = self.harmless.iter().map(|one| one.redefinition.name);
        let tags: HashSet<Name> = tags.collect();
        let (mut is_touched, mut mentions) = (false, 0);
        for (chunk, kept) in chunks.into_iter().zip(kept) {
            let tokens = &tokens[chunk];
            let is_definition = |one: &Harmless| same_names(tokens, &one.redefinition.before);
            if !kept {
                continue;
            }
            is_touched |= self.harmless.iter().any(|one| one.is_made_in(tokens));
            if self.harmless.iter().any(is_definition) {
                mentions += 1;
                continue;
            }
            is_touched |= tokens.iter().any(|token| touched.contains(&token.name));
            let tags = tokens.iter().filter(|token| tags.contains(&token.name));
            mentions += tags.count();
        }
        Restored {
            text,
            is_touched,
            mentions,
        }
    }

    /// The text with the types as they were.
    fn undone(&self, after: &[Token]) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(after.len());
        for chunk in split(after) {
            let chunk = &after[chunk];
            let is_edited = |one: &&Harmless| same_names(chunk, &one.redefinition.after);
            match self.harmless.iter().find(is_edited) {
                Some(one) => tokens.extend_from_slice(&one.redefinition.before),
                None => tokens.extend_from_slice(chunk),
            }
        }
        tokens
    }
}

impl Harmless {
    /// Whether a text has the type as more than what a pointer points to, and that matters.
    fn is_made_in(&self, tokens: &[Token]) -> bool {
        const OTHERWISE: [Name; 3] = [word::STAR, word::SEMICOLON, word::OPEN_BRACE];
        let tag = [self.redefinition.before[0].name, self.redefinition.name];
        let mut words = tokens.windows(3);
        self.is_redeclared
            && words.any(|words| {
                [words[0].name, words[1].name] == tag && !OTHERWISE.contains(&words[2].name)
            })
    }
}

fn declared_names(chunk: &[Token]) -> Vec<Name> {
    let mut names = Vec::new();
    match effective::declared(chunk, &mut names) {
        Some(()) => names,
        None => Vec::new(),
    }
}

impl Redefinition {
    /// What the edit touches.
    pub fn touched(&self, names: &Names) -> Result<Touched, Untold> {
        let (before, after) = (Definition::of(&self.before), Definition::of(&self.after));
        let (Some(before), Some(after)) = (before, after) else {
            return Err(Untold::Attributes);
        };
        if !same_names(before.head, after.head) || !same_names(before.tail, after.tail) {
            return Err(Untold::Attributes);
        }
        let (before, after) = match self.before[0].name {
            word::ENUM => enumerators(&before, &after)?,
            keyword => members(&before, &after, keyword == word::UNION)?,
        };
        if before.iter().any(|name| !after.contains(name)) {
            return Err(Untold::Gone);
        }
        let text = |name: &Name| names.text(*name).to_owned();
        let (other, new): (Vec<Name>, Vec<Name>) =
            after.iter().partition(|name| before.contains(name));
        Ok(Touched {
            new: new.iter().map(text).collect(),
            other: other.iter().map(text).collect(),
        })
    }

    /// For who has proven that the rest of the type stays as it is.
    pub fn harmless(&self, touched: &[String], names: &Names) -> Harmless {
        let is_enum = self.before[0].name == word::ENUM;
        let told = self.touched(names);
        let is_redeclared = !is_enum && told.is_ok_and(|told| !told.other.is_empty());
        Harmless {
            redefinition: self.clone(),
            is_redeclared,
            touched: touched.iter().map(|text| names.name(text)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
