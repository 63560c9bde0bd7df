use super::*;
use crate::lexer::lex;

const UNIT: &str = "struct device; struct ops { int (*open)(struct device *dev); int mode, kind; };\n\
    struct entry { struct device *dev; struct { short low, high; }; union { int a; long b; }; };\n\
    enum state { OFF, ON = 2, STATES };\n\
    int get(struct entry *entry) { return entry->low; }\n";

/// What the only edit of a type touches: new names, then others.
fn touched(from: &str, to: &str) -> Result<(Vec<String>, Vec<String>), Untold> {
    let names = Names::default();
    let patched = UNIT.replacen(from, to, 1);
    let found = redefined(&lex(UNIT, &names), &lex(&patched, &names), &names);
    let [only] = found.as_slice() else {
        panic!("{found:?}")
    };
    only.touched(&names)
        .map(|touched| (touched.new, touched.other))
}

fn names(new: &[&str], other: &[&str]) -> Result<(Vec<String>, Vec<String>), Untold> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Ok((owned(new), owned(other)))
}

#[test]
fn what_an_edit_of_a_type_touches_is_told_by_name() {
    let dev = "struct device *dev; struct {";
    assert_eq!(
        touched(
            dev,
            "union { struct device *dev; struct device *dev_rcu; }; struct {"
        ),
        names(&["dev_rcu"], &[])
    );
    assert_eq!(
        touched("short low, high;", "short low; short high;"),
        names(&[], &["low", "high"])
    );
    assert_eq!(
        touched("long b;", "unsigned long b, *c[2], d:3;"),
        names(&["c", "d"], &["b"])
    );
    assert_eq!(
        touched("(struct device *dev)", "(struct device *dev, int x)"),
        names(&[], &["open"])
    );
    assert_eq!(
        touched("long b;", "long b; void *(*const *more[2])(int);"),
        names(&["more"], &[])
    );
    assert_eq!(touched("STATES", "NEXT, STATES"), names(&["NEXT"], &[]));
    assert_eq!(touched("ON = 2", "ON = 3"), names(&[], &["ON"]));
}

#[test]
fn what_a_text_does_not_tell_is_no_edit_of_names() {
    let dev = "struct device *dev; struct {";
    for (from, to, why) in [
        ("long b;", "", Untold::Gone),
        ("int mode, kind;", "int mode;", Untold::Order),
        ("int mode, kind;", "int mode, sort;", Untold::Order),
        (
            "struct entry {",
            "struct __attribute__((packed)) entry {",
            Untold::Attributes,
        ),
        (
            "union { int a; long b; };",
            "union { long b; int a; };",
            Untold::Order,
        ),
        (
            dev,
            "union { struct device *dev_rcu; struct device *dev; }; struct {",
            Untold::Order,
        ),
        (
            dev,
            "union { struct device *dev; struct { int x; } y; }; struct {",
            Untold::Member,
        ),
        (
            "short low, high;",
            "short low, high __attribute__((aligned(8)));",
            Untold::Member,
        ),
        (
            "short low, high;",
            "volatile short low, high;",
            Untold::Member,
        ),
        ("short low, high;", "short high, low;", Untold::Order),
        ("OFF, ON = 2", "ON = 2", Untold::Gone),
    ] {
        assert_eq!(touched(from, to), Err(why), "{to}");
    }
}

#[test]
fn only_types_that_are_defined_once_in_both_are_compared() {
    let names = Names::default();
    let tags = |before: &str, after: &str| {
        let found = redefined(&lex(before, &names), &lex(after, &names), &names);
        found.into_iter().map(|one| one.tag).collect::<Vec<_>>()
    };
    assert_eq!(
        tags("struct s { int a; };", "struct s { int a, b; };"),
        ["struct s"]
    );
    assert_eq!(
        tags("struct s { int a; };", "union s { int a, b; };"),
        Vec::<String>::new()
    );
    assert_eq!(
        tags("struct s;", "struct s { int a; };"),
        Vec::<String>::new()
    );
    for more in [" x;", " __attribute__((packed)) x;"] {
        let with = |body: &str| format!("struct s {{ {body} }}{more}");
        assert_eq!(tags(&with("int a;"), &with("int b;")), Vec::<String>::new());
    }
}

/// How an edit of a unit shows.
#[derive(Debug, PartialEq, Eq)]
enum Shows {
    /// Not at all; so often the edited type is named.
    Not(usize),
    ByName,
    ByText,
}

