//! The value of an `#if` (C11, 6.10.1): of tokens whose macros were expanded.

use crate::lexer::{Kind, Token};
use crate::names::{Names, word};
use crate::unit::Unsupported;

/// A number with its signedness, 64 bits wide as the compiler's widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    bits: u64,
    unsigned: bool,
}

impl Value {
    fn signed(number: i64) -> Self {
        Self {
            bits: number.cast_unsigned(),
            unsigned: false,
        }
    }

    fn is_true(self) -> bool {
        self.bits != 0
    }
}

/// Whether it is other than zero.
pub(crate) fn is_true(tokens: &[Token], names: &Names) -> Result<bool, Unsupported> {
    let mut reader = Reader { tokens, names };
    let value = reader.conditional()?;
    match reader.tokens {
        [] => Ok(value.is_true()),
        _ => Err(Unsupported::Expression),
    }
}

struct Reader<'t> {
    tokens: &'t [Token],
    names: &'t Names,
}

impl<'t> Reader<'t> {
    fn sign(&self) -> &'t str {
        let names = self.names;
        self.tokens
            .first()
            .map_or("", |token| names.text(token.name))
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_next = self.sign() == sign;
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    fn conditional(&mut self) -> Result<Value, Unsupported> {
        let condition = self.binary(0)?;
        if !self.take("?") {
            return Ok(condition);
        }
        let first = self.conditional()?;
        if !self.take(":") {
            return Err(Unsupported::Expression);
        }
        let second = self.conditional()?;
        let chosen = if condition.is_true() { first } else { second };
        let unsigned = first.unsigned || second.unsigned;
        Ok(Value { unsigned, ..chosen })
    }

    /// Operators that bind at least so strongly.
    fn binary(&mut self, least: u8) -> Result<Value, Unsupported> {
        let mut left = self.unary()?;
        loop {
            let sign = self.sign();
            let Some(strength) = strength(sign).filter(|strength| *strength >= least) else {
                return Ok(left);
            };
            self.tokens = &self.tokens[1..];
            let right = self.binary(strength + 1)?;
            left = operate(sign, left, right)?;
        }
    }

    fn unary(&mut self) -> Result<Value, Unsupported> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(Unsupported::Expression);
        };
        self.tokens = rest;
        let text = self.names.text(token.name);
        Ok(match (token.kind, text) {
            (Kind::Punctuator, "(") => {
                let value = self.conditional()?;
                if !self.take(")") {
                    return Err(Unsupported::Expression);
                }
                value
            }
            (Kind::Punctuator, "!") => Value::signed(i64::from(!self.unary()?.is_true())),
            (Kind::Punctuator, "-") => {
                let value = self.unary()?;
                Value {
                    bits: value.bits.wrapping_neg(),
                    ..value
                }
            }
            (Kind::Punctuator, "+") => self.unary()?,
            (Kind::Punctuator, "~") => {
                let value = self.unary()?;
                Value {
                    bits: !value.bits,
                    ..value
                }
            }
            (Kind::Number, text) => number(text).ok_or(Unsupported::Expression)?,
            (Kind::Literal, text) => character(text).ok_or(Unsupported::Expression)?,
            (Kind::Identifier, _) if token.name != word::DEFINED => Value::signed(0),
            _ => return Err(Unsupported::Expression),
        })
    }
}

fn strength(sign: &str) -> Option<u8> {
    Some(match sign {
        "||" => 0,
        "&&" => 1,
        "|" => 2,
        "^" => 3,
        "&" => 4,
        "==" | "!=" => 5,
        "<" | ">" | "<=" | ">=" => 6,
        "<<" | ">>" => 7,
        "+" | "-" => 8,
        "*" | "/" | "%" => 9,
        _ => return None,
    })
}

fn operate(sign: &str, left: Value, right: Value) -> Result<Value, Unsupported> {
    let unsigned = left.unsigned || right.unsigned;
    let (a, b) = (left.bits, right.bits);
    let (c, d) = (a.cast_signed(), b.cast_signed());
    let truth = |truth: bool| Ok(Value::signed(i64::from(truth)));
    let number = |bits: u64| Ok(Value { bits, unsigned });
    let divided = |of_unsigned: fn(u64, u64) -> Option<u64>,
                   of_signed: fn(i64, i64) -> Option<i64>| {
        let result = match unsigned {
            true => of_unsigned(a, b),
            false => of_signed(c, d).map(i64::cast_unsigned),
        };
        // By zero, maybe in a part that does not count.
        number(result.ok_or(Unsupported::Expression)?)
    };
    match sign {
        "||" => truth(left.is_true() || right.is_true()),
        "&&" => truth(left.is_true() && right.is_true()),
        "|" => number(a | b),
        "^" => number(a ^ b),
        "&" => number(a & b),
        "==" => truth(a == b),
        "!=" => truth(a != b),
        "<" => truth(if unsigned { a < b } else { c < d }),
        ">" => truth(if unsigned { a > b } else { c > d }),
        "<=" => truth(if unsigned { a <= b } else { c <= d }),
        ">=" => truth(if unsigned { a >= b } else { c >= d }),
        "+" => number(a.wrapping_add(b)),
        "-" => number(a.wrapping_sub(b)),
        "*" => number(a.wrapping_mul(b)),
        "/" => divided(u64::checked_div, i64::checked_div),
        "%" => divided(u64::checked_rem, i64::checked_rem),
        "<<" | ">>" if b < 64 => {
            let bits = match (sign, left.unsigned) {
                ("<<", _) => a << b,
                (_, true) => a >> b,
                (_, false) => (c >> b).cast_unsigned(),
            };
            Ok(Value { bits, ..left })
        }
        _ => Err(Unsupported::Expression),
    }
}

fn number(text: &str) -> Option<Value> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['u', 'l']);
    let suffix = &lower[digits.len()..];
    if !matches!(suffix, "" | "u" | "l" | "ul" | "lu" | "ll" | "ull" | "llu") {
        return None;
    }
    let (digits, base) = match digits {
        _ if digits.starts_with("0x") => (&digits[2..], 16),
        _ if digits.starts_with("0b") => (&digits[2..], 2),
        _ if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let bits = u64::from_str_radix(digits, base).ok()?;
    let unsigned = suffix.contains('u') || i64::try_from(bits).is_err();
    Some(Value { bits, unsigned })
}

/// A plain character.
fn character(text: &str) -> Option<Value> {
    match text.as_bytes() {
        [b'\'', byte, b'\''] if byte.is_ascii() && *byte != b'\\' => {
            Some(Value::signed(i64::from(*byte)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    fn value(text: &str) -> Option<bool> {
        let names = Names::default();
        is_true(&lex(text, &names), &names).ok()
    }

    #[test]
    fn operators_bind_as_in_c() {
        for text in [
            "1 + 2 * 3 == 7",
            "-1 < 0",
            "!(-1 < 0u)",
            "(2 > 1) && !UNKNOWN",
            "1 ? 2 : 0",
            "0 ? 0 : 1 ? 3 : 0",
            "0x10UL == 16 && 010 == 8 && 0b11 == 3",
            "(1 << 62 >> 60) == 4",
            "-8 >> 1 == -4",
            "'A' == 65",
            "10 - 2 - 3 == 5",
            "~0 == -1",
            "0xffffffffffffffff > 0",
        ] {
            assert_eq!(value(text), Some(true), "{text}");
        }
        assert_eq!(value("1 - 1"), Some(false));
        for text in ["", "1 +", "(1", "1 1", "1 / 0", "1.5", "\"a\""] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
