use std::process::Command;

use tempfile::TempDir;

use super::*;

fn compiled(declaration: &str) -> Layouts {
    let source = format!("{declaration}\nint use(struct s *s) {{ return s->last; }}\n");
    compiled_with(&source, &[])
}

fn compiled_with(source: &str, flags: &[&str]) -> Layouts {
    compiled_in(&tempfile::tempdir().unwrap(), source, flags)
}

fn compiled_in(folder: &TempDir, source: &str, flags: &[&str]) -> Layouts {
    std::fs::write(folder.path().join("x.c"), source).unwrap();
    let gcc = Command::new("gcc")
        .current_dir(folder)
        .args(["-c", "-g", "-O2", "-o", "x.o", "x.c"])
        .args(flags)
        .status();
    assert!(gcc.unwrap().success());
    Layouts::of(&std::fs::read(folder.path().join("x.o")).unwrap()).unwrap()
}

#[test]
fn an_unnamed_type_is_told_without_what_it_holds() {
    let of = |member: &str| format!("struct s {{ {member}; int last; }};");
    assert_eq!(
        changes(
            &of("enum { OFF, ON } state : 8"),
            &of("unsigned char state")
        ),
        ["struct s: `state` becomes `unsigned char` from `enum of 4 bytes of 8 bits`"]
    );
    let told = changes(
        &of("enum { OFF, ON } state"),
        &of("enum { OFF, ON = 5 } state"),
    );
    assert!(told[0].contains("\"ON\", 5"), "{told:?}");
}

#[test]
fn a_pointer_that_is_called_anew_counts_where_modules_may_have_it() {
    let told = |header: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(header);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        compiled_in(
            &folder,
            &format!("#include \"{header}\"\nstruct ops ops;\n"),
            &["-I."],
        )
    };
    let how = |header: &str, before: &str, after: &str| {
        let changed = told(header, before).pointers_called_anew(&told(header, after));
        let told = changed
            .into_iter()
            .map(|one| one.refusal("x.c").to_string());
        told.collect::<Vec<_>>().concat()
    };
    let ops = |get: &str| format!("struct ops {{ int (*{get}; int other; }};\n");
    let named = |get: &str| format!("typedef int {get};\nstruct ops {{ get_t *const get; }};\n");
    let (before, after) = (ops("get)(int)"), ops("get)(int, long)"));
    let wanted = "`get` of `struct ops`, as `x.c` sees it, takes 2 arguments where it took 1";
    for header in ["include/net/x.h", "arch/x86/include/asm/x.h"] {
        let told = how(header, &before, &after);
        assert!(told.starts_with(wanted), "{told}");
        let told = how(header, &named("get_t(int)"), &named("get_t(int, long)"));
        assert!(told.starts_with(wanted), "{told}");
        assert_eq!(how(header, &before, &ops("get)(unsigned)")), "");
        assert_eq!(
            how(header, &ops("*get)(int)"), &ops("*get)(int, long)")),
            ""
        );
    }
    for header in ["drivers/x/include/x.h", "net/x.h"] {
        assert_eq!(how(header, &before, &after), "");
    }
    // Where a module's function is called by code that now looks at what it never gave.
    let nothing = ops("get)(int)").replace("int (*get", "void (*get");
    let told = how("include/x.h", &nothing, &before);
    assert!(told.contains("gives back a number of 4 bytes where it gave nothing"));
    // However it lies in the structure.
    for (within, place) in [
        (
            "struct ops { union { int (*get)(int); long n; }; };\n",
            "get",
        ),
        (
            "struct ops { struct { int (*get)(int); } at[2]; };\n",
            "at.get",
        ),
        ("struct ops { int (*get[4])(int); };\n", "get"),
        (
            "typedef struct { struct { int (*get)(int); }; } t;\nstruct ops { t of; };\n",
            "of.get",
        ),
    ] {
        let told = how(
            "include/x.h",
            within,
            &within.replace("(int)", "(int, long)"),
        );
        let wanted = format!("`{place}` of `struct ops`, as `x.c` sees it, takes 2 arguments");
        assert!(told.starts_with(&wanted), "{told}");
        assert_eq!(
            how(
                "include/x.h",
                within,
                &within.replace("(int)", "(unsigned)")
            ),
            ""
        );
    }
}

