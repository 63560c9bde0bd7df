//! Texts of others, made fit for a terminal and a log.

/// Without line breaks and other control characters, which could steer a terminal, and with
/// `at_most` characters.
pub fn one_line(text: &str, at_most: usize) -> String {
    let plain = text.chars().filter(|character| !character.is_control());
    plain.take(at_most).collect()
}

/// As [`one_line`], with its line breaks and its length.
pub fn lines(text: &str) -> String {
    let plain = |character: &char| *character == '\n' || !character.is_control();
    text.chars().filter(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_goes() {
        assert_eq!(one_line("fr\u{1b}[2J\u{9b}ee\r\n", 100), "fr[2Jee");
        assert_eq!(one_line("größer", 3), "grö");
        assert_eq!(lines("one\n\u{7}two\r\n"), "one\ntwo\n");
    }
}
