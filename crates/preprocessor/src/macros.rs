//! Macros: what a `#define` says, and what their expansion puts together.

use crate::lexer::{Kind, Token, single};
use crate::names::{Name, Names, word};
use crate::unit::Unsupported;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Macro {
    /// None for a macro without a list of parameters.
    pub parameters: Option<usize>,
    /// Whether the last parameter takes all further arguments.
    pub variadic: bool,
    body: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// [`Token::pasted`] says whether `##` follows.
    token: Token,
    /// The parameter that it stands for, by its place.
    parameter: Option<usize>,
    /// Whether `#` stands before the parameter.
    stringified: bool,
}

/// An argument of a macro.
#[derive(Debug, Clone, Default)]
pub(crate) struct Argument {
    pub tokens: Vec<Token>,
    /// The same with macros expanded, if a parameter wants that.
    pub expanded: Option<Vec<Token>>,
    /// Whether it was left out: fewer arguments were given than there are parameters.
    pub omitted: bool,
}

impl Macro {
    /// Reads what follows `#define`.
    pub fn read(tokens: &[Token]) -> Option<(Name, Self)> {
        let (name, rest) = tokens
            .split_first()
            .filter(|(name, _)| name.is_identifier())?;
        let has_list = rest
            .first()
            .is_some_and(|open| open.name == word::OPEN && !open.spaced);
        let (parameters, variadic, body) = match has_list {
            true => {
                let end = rest.iter().position(|token| token.name == word::CLOSE)?;
                let (names, variadic) = parameters(&rest[1..end])?;
                (Some(names), variadic, &rest[end + 1..])
            }
            false => (None, false, rest),
        };
        let body = read_body(body, parameters.as_deref())?;
        let parameters = parameters.map(|names| names.len());
        let read = Self {
            parameters,
            variadic,
            body,
        };
        Some((name.name, read))
    }

    /// The parameters whose expanded arguments the body has, each once, in the order of their first
    /// such use. Compilers expand arguments in that order, which `__COUNTER__` shows.
    pub fn expanded_parameters(&self) -> Vec<usize> {
        let mut wanted = Vec::new();
        let mut after_paste = false;
        for part in &self.body {
            let is_whole = !part.stringified && !part.token.pasted && !after_paste;
            let parameter = part.parameter.filter(|_| is_whole);
            wanted.extend(parameter.filter(|place| !wanted.contains(place)));
            after_paste = part.token.pasted;
        }
        wanted
    }

    /// What takes the place of the macro's name and arguments.
    pub fn replaced(
        &self,
        arguments: &[Argument],
        names: &Names,
    ) -> Result<Vec<Token>, Unsupported> {
        let mut made: Vec<Token> = Vec::with_capacity(self.body.len());
        let mut after_paste = false;
        for part in &self.body {
            match part.parameter {
                None => made.push(part.token),
                Some(place) if part.stringified => {
                    let text = stringified(&arguments[place].tokens, names);
                    made.push(Token {
                        name: names.name(&text),
                        kind: Kind::Literal,
                        ..part.token
                    });
                }
                Some(place) => {
                    let is_rest = self.variadic && Some(place + 1) == self.parameters;
                    put_argument(&mut made, part, &arguments[place], after_paste, is_rest);
                }
            }
            after_paste = part.token.pasted;
        }
        paste(made, names)
    }
}

fn put_argument(
    made: &mut Vec<Token>,
    part: &Part,
    argument: &Argument,
    after_paste: bool,
    is_rest: bool,
) {
    let pasted = part.token.pasted;
    let partner = made.last_mut().filter(|last| after_paste && last.pasted);
    if let Some(last) = partner {
        if last.name == word::COMMA && is_rest {
            // GNU C: the comma goes with the arguments that it stands before.
            if argument.omitted {
                made.pop();
            } else {
                last.pasted = pasted && argument.tokens.is_empty();
            }
        } else if argument.tokens.is_empty() {
            last.pasted = pasted;
        }
    }
    let given = match &argument.expanded {
        Some(expanded) if !pasted && !after_paste => expanded,
        _ => &argument.tokens,
    };
    let start = made.len();
    made.extend(given);
    if let Some(first) = made.get_mut(start) {
        first.spaced = part.token.spaced;
    }
    if let Some(last) = made[start..].last_mut() {
        last.pasted = pasted;
    }
}

/// Joins what `##` joins.
fn paste(made: Vec<Token>, names: &Names) -> Result<Vec<Token>, Unsupported> {
    if !made.iter().any(|token| token.pasted) {
        return Ok(made);
    }
    let mut joined: Vec<Token> = Vec::with_capacity(made.len());
    let mut open = false;
    for token in made {
        let next = token.pasted;
        match joined.last_mut().filter(|_| open) {
            Some(last) => {
                let text = [names.text(last.name), names.text(token.name)].concat();
                let kind = single(&text).ok_or(Unsupported::Paste(text.clone()))?;
                *last = Token {
                    spaced: last.spaced,
                    line: last.line,
                    ..Token::new(kind, names.name(&text))
                };
            }
            None => joined.push(Token {
                pasted: false,
                ..token
            }),
        }
        open = next;
    }
    Ok(joined)
}

/// `#parameter`: the argument as it was written, in quotes.
fn stringified(tokens: &[Token], names: &Names) -> String {
    let mut text = String::from("\"");
    for (place, token) in tokens.iter().enumerate() {
        if token.spaced && place > 0 {
            text.push(' ');
        }
        let written = names.text(token.name);
        if token.kind == Kind::Literal {
            text.push_str(&written.replace('\\', "\\\\").replace('"', "\\\""));
        } else {
            text.push_str(written);
        }
    }
    text.push('"');
    text
}

/// The names of parameters, and whether the last is variadic.
fn parameters(tokens: &[Token]) -> Option<(Vec<Name>, bool)> {
    let mut names = Vec::new();
    let mut variadic = false;
    for parameter in tokens.split(|token| token.name == word::COMMA) {
        if variadic {
            return None;
        }
        match parameter {
            [] if tokens.is_empty() => {}
            [dots] if dots.name == word::ELLIPSIS => {
                names.push(word::VA_ARGS);
                variadic = true;
            }
            [name, dots] if name.is_identifier() && dots.name == word::ELLIPSIS => {
                names.push(name.name);
                variadic = true;
            }
            [name] if name.is_identifier() => names.push(name.name),
            _ => return None,
        }
    }
    Some((names, variadic))
}

fn read_body(tokens: &[Token], parameters: Option<&[Name]>) -> Option<Vec<Part>> {
    let place = |token: &Token| {
        let mut names = parameters?.iter();
        names.position(|name| *name == token.name)
    };
    let mut body: Vec<Part> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.iter().peekable();
    while let Some(token) = tokens.next() {
        if token.name == word::VA_OPT {
            return None;
        }
        if token.name == word::PASTE {
            // Not at the start or the end.
            body.last_mut()?.token.pasted = true;
            tokens.peek()?;
            continue;
        }
        let is_sign = token.name == word::HASH && parameters.is_some();
        let (stringified, taken) = match is_sign {
            true => (true, tokens.next()?),
            false => (false, token),
        };
        let parameter = place(taken);
        if stringified && parameter.is_none() {
            return None;
        }
        body.push(Part {
            token: Token {
                spaced: token.spaced,
                ..*taken
            },
            parameter,
            stringified,
        });
    }
    Some(body)
}