#[test]
fn types_that_a_unit_has_no_use_for_are_told_where_that_is_wanted() {
    let unused = |member: &str| format!("struct s {{ int a; {member} }};\nint x;\n");
    let (before, after) = (unused(""), unused("int b;"));
    let changed = |flags: &[&str]| {
        let (before, after) = (compiled_with(&before, flags), compiled_with(&after, flags));
        before.changed(&after).len()
    };
    assert_eq!(changed(&[]), 0);
    assert_eq!(changed(&[crate::unit::TYPES_FLAGS]), 1);
}

fn changes(before: &str, after: &str) -> Vec<String> {
    let changed = compiled(before).changed(&compiled(after));
    changed
        .iter()
        .map(|one| format!("{}: {}", one.name, one.how))
        .collect()
}

const BEFORE: &str = "struct s { int a; struct { short b; }; void *p; int last; };";

#[test]
fn a_new_field_and_a_moved_one_are_told() {
    assert_eq!(
        changes(BEFORE, &BEFORE.replace("void *p;", "void *p; long more;")),
        ["struct s: `more` is new, its size goes from 24 to 32 bytes"]
    );
    let in_a_hole = changes(BEFORE, &BEFORE.replace("short b;", "short b, c;"));
    assert_eq!(in_a_hole, ["struct s: `c` is new"]);
    let wider = changes(BEFORE, &BEFORE.replace("int last", "unsigned char last"));
    assert_eq!(
        wider,
        ["struct s: `last` becomes `unsigned char` from `int`"]
    );
    assert_eq!(changes(BEFORE, &BEFORE.replace("int a;", "")).len(), 1);
}

#[test]
fn sizes_that_fill_a_byte_are_told() {
    let with = |last: &str| BEFORE.replace("void *p;", &format!("void *p[20]; {last}"));
    assert_eq!(
        changes(&with(""), &with("long more;")),
        ["struct s: `more` is new, its size goes from 176 to 184 bytes"]
    );
}

#[test]
fn a_second_name_of_a_member_is_no_change() {
    let with = |union: &str| BEFORE.replace("void *p;", union);
    let typed = BEFORE.replace("void *p;", "struct t *p;");
    let second = |union: &str| changes(&typed, &with(union));
    assert!(second("union { struct t *p; struct t *q; };").is_empty());
    assert!(second("union { struct t *p; struct { struct t *const q; }; };").is_empty());
    for other in [
        "union { struct t *p; struct u *q; };",
        "union { struct t *p; long q; };",
        "union { struct t *p; struct { int x; int q; }; };",
        "union { struct t *p; struct t *q __attribute__((aligned(16))); };",
        "struct t *q;",
    ] {
        let told = second(other);
        assert!(!told.is_empty(), "{other}");
    }
    assert_eq!(
        changes(&typed, &with("union { struct t *p; void (*q)(int); };")),
        ["struct s: `q` is new"]
    );
    let function = |kind: &str| with(&format!("union {{ int (*p)({kind}); int (*q)(int); }};"));
    let before = with("int (*p)(int);");
    assert!(changes(&before, &function("int")).is_empty());
    assert_eq!(
        changes(&before, &function("long")),
        ["struct s: `q` is new"]
    );
}

#[test]
fn a_bit_field_of_another_width_and_another_alignment_are_told() {
    let bits = |width: u32| BEFORE.replace("int a;", &format!("int a:{width}, :0;"));
    assert_eq!(
        changes(&bits(3), &bits(4)),
        ["struct s: `a` becomes `int of 4 bits` from `int of 3 bits`"]
    );
    let aligned = BEFORE.replace("};", "} __attribute__((aligned(8)));");
    let aligned = aligned.replacen("} __attribute__((aligned(8)));", "};", 1);
    let told = changes(BEFORE, &aligned);
    assert_eq!(told, ["struct s: its alignment changes"]);
}

#[test]
fn members_that_only_one_has_are_named() {
    let other = |after: &str, name: &str| compiled(BEFORE).other_members(&compiled(after), name);
    let second = BEFORE.replace("void *p;", "union { void *p, *q; };");
    assert_eq!(other(&second, "struct s"), Some(vec!["q".to_owned()]));
    assert_eq!(other(BEFORE, "struct s"), Some(Vec::new()));
    assert_eq!(other(BEFORE, "struct t"), None);
    let counting = |names: &str| compiled(&format!("enum e {{ {names} }}; {BEFORE} enum e e;"));
    assert_eq!(
        counting("A, B, MAX").other_members(&counting("A, B, C, MAX"), "enum e"),
        Some(vec!["C".to_owned(), "MAX".to_owned()])
    );
}