/// How it shows if the edit of a type is harmless.
fn shows(before: &str, after: &str) -> Shows {
    let names = Names::default();
    let (before, after) = (lex(before, &names), lex(after, &names));
    let mut edit = Edit::default();
    edit.learn(&before, &after, &names);
    for one in redefined(&before, &after, &names) {
        edit.add(one.harmless(&one.touched(&names).unwrap().new, &names));
    }
    let restored = edit.restored(&after, &names);
    if restored.text != crate::effective(&before, &names) {
        return Shows::ByText;
    }
    match restored.is_touched {
        true => Shows::ByName,
        false => Shows::Not(restored.mentions),
    }
}

/// The same with a further function in both texts.
fn with(from: &str, to: &str, function: &str) -> Shows {
    let unit = format!("{UNIT}{function}\n");
    shows(&unit, &unit.replacen(from, to, 1))
}

#[test]
fn who_names_nothing_that_is_touched_does_not_differ() {
    let from = "struct device *dev; struct {";
    let to = "union { struct device *dev; struct device *dev_rcu; }; struct {";
    assert_eq!(with(from, to, ""), Shows::Not(4));
    assert_eq!(
        with(from, to, "struct entry e = { (void *)1, { 2 } };"),
        Shows::Not(5)
    );
    let unused = "static void *rcu(struct entry *e) { return e->dev_rcu; }";
    assert_eq!(with(from, to, unused), Shows::Not(4));
    let used = format!("{unused} void *use(void *e) {{ return rcu(e); }}");
    assert_eq!(with(from, to, &used), Shows::ByName);
    assert_eq!(
        with(from, to, "struct other { int dev_rcu; } other;"),
        Shows::ByName,
        "a name may be another's, but that is not known"
    );
    assert_eq!(with("", "", ""), Shows::Not(0));
}

#[test]
fn who_makes_an_object_with_a_member_of_another_type_is_touched() {
    let ops = "struct table { int (*get)(int); };";
    let with = |rest: &str| {
        let unit =
            format!("{ops} extern struct table *ops; int user(void) {{ return !ops; }} {rest}");
        shows(&unit, &unit.replace("(int)", "(int, int)"))
    };
    assert_eq!(with(""), Shows::Not(2));
    assert_eq!(with("int f(struct table *o) { return !o; }"), Shows::Not(3));
    for maker in [
        "int g(int a) { return a; } struct table own = { g };",
        "struct own { struct table ops; }; int g(int a) { return a; } struct own own = { { g } };",
        "typedef struct table ops_t; int g(int a) { return a; } ops_t own = { g };",
    ] {
        assert_eq!(with(maker), Shows::ByName, "{maker}");
    }
}

#[test]
fn a_new_function_is_used_by_new_text_only() {
    let before = "struct sock { int a; }; int f(struct sock *s, int dev) { return s->a + dev; }\n";
    let with = |inserted: &str| {
        let unit = before.replace("int a;", "union { int a; int b; };");
        shows(before, &format!("{inserted}\n{unit}"))
    };
    let new = "static inline int dev(int x) { return x; }";
    assert_eq!(with(new), Shows::Not(2));
    let user = format!("{new} static inline int user(void) {{ return dev(1); }}");
    assert_eq!(with(&user), Shows::Not(2));
    let used = format!("{new} int user(void) {{ return dev(1); }}");
    assert_eq!(with(&used), Shows::ByText);
}

#[test]
fn what_an_edit_does_in_a_unit_that_it_was_not_learned_from_shows() {
    let names = Names::default();
    let tokens = |text: &str| lex(text, &names);
    let known = [
        "int f(void);",
        "static inline int dev(int x) { return x; } int f(void);",
    ];
    let mut edit = Edit::default();
    edit.learn(&tokens(known[0]), &tokens(known[1]), &names);
    let shows = |before: &str, after: &str| {
        edit.restored(&tokens(after), &names).text != crate::effective(&tokens(before), &names)
    };
    let [function, calls] = [
        "static inline int dev(int x) { return x; }",
        "int g(void) { return dev(1); }",
    ];
    assert!(shows(
        "int g(void) { return 1; }",
        &format!("{function} {calls}")
    ));
    let own = format!("static int dev(int x) {{ return 2; }} {calls}");
    assert!(shows(&own, &own), "one of its own is not told apart");
}

#[test]
fn another_difference_counts() {
    let from = "{ return entry->low; }";
    let other = with(from, "{ return entry->high; }", "");
    assert_eq!(other, Shows::ByText);
}
