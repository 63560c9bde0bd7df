//! Preprocessing one unit (C11, 6.10, with GNU C's additions).
//!
//! Tokens come from the file at hand or from what a macro was replaced by, which is a [`Context`]
//! on top of it. A macro is not expanded within its own contexts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::expression;
use crate::lexer::{COUNTED, Kind, Token};
use crate::macros::{Argument, Macro};
use crate::names::{ByName, Name, Names, word};
use crate::source::{Condition, Directive, Included, Item, SourceFile, pragma_name};

/// Files within files.
const DEPTH: usize = 200;

/// What is not done here but left to the compiler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("`{0}` is not found")]
    Missing(String),
    #[error("{0} is not handled")]
    Directive(&'static str),
    #[error("the condition of an #if is not understood")]
    Expression,
    #[error("`{0}` is no token")]
    Paste(String),
    #[error("the arguments of a macro do not fit")]
    Arguments,
    #[error("`{0}` is not known")]
    Builtin(String),
    #[error("files include each other")]
    Depth,
}

/// Where files come from, and what only the compiler knows.
pub trait Sources: Sync {
    /// A file and its path in the tree in one way, whatever way led to it.
    fn read(&self, path: &str) -> Option<(Arc<str>, Arc<SourceFile>)>;

    /// What the compiler says to `#if QUESTION`.
    fn answer(&self, question: &str) -> Option<bool>;
}

/// What the command says.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// The compiler's own macros, and those of the command, each as a file of `#define`s.
    pub defines: Vec<Arc<SourceFile>>,
    /// Files that are included before the unit.
    pub forced: Vec<String>,
    /// Folders for `"NAME"` only.
    pub quoted_folders: Vec<String>,
    /// Folders for `<NAME>` and `"NAME"`.
    pub folders: Vec<String>,
    /// What file names lose at their start where a macro gives them.
    pub dropped_prefix: String,
    /// The unit's file.
    pub source: String,
}

/// What the compiler sees, and the files that it is made of, each once.
pub fn preprocess(
    invocation: &Invocation,
    sources: &dyn Sources,
    names: &Names,
) -> Result<(Vec<Token>, Vec<Arc<str>>), Unsupported> {
    let mut unit = Unit {
        invocation,
        sources,
        names,
        macros: HashMap::default(),
        files: Vec::new(),
        contexts: Vec::new(),
        read: Vec::new(),
        seen: HashSet::new(),
        counter: 0,
        in_condition: false,
    };
    let mut tokens = Vec::new();
    for defines in &invocation.defines {
        unit.files.push(Open::new(Arc::clone(defines), "", None));
        unit.run(&mut tokens)?;
    }
    let forced = invocation.forced.iter();
    for path in forced.chain([&invocation.source]) {
        let (known, file) = sources
            .read(path)
            .ok_or_else(|| Unsupported::Missing(path.clone()))?;
        unit.open(path, known, file, None)?;
        unit.run(&mut tokens)?;
    }
    Ok((tokens, unit.read))
}

/// A file that is being read.
struct Open {
    file: Arc<SourceFile>,
    item: usize,
    /// The place in the item's tokens.
    at: usize,
    /// As it was found, for what it includes from beside.
    path: String,
    /// The number of the folder in which it was found.
    folder: Option<usize>,
    /// Its name for `__FILE__`, where a `#line` gave one.
    name: Option<String>,
    /// What a `#line` adds to the number of a line.
    shift: i64,
}

impl Open {
    fn new(file: Arc<SourceFile>, path: &str, folder: Option<usize>) -> Self {
        Self {
            file,
            item: 0,
            at: 0,
            path: path.to_owned(),
            folder,
            name: None,
            shift: 0,
        }
    }
}

/// A file that an inclusion means.
struct Found {
    /// As it was found.
    path: String,
    /// The number of the folder.
    folder: Option<usize>,
    /// Its path in one way.
    known: Arc<str>,
    file: Arc<SourceFile>,
}

