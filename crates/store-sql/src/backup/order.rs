//! The order in which tables are filled.

use super::Table;

/// Tables after those that they refer to, else in the order of their names. `references` are pairs
/// of a table and one that it refers to.
pub fn in_order(mut tables: Vec<Table>, references: &[(String, String)]) -> Vec<Table> {
    tables.sort_by(|left, right| left.name.cmp(&right.name));
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let waits = |table: &Table| {
            references.iter().any(|(from, to)| {
                *from == table.name && from != to && tables.iter().any(|left| left.name == *to)
            })
        };
        // Tables that refer to each other in a circle are there in no order; the database says so.
        let place = tables.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(tables.remove(place));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_comes_first() {
        let table = |name: &str| Table {
            name: name.to_owned(),
            columns: Vec::new(),
        };
        let refers = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let references = [
            refers("event", "machine"),
            refers("account", "token"),
            refers("machine", "token"),
            refers("token", "token"),
        ];
        let tables = ["account", "event", "machine", "token"].map(table);
        let ordered = in_order(tables.into(), &references);
        let names: Vec<_> = ordered.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["token", "account", "machine", "event"]);
    }
}
