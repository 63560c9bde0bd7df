//! Keeps `__LINE__` of unchanged code.
//!
//! An added line would shift the number of every later line, and each later function that
//! passes `__LINE__` to a warning would count as changed. So after a change, at the next place
//! where a directive may stand, `#line` sets the number back to the original one (C11 6.10.4).

use similar::{DiffTag, TextDiff};

/// The patched text with `#line` directives that give every unchanged line, as soon as
/// possible after a change, the number that it has in the original.
pub fn keep_line_numbers(original: &str, patched: &str) -> String {
    let lines: Vec<&str> = patched.split_inclusive('\n').collect();
    let wanted = original_numbers(original, patched, lines.len());
    let mut out = String::with_capacity(patched.len() + 64);
    // What the compiler takes the next line's number to be, counted from 1.
    let mut presumed = 1;
    for (index, line) in lines.iter().enumerate() {
        if let Some(number) = wanted[index]
            && number != presumed
            && directive_may_follow(&lines[..index], line)
        {
            out.push_str(&format!("#line {number}\n"));
            presumed = number;
        }
        out.push_str(line);
        presumed += 1;
    }
    out
}

/// For each patched line its number in the original, counted from 1; none for an added line.
fn original_numbers(original: &str, patched: &str, count: usize) -> Vec<Option<usize>> {
    let mut numbers = vec![None; count];
    let diff = TextDiff::from_lines(original, patched);
    for operation in diff
        .ops()
        .iter()
        .filter(|operation| operation.tag() == DiffTag::Equal)
    {
        let (old, new) = (operation.old_range(), operation.new_range());
        for (old, new) in old.zip(new) {
            if let Some(number) = numbers.get_mut(new) {
                *number = Some(old + 1);
            }
        }
    }
    numbers
}

/// Whether a directive may stand between `before` and `next`: after a line that closes a
/// function or an initialiser (`}` in column 0), or after a blank line before text in column 0.
/// Neither occurs inside a macro's definition or arguments in the kernel's style; inside a
/// comment the directive has no effect, which costs precision and nothing else.
fn directive_may_follow(before: &[&str], next: &str) -> bool {
    let Some(previous) = before.last() else {
        return false;
    };
    let continued = |line: &str| line.trim_end_matches(['\n', '\r']).ends_with('\\');
    if continued(previous) {
        return false;
    }
    let closes = previous.starts_with('}');
    let blank = previous.trim().is_empty();
    let outermost = next.starts_with(|c: char| c.is_ascii_alphabetic() || "_#/".contains(c));
    closes || (blank && outermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_after_a_changed_function_keeps_its_numbers() {
        let original = "int a(void)\n{\n\treturn 1;\n}\n\nint b(void)\n{\n\treturn __LINE__;\n}\n";
        let patched = original.replace("\treturn 1;\n", "\tx();\n\ty();\n\treturn 1;\n");
        assert_eq!(
            keep_line_numbers(original, &patched),
            "int a(void)\n{\n\tx();\n\ty();\n\treturn 1;\n}\n#line 5\n\nint b(void)\n{\n\treturn __LINE__;\n}\n"
        );
    }

    #[test]
    fn removed_lines_and_new_declarations_are_made_up_for() {
        let original =
            "#include <a.h>\n\nint a;\n\nint f(void)\n{\n\tx();\n\treturn 1;\n}\nint g;\n";
        let patched =
            "#include <a.h>\n#include <b.h>\n\nint a;\n\nint f(void)\n{\n\treturn 1;\n}\nint g;\n";
        assert_eq!(
            keep_line_numbers(original, patched),
            "#include <a.h>\n#include <b.h>\n\n#line 3\nint a;\n\nint f(void)\n{\n\treturn 1;\n}\n#line 10\nint g;\n"
        );
    }

    #[test]
    fn no_directive_goes_into_a_macro() {
        let original = "int a;\n#define M \\\n}\\\nx\n";
        let patched = "int a;\nint b;\n#define M \\\n}\\\nx\n";
        assert_eq!(keep_line_numbers(original, patched), patched);
    }

    #[test]
    fn an_unchanged_text_stays_as_it_is() {
        let text = "int a(void)\n{\n}\n\nint b;\n";
        assert_eq!(keep_line_numbers(text, text), text);
    }
}