/// Tokens that come before those of the file.
struct Context {
    tokens: Vec<Token>,
    at: usize,
    /// The macro that they took the place of.
    of: Option<Name>,
    /// Whether nothing below is read until they are taken away.
    is_floor: bool,
}

struct Unit<'a> {
    invocation: &'a Invocation,
    sources: &'a dyn Sources,
    names: &'a Names,
    macros: ByName<Arc<Macro>>,
    files: Vec<Open>,
    contexts: Vec<Context>,
    read: Vec<Arc<str>>,
    seen: HashSet<Arc<str>>,
    counter: u32,
    /// Whether what is expanded is an `#if`'s.
    in_condition: bool,
}

impl Unit<'_> {
    fn run(&mut self, tokens: &mut Vec<Token>) -> Result<(), Unsupported> {
        while let Some(token) = self.next()? {
            tokens.push(token);
        }
        Ok(())
    }

    fn open(
        &mut self,
        path: &str,
        known: Arc<str>,
        file: Arc<SourceFile>,
        folder: Option<usize>,
    ) -> Result<(), Unsupported> {
        if let Some(why) = file.broken {
            return Err(Unsupported::Directive(why));
        }
        if self.files.len() >= DEPTH {
            return Err(Unsupported::Depth);
        }
        let is_new = self.seen.insert(Arc::clone(&known));
        if is_new {
            self.read.push(known);
        }
        if is_new || !file.once {
            self.files.push(Open::new(file, path, folder));
        }
        Ok(())
    }

    /// The next token after expansion.
    fn next(&mut self) -> Result<Option<Token>, Unsupported> {
        while let Some(mut token) = self.next_raw(false)? {
            if !token.is_identifier() || token.painted {
                return Ok(Some(token));
            }
            let Some(found) = self.macros.get(&token.name) else {
                match self.builtin(&token)? {
                    Some(made) => return Ok(Some(made)),
                    None => return Ok(Some(token)),
                }
            };
            let found = Arc::clone(found);
            if self.is_expanding(token.name) {
                token.painted = true;
                return Ok(Some(token));
            }
            if !self.enter(&found, &token)? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    fn is_expanding(&self, name: Name) -> bool {
        self.contexts.iter().any(|context| context.of == Some(name))
    }

    /// The next token as it stands; none at the end of what may be read. Where arguments are
    /// looked for, a file's end is that.
    fn next_raw(&mut self, in_arguments: bool) -> Result<Option<Token>, Unsupported> {
        while let Some(context) = self.contexts.last_mut() {
            if let Some(token) = context.tokens.get(context.at) {
                context.at += 1;
                return Ok(Some(*token));
            }
            if context.is_floor {
                return Ok(None);
            }
            self.contexts.pop();
        }
        loop {
            let Some(open) = self.files.last_mut() else {
                return Ok(None);
            };
            match open.file.items.get(open.item) {
                Some(Item::Text(tokens)) => match tokens.get(open.at) {
                    Some(token) => {
                        open.at += 1;
                        return Ok(Some(*token));
                    }
                    None => {
                        open.item += 1;
                        open.at = 0;
                    }
                },
                Some(Item::Directive { line, .. }) => {
                    let line = *line;
                    self.direct(line)?;
                }
                None if in_arguments => return Ok(None),
                None => {
                    self.files.pop();
                }
            }
            // A pragma waits as a context.
            if !self.contexts.is_empty() {
                return self.next_raw(in_arguments);
            }
        }
    }

    /// Whether `(` comes next; then it is taken. A directive is not looked behind.
    fn takes_open(&mut self) -> bool {
        while let Some(context) = self.contexts.last_mut() {
            if let Some(token) = context.tokens.get(context.at) {
                let is_open = token.name == word::OPEN;
                context.at += usize::from(is_open);
                return is_open;
            }
            if context.is_floor {
                return false;
            }
            self.contexts.pop();
        }
        let Some(open) = self.files.last_mut() else {
            return false;
        };
        if let Some(Item::Text(tokens)) = open.file.items.get(open.item)
            && open.at == tokens.len()
        {
            open.item += 1;
            open.at = 0;
        }
        let is_open = match open.file.items.get(open.item) {
            Some(Item::Text(tokens)) => tokens[open.at].name == word::OPEN,
            _ => false,
        };
        open.at += usize::from(is_open);
        is_open
    }

    /// Replaces a macro; not if it wants arguments and there are none.
    fn enter(&mut self, found: &Macro, token: &Token) -> Result<bool, Unsupported> {
        let mut tokens = match found.parameters {
            None => found.replaced(&[], self.names)?,
            Some(count) => {
                if !self.takes_open() {
                    return Ok(false);
                }
                let mut arguments = self.arguments(count, found.variadic)?;
                for place in found.expanded_parameters() {
                    let argument = &mut arguments[place];
                    if self.has_macros(&argument.tokens) {
                        argument.expanded = Some(self.expanded(argument.tokens.clone())?);
                    }
                }
                found.replaced(&arguments, self.names)?
            }
        };
        // What a macro makes stands where its name stood; only while arguments are expanded by
        // themselves are they on lines of their own.
        tokens.iter_mut().for_each(|made| made.line = token.line);
        if let Some(first) = tokens.first_mut() {
            first.spaced = token.spaced;
        }
        self.contexts.push(Context {
            tokens,
            at: 0,
            of: Some(token.name),
            is_floor: false,
        });
        Ok(true)
    }

    fn has_macros(&self, tokens: &[Token]) -> bool {
        let identifiers = tokens.iter().filter(|token| token.is_identifier());
        let mut names = identifiers.map(|token| token.name);
        names.any(|name| self.macros.contains_key(&name) || is_builtin(name))
    }

    fn arguments(&mut self, count: usize, variadic: bool) -> Result<Vec<Argument>, Unsupported> {
        let mut arguments = vec![Argument::default()];
        let mut depth = 0_u32;
        loop {
            let Some(mut token) = self.next_raw(true)? else {
                return Err(Unsupported::Arguments);
            };
            match token.name {
                word::OPEN => depth += 1,
                word::CLOSE if depth == 0 => break,
                word::CLOSE => depth -= 1,
                word::COMMA if depth == 0 && !(variadic && arguments.len() == count) => {
                    arguments.push(Argument::default());
                    continue;
                }
                name if token.is_identifier() => {
                    let is_macro = self.macros.contains_key(&name);
                    token.painted |= is_macro && self.is_expanding(name);
                }
                _ => {}
            }
            if token.kind == Kind::Pragma {
                return Err(Unsupported::Directive("#pragma within arguments"));
            }
            if let Some(last) = arguments.last_mut() {
                last.tokens.push(token);
            }
        }
        let first_is_empty = arguments[0].tokens.is_empty();
        if count == 0 && arguments.len() == 1 && first_is_empty {
            arguments.clear();
        }
        if variadic && count == 1 && first_is_empty {
            arguments[0].omitted = true;
        }
        if variadic && arguments.len() + 1 == count {
            arguments.push(Argument {
                omitted: true,
                ..Argument::default()
            });
        }
        match arguments.len() == count {
            true => Ok(arguments),
            false => Err(Unsupported::Arguments),
        }
    }

    /// Tokens on their own, expanded.
    fn expanded(&mut self, tokens: Vec<Token>) -> Result<Vec<Token>, Unsupported> {
        self.contexts.push(Context {
            tokens,
            at: 0,
            of: None,
            is_floor: true,
        });
        let mut expanded = Vec::new();
        while let Some(token) = self.next()? {
            expanded.push(token);
        }
        self.contexts.pop();
        Ok(expanded)
    }

    /// What a name that no `#define` made stands for, if anything.
    fn builtin(&mut self, token: &Token) -> Result<Option<Token>, Unsupported> {
        let made = |kind: Kind, text: &str| {
            Ok(Some(Token {
                spaced: token.spaced,
                line: token.line,
                ..Token::new(kind, self.names.name(text))
            }))
        };
        match token.name {
            word::LINE => {
                let shift = self.files.last().map_or(0, |open| open.shift);
                made(Kind::Number, &(i64::from(token.line) + shift).to_string())
            }
            word::COUNTER => {
                let text = format!("{}{}{}", COUNTED.0, self.counter, COUNTED.1);
                self.counter += 1;
                made(Kind::Number, &text)
            }
            word::FILE => {
                let open = self.files.last();
                let path = open.map(|open| open.name.as_ref().unwrap_or(&open.path));
                let path = path.map_or("", String::as_str);
                let dropped = &self.invocation.dropped_prefix;
                let path = path.strip_prefix(dropped).unwrap_or(path);
                made(Kind::Literal, &format!("\"{path}\""))
            }
            word::LEVEL => made(Kind::Number, &(self.files.len() - 1).to_string()),
            word::PRAGMA => self.pragma(token).map(Some),
            name if self.in_condition => self.asked(name),
            word::BASE_FILE | word::TIMESTAMP | word::DATE | word::TIME => {
                let text = self.names.text(token.name);
                Err(Unsupported::Builtin(text.to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// `_Pragma("…")`
    fn pragma(&mut self, token: &Token) -> Result<Token, Unsupported> {
        let wrong = || Unsupported::Directive("_Pragma");
        if !self.takes_open() {
            return Err(wrong());
        }
        let literal = self.next()?.filter(|token| token.kind == Kind::Literal);
        let literal = literal.ok_or_else(wrong)?;
        let close = self.next_raw(true)?;
        close
            .filter(|token| token.name == word::CLOSE)
            .ok_or_else(wrong)?;
        let text = self.names.text(literal.name);
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let text = text.ok_or_else(wrong)?;
        let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
        let words: Vec<&str> = text.split_whitespace().collect();
        if words
            .first()
            .is_none_or(|first| *first != "GCC" && *first != "STDC")
        {
            return Err(wrong());
        }
        Ok(Token {
            line: token.line,
            ..Token::new(Kind::Pragma, pragma_name(&words, self.names))
        })
    }

    /// What `#if` asks: `defined X`, `__has_include(X)`, `__has_attribute(X)`.
    fn asked(&mut self, name: Name) -> Result<Option<Token>, Unsupported> {
        let answer = match name {
            word::DEFINED => self.asks_defined()?,
            word::HAS_INCLUDE => self.asks_include()?,
            word::HAS_ATTRIBUTE | word::HAS_BUILTIN => {
                let tokens = self.in_parentheses()?;
                let [asked] = tokens.as_slice() else {
                    return Err(Unsupported::Expression);
                };
                let asked = self.names.text(asked.name);
                self.compiler_says(&format!("{}({asked})", self.names.text(name)))?
            }
            word::HAS_C_ATTRIBUTE
            | word::HAS_CPP_ATTRIBUTE
            | word::HAS_FEATURE
            | word::HAS_EXTENSION
            | word::HAS_EMBED
            | word::HAS_INCLUDE_NEXT => {
                return Err(Unsupported::Builtin(self.names.text(name).to_owned()));
            }
            _ => return Ok(None),
        };
        let text = if answer { "1" } else { "0" };
        Ok(Some(Token::new(Kind::Number, self.names.name(text))))
    }

    fn asks_defined(&mut self) -> Result<bool, Unsupported> {
        let tokens = match self.takes_open() {
            true => self.until_close()?,
            false => self.next_raw(true)?.into_iter().collect(),
        };
        match tokens.as_slice() {
            [token] if token.is_identifier() => self.is_defined(token.name),
            _ => Err(Unsupported::Expression),
        }
    }

    fn asks_include(&mut self) -> Result<bool, Unsupported> {
        let tokens = self.in_parentheses()?;
        let what = self.spelled(&tokens).ok_or(Unsupported::Expression)?;
        Ok(self.found(&what, false).is_some())
    }

    fn in_parentheses(&mut self) -> Result<Vec<Token>, Unsupported> {
        match self.takes_open() {
            true => self.until_close(),
            false => Err(Unsupported::Expression),
        }
    }

    fn until_close(&mut self) -> Result<Vec<Token>, Unsupported> {
        let mut tokens = Vec::new();
        loop {
            match self.next_raw(true)? {
                Some(token) if token.name == word::CLOSE => return Ok(tokens),
                Some(token) => tokens.push(token),
                None => return Err(Unsupported::Expression),
            }
        }
    }

    fn is_defined(&self, name: Name) -> Result<bool, Unsupported> {
        if self.macros.contains_key(&name) || is_builtin(name) {
            return Ok(true);
        }
        match name {
            word::HAS_C_ATTRIBUTE
            | word::HAS_CPP_ATTRIBUTE
            | word::HAS_FEATURE
            | word::HAS_EXTENSION
            | word::HAS_EMBED
            | word::HAS_BUILTIN => {
                self.compiler_says(&format!("defined({})", self.names.text(name)))
            }
            _ => Ok(false),
        }
    }

    fn compiler_says(&self, question: &str) -> Result<bool, Unsupported> {
        let answer = self.sources.answer(question);
        answer.ok_or_else(|| Unsupported::Builtin(question.to_owned()))
    }

    /// Does what the directive at hand says, and goes on behind it.
    fn direct(&mut self, line: u32) -> Result<(), Unsupported> {
        let Some(open) = self.files.last_mut() else {
            return Ok(());
        };
        let file = Arc::clone(&open.file);
        let Some(Item::Directive { directive, .. }) = file.items.get(open.item) else {
            return Ok(());
        };
        open.item += 1;
        match directive {
            Directive::If { condition, next } => {
                let (mut holds, mut next) = (self.holds(condition)?, *next);
                let mut here = None;
                while !holds {
                    here = Some(next.next);
                    match file.items.get(next.next) {
                        Some(Item::Directive {
                            directive:
                                Directive::ElseIf {
                                    condition,
                                    next: to,
                                },
                            ..
                        }) => {
                            holds = self.holds(condition)?;
                            next = *to;
                        }
                        _ => holds = true,
                    }
                }
                if let (Some(here), Some(open)) = (here, self.files.last_mut()) {
                    open.item = here + 1;
                }
            }
            // The branch before was taken.
            Directive::ElseIf { next, .. } | Directive::Else { next } => open.item = next.end + 1,
            Directive::EndIf | Directive::Ignored => {}
            Directive::Include { what, next } => self.include(what, *next)?,
            Directive::Define(name, read) => {
                self.macros.insert(*name, Arc::clone(read));
            }
            Directive::Undefine(name) => {
                self.macros.remove(name);
            }
            Directive::Line(tokens) => self.set_line(tokens, line)?,
            Directive::Pragma(name) => self.contexts.push(Context {
                tokens: vec![Token::new(Kind::Pragma, *name)],
                at: 0,
                of: None,
                is_floor: false,
            }),
            Directive::Unknown(what) => return Err(Unsupported::Directive(what)),
        }
        Ok(())
    }

    fn holds(&mut self, condition: &Condition) -> Result<bool, Unsupported> {
        match condition {
            Condition::Defined(name) => self.is_defined(*name),
            Condition::NotDefined(name) => Ok(!self.is_defined(*name)?),
            Condition::Expression(tokens) => {
                let tokens = self.expanded_in_directive(tokens, true)?;
                expression::is_true(&tokens, self.names)
            }
        }
    }

    fn expanded_in_directive(
        &mut self,
        tokens: &[Token],
        in_condition: bool,
    ) -> Result<Vec<Token>, Unsupported> {
        let before = std::mem::replace(&mut self.in_condition, in_condition);
        let expanded = self.expanded(tokens.to_vec());
        self.in_condition = before;
        expanded
    }

    /// `#line NUMBER`, maybe with a name.
    fn set_line(&mut self, tokens: &[Token], line: u32) -> Result<(), Unsupported> {
        let text = |token: &Token| self.names.text(token.name);
        let (number, name) = match tokens {
            [number] => (text(number).parse::<i64>(), None),
            [number, name] => {
                let name = text(name).trim_matches('"').to_owned();
                (text(number).parse(), Some(name))
            }
            _ => return Err(Unsupported::Directive("#line")),
        };
        let number = number.map_err(|_| Unsupported::Directive("#line"))?;
        if let Some(open) = self.files.last_mut() {
            open.shift = number - i64::from(line) - 1;
            open.name = name.or(open.name.take());
        }
        Ok(())
    }

    fn include(&mut self, what: &Included, next: bool) -> Result<(), Unsupported> {
        let made;
        let what = match what {
            Included::Tokens(tokens) => {
                let tokens = self.expanded_in_directive(tokens, false)?;
                let spelled = self.spelled(&tokens);
                made = spelled.ok_or(Unsupported::Directive("#include"))?;
                &made
            }
            named => named,
        };
        let found = self.found(what, next);
        let found = found.ok_or_else(|| {
            let (Included::Quoted(name) | Included::Searched(name)) = what else {
                return Unsupported::Directive("#include");
            };
            Unsupported::Missing(name.clone())
        })?;
        self.open(&found.path, found.known, found.file, found.folder)
    }

    /// A name that tokens make.
    fn spelled(&self, tokens: &[Token]) -> Option<Included> {
        let text = |token: &Token| self.names.text(token.name);
        match tokens {
            [one] if one.kind == Kind::Literal => {
                let name = text(one).strip_prefix('"')?.strip_suffix('"')?;
                Some(Included::Quoted(name.to_owned()))
            }
            [open, inner @ .., close] if open.name == word::LESS && close.name == word::GREATER => {
                let mut name = String::new();
                for token in inner {
                    if token.spaced && !name.is_empty() {
                        name.push(' ');
                    }
                    name.push_str(text(token));
                }
                Some(Included::Searched(name))
            }
            _ => None,
        }
    }

    /// The file that a name means.
    fn found(&self, what: &Included, next: bool) -> Option<Found> {
        let (name, quoted) = match what {
            Included::Quoted(name) => (name, true),
            Included::Searched(name) => (name, false),
            Included::Tokens(_) => return None,
        };
        let open = self.files.last()?;
        if quoted && !next {
            let path = match open.path.rsplit_once('/') {
                Some((folder, _)) => format!("{folder}/{name}"),
                None => name.clone(),
            };
            if let Some((known, file)) = self.sources.read(&path) {
                return Some(Found {
                    path,
                    folder: None,
                    known,
                    file,
                });
            }
        }
        let quoted_folders = &self.invocation.quoted_folders;
        let first = match (next, open.folder) {
            (true, Some(folder)) => folder + 1,
            _ if quoted => 0,
            _ => quoted_folders.len(),
        };
        let folders = quoted_folders.iter().chain(&self.invocation.folders);
        folders
            .enumerate()
            .skip(first)
            .find_map(|(number, folder)| {
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                let (known, file) = self.sources.read(&path)?;
                Some(Found {
                    path,
                    folder: Some(number),
                    known,
                    file,
                })
            })
    }
}

/// Whether a name stands for something though nothing defines it.
fn is_builtin(name: Name) -> bool {
    matches!(
        name,
        word::LINE
            | word::FILE
            | word::COUNTER
            | word::LEVEL
            | word::BASE_FILE
            | word::TIMESTAMP
            | word::DATE
            | word::TIME
            | word::PRAGMA
            | word::HAS_ATTRIBUTE
            | word::HAS_INCLUDE
            | word::HAS_INCLUDE_NEXT
            | word::DEFINED
    )
}

#[cfg(test)]
mod tests;
