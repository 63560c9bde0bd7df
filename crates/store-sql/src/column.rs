//! From columns to domain types.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use suture_store::{BoxError, InconsistentRow, StoreError};

/// Names the table and the column of a value that can't be read.
pub fn parse<T>(table: &'static str, column: &'static str, text: &str) -> Result<T, InconsistentRow>
where
    T: FromStr<Err: Into<BoxError>>,
{
    text.parse()
        .map_err(|error: T::Err| InconsistentRow::new(table, column, error))
}

pub fn parse_option<T>(
    table: &'static str,
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, InconsistentRow>
where
    T: FromStr<Err: Into<BoxError>>,
{
    text.map(|text| parse(table, column, text)).transpose()
}

pub fn time(
    table: &'static str,
    column: &'static str,
    milliseconds: i64,
) -> Result<Timestamp, InconsistentRow> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|error| InconsistentRow::new(table, column, error))
}

/// A value that is kept as JSON.
pub fn json<T: DeserializeOwned>(
    table: &'static str,
    column: &'static str,
    text: &str,
) -> Result<T, InconsistentRow> {
    serde_json::from_str(text).map_err(|error| InconsistentRow::new(table, column, error))
}

/// A value to be kept as JSON.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Database {
        doing: "write a value as JSON",
        source: source.into(),
    })
}

/// A JSON list of byte strings, each in hexadecimal digits. A batch of check-ins has hundreds, so
/// all are written into one text.
pub fn hex_list<'a>(strings: impl Iterator<Item = &'a [u8; 32]>) -> String {
    let mut list = String::from("[");
    for string in strings {
        let mut digits = [0; 64];
        // It has two digits for each byte.
        let _ = hex::encode_to_slice(string, &mut digits);
        let comma = if list.len() > 1 { "," } else { "" };
        list.extend([
            comma,
            "\"",
            str::from_utf8(&digits).unwrap_or_default(),
            "\"",
        ]);
    }
    list.push(']');
    list
}

/// A number that is never negative.
pub fn count<T: TryFrom<i64>>(
    table: &'static str,
    column: &'static str,
    number: i64,
) -> Result<T, InconsistentRow> {
    T::try_from(number).map_err(|_| InconsistentRow::new(table, column, "out of range"))
}

/// Puts what the database was asked to do beside its error.
pub fn database(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database {
        doing,
        source: source.into(),
    }
}

/// The code by which the database itself names an error; none if the error is not the database's.
pub fn error_code(error: &StoreError) -> Option<String> {
    let StoreError::Database { source, .. } = error else {
        return None;
    };
    let error = source.downcast_ref::<sqlx::Error>()?.as_database_error()?;
    Some(error.code()?.into_owned())
}

#[cfg(test)]
mod tests {
    use suture_store::Plan;

    use super::*;

    #[test]
    fn an_unreadable_value_is_named_by_its_place() {
        let error = parse::<Plan>("account", "plan", "gold").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the database holds an unreadable value in column `plan` of table `account`"
        );
    }

    #[test]
    fn a_list_of_byte_strings_is_json() {
        let strings = [[0x0a; 32], [0xff; 32]];
        for several in [&strings[..0], &strings[..1], &strings] {
            let list: Vec<String> = serde_json::from_str(&hex_list(several.iter())).unwrap();
            let digits: Vec<_> = several.iter().map(hex::encode).collect();
            assert_eq!(list, digits);
        }
    }
}
