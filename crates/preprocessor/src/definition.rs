//! Definitions of structures, unions and enumerations with a tag, taken apart into members.

use std::collections::HashMap;

use crate::effective::split;
use crate::lexer::Token;
use crate::names::{Name, word};

/// Words after which what a member is can't be told from its name and type alone.
const BY_ITSELF: [Name; 8] = [
    word::ATTRIBUTE,
    word::ATTRIBUTE_SHORT,
    word::ALIGNAS,
    word::VOLATILE,
    word::VOLATILE_LONG,
    word::ATOMIC,
    word::STATIC_ASSERT,
    word::OPEN_BRACE,
];

/// Words before a declarator's name within its parentheses.
const QUALIFIERS: [Name; 3] = [word::CONST, word::CONST_LONG, word::RESTRICT_LONG];

/// Why a redefinition may have an effect on code that names nothing of what it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    #[error("its own attributes change")]
    Attributes,
    #[error("one of its edited members has more than a name and a type")]
    Member,
    #[error("a member goes away")]
    Gone,
    #[error("initialisers without names would fill other members")]
    Order,
}

/// The text of each tag's definition by keyword and tag; none for tags that are defined twice.
pub(crate) fn definitions(tokens: &[Token]) -> HashMap<(Name, Name), Option<&[Token]>> {
    let mut found: HashMap<_, Option<&[Token]>> = HashMap::new();
    for chunk in split(tokens) {
        let chunk = &tokens[chunk];
        if let Some(definition) = Definition::of(chunk) {
            let known = found.entry((chunk[0].name, definition.tag));
            known
                .and_modify(|known| *known = None)
                .or_insert(Some(chunk));
        }
    }
    found
}

/// `struct HEAD { BODY } TAIL`, where the head is the tag and attributes, and the tail attributes
/// and a semicolon.
pub(crate) struct Definition<'t> {
    tag: Name,
    pub head: &'t [Token],
    body: &'t [Token],
    pub tail: &'t [Token],
}

impl<'t> Definition<'t> {
    pub fn of(chunk: &'t [Token]) -> Option<Self> {
        if !is_tagged(chunk.first()?) {
            return None;
        }
        let is = |name: Name| move |token: &Token| token.name == name;
        let open = chunk.iter().position(is(word::OPEN_BRACE))?;
        let close = closing(chunk, open)?;
        let (head, body) = (&chunk[1..open], &chunk[open + 1..close]);
        let tail = &chunk[close + 1..];
        let tag = without_attributes(head)?;
        let [tag] = tag.as_slice() else { return None };
        let [end] = without_attributes(tail)?[..] else {
            return None;
        };
        (tag.is_identifier() && end.name == word::SEMICOLON).then_some(Self {
            tag: tag.name,
            head,
            body,
            tail,
        })
    }
}

fn is_tagged(token: &Token) -> bool {
    matches!(token.name, word::STRUCT | word::UNION | word::ENUM)
}

/// Where the bracket at a place is closed.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_u32;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.name {
            word::OPEN | word::OPEN_BRACE | word::OPEN_BRACKET => depth += 1,
            word::CLOSE | word::CLOSE_BRACE | word::CLOSE_BRACKET => {
                depth = depth.checked_sub(1)?
            }
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// What is left without each `__attribute__ ((…))`.
fn without_attributes(tokens: &[Token]) -> Option<Vec<Token>> {
    let (mut left, mut at) = (Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        if matches!(token.name, word::ATTRIBUTE | word::ATTRIBUTE_SHORT) {
            at = closing(tokens, at + 1)?;
        } else {
            left.push(*token);
        }
        at += 1;
    }
    Some(left)
}

