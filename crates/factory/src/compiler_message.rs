//! What a compiler's complaint means for a fix.

use crate::error::{FactoryError, Refusal, Refusals};

/// Names that a sentence lists.
const NAMES_SHOWN: usize = 8;

/// How gcc says, in the C locale, that a name is not known. The name stands in quotes after the
/// first text, or before the second.
const UNKNOWN_AFTER: [&str; 6] = [
    "implicit declaration of function '",
    "unknown type name '",
    "has no member named '",
    "invalid application of 'sizeof' to incomplete type '",
    "invalid use of undefined type '",
    "fatal error: ",
];
const UNKNOWN_BEFORE: [&str; 3] = [
    "' undeclared",
    "' has an incomplete type",
    "' has initializer but incomplete type",
];

/// What stands before a macro's name where a complaint is about what it stands for. Of several the
/// last is the one that the code itself has.
const EXPANSION: &str = "note: in expansion of macro '";

/// Makes a failed compile of a patched unit a refusal that tells what the fix lacks.
pub(crate) fn does_not_compile(unit: &str, error: FactoryError) -> FactoryError {
    let FactoryError::ProgramFailed { tail, .. } = &error else {
        return error;
    };
    let complaints: Vec<&str> = tail.lines().filter(|line| is_complaint(line)).collect();
    if complaints.is_empty() {
        return error;
    }
    let (unit, missing) = (unit.to_owned(), missing_names(&complaints));
    let refusal = if missing.is_empty() {
        let message = first_complaint(tail);
        Refusal::DoesNotCompile { unit, message }
    } else {
        Refusal::LacksDeclarations { unit, missing }
    };
    FactoryError::Refused(Refusals(vec![refusal]))
}

fn is_complaint(line: &str) -> bool {
    line.contains("error: ")
}

/// The first complaint, at the place that the code itself has if a macro stands there.
fn first_complaint(tail: &str) -> String {
    let mut lines = tail.lines().skip_while(|line| !is_complaint(line));
    let complaint = lines.next().unwrap_or_default();
    let own = lines.take_while(|line| !is_complaint(line) && !line.contains("warning: "));
    let expansion = own.filter_map(|line| line.split_once(EXPANSION)).last();
    match (expansion, complaint.split_once("error: ")) {
        (Some((place, macro_name)), Some((_, what))) => {
            let macro_name = macro_name.trim_end_matches('\'');
            format!("{place}error: {what}, in what `{macro_name}` stands for")
        }
        _ => complaint.to_owned(),
    }
}

fn missing_names(complaints: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in complaints {
        let after = UNKNOWN_AFTER.iter().find_map(|text| line.split_once(text));
        let before = UNKNOWN_BEFORE.iter().find_map(|text| line.split_once(text));
        let name = match (after, before) {
            (Some((_, rest)), _) => rest.split(['\'', ':']).next(),
            (None, Some((rest, _))) => rest.rsplit('\'').next(),
            (None, None) => None,
        };
        if let Some(name) = name.map(str::to_owned)
            && !names.contains(&name)
            && names.len() < NAMES_SHOWN
        {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(tail: &str) -> String {
        let error = FactoryError::ProgramFailed {
            command: "gcc".to_owned(),
            status: "1".to_owned(),
            tail: tail.to_owned(),
        };
        does_not_compile("net/x.c", error).to_string()
    }

    #[test]
    fn unknown_names_are_told() {
        let told = refusal(
            "net/x.c: In function 'f':\n\
             net/x.c:3:5: error: implicit declaration of function 'new_helper' [-Werror]\n\
             net/x.c:4:5: error: 'NEW_FLAG' undeclared (first use in this function)\n\
             net/x.c:5:5: error: 'struct sock' has no member named 'sk_new'; did you mean 'sk_net'?\n\
             net/x.c:6:5: error: implicit declaration of function 'new_helper' [-Werror]\n",
        );
        assert!(
            told.contains("`new_helper`, `NEW_FLAG`, `sk_new`"),
            "{told}"
        );
    }

    #[test]
    fn another_complaint_is_passed_on() {
        let told = refusal("net/x.c:3:5: error: too many arguments to function 'f'\n");
        assert!(
            told.contains("too many arguments to function 'f'"),
            "{told}"
        );
    }

    #[test]
    fn a_complaint_about_a_macro_is_told_where_the_code_has_it() {
        let told = refusal(
            "In file included from <command-line>:\n\
             net/x.c: In function 'f':\n\
             ././include/linux/types.h:35:16: error: 'sizeof' applied to a bit-field\n\
             ././include/linux/types.h:36:23: note: in definition of macro 'assert'\n\
             ./include/asm/once.h:49:9: note: in expansion of macro 'assert_once'\n\
             net/x.c:3:6: note: in expansion of macro 'READ'\n\
             net/y.h:4:6: error: 'sizeof' applied to a bit-field\n\
             net/y.h:9:6: note: in expansion of macro 'WRITE'\n",
        );
        let wanted =
            "net/x.c:3:6: error: 'sizeof' applied to a bit-field, in what `READ` stands for";
        assert!(told.ends_with(wanted), "{told}");
    }

    #[test]
    fn a_failure_without_a_complaint_stays_what_it_is() {
        assert!(refusal("Killed").contains("failed"));
    }
}