#[test]
fn what_takes_the_same_place_is_no_change() {
    assert!(changes(BEFORE, BEFORE).is_empty());
    assert!(changes(BEFORE, &BEFORE.replace("void *p", "const char *p")).is_empty());
    assert!(changes(BEFORE, &format!("struct t {{ int x; }}; {BEFORE}")).is_empty());
}

#[test]
fn an_enumerator_with_another_value_is_told_and_a_count_may_grow() {
    let with = |names: &str| format!("enum e {{ {names} }}; struct s {{ enum e e; int last; }};");
    let before = with("A, B, C, MAX");
    assert_eq!(
        changes(&before, &with("A, NEW, B, C, MAX")),
        ["enum e: `B` becomes 2 from 1"]
    );
    assert!(changes(&before, &with("A, B, C, NEW, MAX")).is_empty());
}

#[test]
fn types_of_one_name_are_told_apart() {
    let two = |second: &str| {
        let first = "int f(int x) { struct t { char c; } t = { x }; return t.c; }";
        format!(
            "{first} int g(int x) {{ struct t {{ {second} }} t = {{ x }}; return t.a; }} {BEFORE}"
        )
    };
    let changed = changes(&two("int a;"), &two("int a; long b;"));
    assert_eq!(
        changed,
        ["struct t: `b` is new, its size goes from 4 to 16 bytes"]
    );
}

#[test]
fn a_function_that_is_called_in_another_way_is_told() {
    let before = "typedef unsigned long u64; enum e { A }; struct t; \
        int call(struct s *s, u64 n, int k) { return k; } void done(enum e e) {}";
    let with = |from: &str, to: &str| {
        let after = before.replacen(from, to, 1);
        assert_ne!(after, before);
        let unit = |text: &str| compiled(&format!("{BEFORE} {text}"));
        let changed = unit(before).called_anew(&unit(&after));
        let told = changed
            .iter()
            .map(|one| format!("{} {}", one.name, one.how));
        told.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        with("int k)", "int k, int more)"),
        "call takes 4 arguments where it took 3"
    );
    assert_eq!(
        with("struct s *s", "struct t *s"),
        "call takes struct t * as argument 1 where it took struct s *"
    );
    assert_eq!(
        with("u64 n", "int n"),
        "call takes a number of 4 bytes as argument 2 where it took a number of 8 bytes"
    );
    assert_eq!(
        with("int call", "long call"),
        "call gives back a number of 8 bytes where it gave a number of 4 bytes"
    );
    assert_eq!(
        with("int k)", "int k, ...)"),
        "call takes 4 arguments where it took 3"
    );
    for same in ["unsigned", "enum e"] {
        assert_eq!(with("int k", &format!("{same} k")), "");
    }
    let function = |text: &str| {
        let unit = |text: &str| compiled(&format!("{BEFORE} void walk({text}) {{}}"));
        let changed = unit("int (*each)(struct s *, long)").called_anew(&unit(text));
        let told = changed.into_iter().map(|one| one.how);
        told.collect::<Vec<_>>().concat()
    };
    assert_eq!(
        function("int (*each)(struct s *)"),
        "takes a pointer to a function of struct s * that gives back a number of 4 bytes as \
         argument 1 where it took a pointer to a function of struct s *, a number of 8 bytes that \
         gives back a number of 4 bytes"
    );
    assert!(function("void (*each)(struct s *, long)").contains("gives back nothing"));
    assert_eq!(function("int (*visit)(struct s *, unsigned long)"), "");
    assert!(function("void *each").contains("takes a pointer as"));
    assert_eq!(with("u64 n", "const u64 n"), "");
    assert_eq!(
        with("void done(enum e e) {}", "int done(int e) { return e; }"),
        ""
    );
    assert_eq!(with("int call", "static int call"), "");
}

#[test]
fn bytes_that_are_no_object_are_an_error() {
    assert!(Layouts::of(b"no object").is_err());
}