/// Parts between separators that are in no brackets. What follows the last one is a part if there
/// is anything.
fn parts(tokens: &[Token], separator: Name) -> Vec<&[Token]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (index, token) in tokens.iter().enumerate() {
        match token.name {
            word::OPEN | word::OPEN_BRACE | word::OPEN_BRACKET => depth += 1,
            word::CLOSE | word::CLOSE_BRACE | word::CLOSE_BRACKET => {
                depth = depth.saturating_sub(1);
            }
            name if name == separator && depth == 0 => {
                parts.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

pub(crate) type Both<T> = (Vec<T>, Vec<T>);

/// The enumerators that are not the same in both.
pub(crate) fn enumerators(
    before: &Definition<'_>,
    after: &Definition<'_>,
) -> Result<Both<Name>, Untold> {
    let (before, after) = (
        parts(before.body, word::COMMA),
        parts(after.body, word::COMMA),
    );
    let names = |these: &[&[Token]], others: &[&[Token]]| {
        let these = these
            .iter()
            .filter(|one| !others.iter().any(|other| same_names(one, other)));
        let named = these.map(|one| one.first().filter(|token| token.is_identifier()));
        let named: Option<Vec<Name>> = named.map(|token| Some(token?.name)).collect();
        named.ok_or(Untold::Member)
    };
    Ok((names(&before, &after)?, names(&after, &before)?))
}

/// A member's declaration, or members within a structure or union that has no name and nothing but
/// them.
enum Member<'t> {
    Declaration(&'t [Token]),
    Within {
        is_union: bool,
        tokens: &'t [Token],
        members: Vec<Member<'t>>,
    },
}

impl<'t> Member<'t> {
    fn of(tokens: &'t [Token]) -> Self {
        let (first, last) = (tokens[0].name, tokens[tokens.len() - 1].name);
        let opens = tokens
            .get(1)
            .is_some_and(|token| token.name == word::OPEN_BRACE);
        let is_union = first == word::UNION;
        if (is_union || first == word::STRUCT) && opens && last == word::CLOSE_BRACE {
            let members = Self::all(&tokens[2..tokens.len() - 1]);
            return Self::Within {
                is_union,
                tokens,
                members,
            };
        }
        Self::Declaration(tokens)
    }

    fn all(body: &'t [Token]) -> Vec<Self> {
        let parts = parts(body, word::SEMICOLON).into_iter();
        parts.map(Self::of).collect()
    }

    fn tokens(&self) -> &'t [Token] {
        match self {
            Self::Declaration(tokens) | Self::Within { tokens, .. } => tokens,
        }
    }
}

/// The names of the members whose declarations are not the same in both.
pub(crate) fn members(
    before: &Definition<'_>,
    after: &Definition<'_>,
    in_union: bool,
) -> Result<Both<Name>, Untold> {
    let (before, after) = (Member::all(before.body), Member::all(after.body));
    let (only_before, only_after) = unmatched(&before, &after);
    let order = |members: &[Member<'_>], only: &[&[Token]]| {
        let mut order = Vec::new();
        fill(members, in_union, only, &mut order).map(|()| order)
    };
    if order(&before, &only_before)? != order(&after, &only_after)? {
        return Err(Untold::Order);
    }
    let names = |declarations: &[&[Token]]| {
        let names = declarations.iter().map(|declaration| declared(declaration));
        let names: Option<Vec<Vec<Name>>> = names.collect();
        names.map(|names| names.concat()).ok_or(Untold::Member)
    };
    Ok((names(&only_before)?, names(&only_after)?))
}

/// Declarations that only one of both has. Structures and unions without a name are looked into
/// where the other has not the same.
fn unmatched<'t>(before: &[Member<'t>], after: &[Member<'t>]) -> Both<&'t [Token]> {
    let (mut before, mut after): Both<&Member<'t>> =
        (before.iter().collect(), after.iter().collect());
    loop {
        let mut only_before = Vec::new();
        for member in before {
            let same = |other: &&Member<'_>| same_names(member.tokens(), other.tokens());
            match after.iter().position(same) {
                Some(place) => drop(after.remove(place)),
                None => only_before.push(member),
            }
        }
        let is_open = |member: &&&Member<'_>| matches!(member, Member::Within { .. });
        if !only_before
            .iter()
            .chain(&after)
            .any(|member| is_open(&member))
        {
            let tokens =
                |members: Vec<&Member<'t>>| members.iter().map(|one| one.tokens()).collect();
            return (tokens(only_before), tokens(after));
        }
        (before, after) = (opened(only_before), opened(after));
    }
}

fn opened<'m, 't>(members: Vec<&'m Member<'t>>) -> Vec<&'m Member<'t>> {
    let opened = members.into_iter().flat_map(|member| match member {
        Member::Within { members, .. } => members.iter().collect(),
        Member::Declaration(_) => vec![member],
    });
    opened.collect()
}

/// What an initialiser without names fills next.
#[derive(PartialEq, Eq)]
enum Filled {
    /// A member that both have.
    Kept(Vec<Name>),
    /// One that only one of both has in this way.
    Touched(Name),
}

fn fill(
    members: &[Member<'_>],
    in_union: bool,
    only: &[&[Token]],
    order: &mut Vec<Filled>,
) -> Result<(), Untold> {
    let count = if in_union { 1 } else { members.len() };
    for member in members.iter().take(count) {
        match member {
            Member::Within {
                is_union, members, ..
            } => fill(members, *is_union, only, order)?,
            Member::Declaration(tokens) => {
                let is_only = only.iter().any(|only| std::ptr::eq(*only, *tokens));
                if is_only {
                    let names = declared(tokens).ok_or(Untold::Member)?;
                    order.extend(names.into_iter().map(Filled::Touched));
                } else {
                    let names = tokens.iter().map(|token| token.name);
                    order.push(Filled::Kept(names.collect()));
                }
            }
        }
    }
    Ok(())
}

/// The names of a declaration's members; nothing if it has more than names and types.
fn declared(tokens: &[Token]) -> Option<Vec<Name>> {
    if tokens.iter().any(|token| BY_ITSELF.contains(&token.name)) {
        return None;
    }
    let declarators = parts(tokens, word::COMMA).into_iter();
    declarators.map(declarator_name).collect()
}

/// `NAME` of `… NAME`, `… NAME [ … ]`, `… NAME : …` and `… ( * NAME … ) ( … )`.
fn declarator_name(tokens: &[Token]) -> Option<Name> {
    let ends = |token: &Token| matches!(token.name, word::OPEN | word::OPEN_BRACKET | word::COLON);
    let end = tokens.iter().position(ends).unwrap_or(tokens.len());
    if tokens.get(end).is_none_or(|token| token.name != word::OPEN) {
        // The first declarator has its type before it.
        let last = tokens[..end].last().filter(|token| token.is_identifier());
        return last.map(|token| token.name);
    }
    let inner = &tokens[end + 1..closing(tokens, end)?];
    let skipped = |token: &&Token| token.name == word::STAR || QUALIFIERS.contains(&token.name);
    let stars = inner.iter().take_while(skipped).count();
    let rest = &inner[stars..];
    let [name, rest @ ..] = rest else { return None };
    let simple = rest
        .first()
        .is_none_or(|token| token.name == word::OPEN_BRACKET);
    (stars > 0 && name.is_identifier() && simple).then_some(name.name)
}

/// Whether the tokens are the same, wherever they stand.
pub(crate) fn same_names(one: &[Token], other: &[Token]) -> bool {
    let mut both = one.iter().zip(other);
    one.len() == other.len() && both.all(|(one, other)| one.name == other.name)
}
