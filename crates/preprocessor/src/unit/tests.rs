//! Against the compiler on this machine, and by themselves.

use super::*;
use crate::lexer::{lex, same};

/// Files in memory.
struct Folder<'a>(&'a Names, Vec<(&'a str, &'a str)>);

impl Sources for Folder<'_> {
    fn read(&self, path: &str) -> Option<(Arc<str>, Arc<SourceFile>)> {
        let (known, text) = self.1.iter().find(|(known, _)| *known == path)?;
        Some(((*known).into(), Arc::new(SourceFile::new(text, self.0))))
    }

    fn answer(&self, question: &str) -> Option<bool> {
        Some(question == "__has_attribute(cold)")
    }
}

fn seen_with(text: &str, files: &[(&str, &str)]) -> Result<String, Unsupported> {
    let names = Names::default();
    let mut all = vec![("a/x.c", text)];
    all.extend(files);
    let invocation = Invocation {
        folders: vec!["./include".to_owned(), "include/uapi".to_owned()],
        dropped_prefix: "./".to_owned(),
        source: "a/x.c".to_owned(),
        ..Invocation::default()
    };
    let (tokens, _) = preprocess(&invocation, &Folder(&names, all), &names)?;
    let text = |token: &Token| {
        let text = names.text(token.name);
        text.replace([COUNTED.0, COUNTED.1], "")
    };
    Ok(tokens.iter().map(text).collect::<Vec<_>>().join(" "))
}

fn seen(text: &str) -> String {
    seen_with(text, &[]).unwrap()
}

/// What the compiler on this machine sees, as tokens.
fn by_compiler(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/x.c"), text).unwrap();
    let mut gcc = std::process::Command::new("gcc");
    gcc.args(["-E", "-P", "-nostdinc", "-undef", "a/x.c"]);
    let output = gcc.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn macros_expand_as_the_compilers() {
    for text in [
            // C11, 6.10.3.5, examples 3 and 5.
            "#define x 3\n#define f(a) f(x * (a))\n#undef x\n#define x 2\n#define g f\n\
             #define z z[0]\n#define h g(~\n#define m(a) a(w)\n#define w 0,1\n#define t(a) a\n\
             #define p() int\n#define q(x) x\n#define r(x,y) x ## y\n#define str(x) # x\n\
             f(y+1) + f(f(z)) % t(t(g)(0) + t)(1);\ng(x+(3,4)-w) | h 5) & m\n(f)^m(m);\n\
             p() i[q()] = { q(1), r(2,3), r(4,), r(,5), r(,) };\nchar c[2][6] = { str(hello), str() };",
            "#define t(x,y,z) x ## y ## z\nint j[] = { t(1,2,3), t(,4,5), t(6,,7), t(8,9,), t(10,,), t(,11,), t(,,12), t(,,) };",
            // GNU C: the comma before no arguments.
            "#define e(f, ...) p(f, ##__VA_ARGS__)\n#define n(f, a...) p(f, ## a)\n#define o(a...) p(1, ## a)\n\
             e(1) e(1,) e(1, 2, 3) n(\"x\") n(1, e(2)) o() o(2)",
            "#define str(x...) #x\n#define xstr(x) str(x)\n#define A \"a\\n\" 'b' c\nstr(A  ,\n b) xstr(A) str( \"\\\\\" )",
            // A macro that is not called, at the end of another.
            "#define f(x) <x>\n#define g f\n#define o ( 1 )\ng(2) g o f\n(3) f\n#define later 4\nlater f",
            "#define cat_(a, b) a ## b\n#define cat(a, b) cat_(a, b)\n#define id(p) cat(cat(u_, p), __COUNTER__)\nid(x) id(y) cat(L, 'c') cat(1.5e, +3)",
            // Arguments are counted where the macro has them, not where they are given.
            "#define c __COUNTER__\n#define turn(a, b) b a b\n#define s(a, b, d) #a a ## 1 d b\n#define v(a, ...) __VA_ARGS__ a\n\
             turn(c, c) s(c, c, c) turn(turn(c, c), c) v(c, c, c) turn(x, (c + c))",
            "#define l(x) x __LINE__\nl(1\n, \n) __LINE__ l(\n__LINE__\n)\n#line 100\n__LINE__ l(2) __FILE__\n#line 7 \"y.c\"\n__FILE__ __LINE__\n".replace("l(1\n, \n)", "l(1\n \n)").as_str(),
            "#define in(x) x * in2(x)\n#define in2(x) in(x) + in2(x)\nin(in(1)) in2(2)",
            "#if defined X || (defined(Y) && 0)\n1\n#elif 2 > 1\n2\n#if 0\n don't \" \n#else\n3\n#endif\n#else\n4\n#endif\n#ifndef X\n5\n#endif",
            "#define P(s) _Pragma(#s)\nint a; P(GCC diagnostic ignored \"-Wx\") int b;\n#pragma GCC diagnostic pop\nint c;",
            "#define TWICE(x) x x\nTWICE(\n#ifdef N\n1\n#else\n2\n#endif\n)",
        ] {
            let names = Names::default();
            let own = seen(text);
            let compiler = by_compiler(text);
            assert!(same(&lex(&own, &names), &compiler, &names), "{own}\n---\n{compiler}");
        }
}

#[test]
fn files_are_found_beside_and_in_the_folders() {
    let files = [
        ("a/beside.h", "beside __FILE__ __INCLUDE_LEVEL__"),
        ("./include/n.h", "#include_next <n.h>\nfirst"),
        ("include/uapi/n.h", "#pragma once\nsecond"),
        ("./include/g.h", "#ifndef G\n#define G\nonce\n#endif"),
    ];
    let text = "#include \"beside.h\"\n#define WHERE <n.h>\n#include WHERE\n#include WHERE\n\
                    #include <g.h>\n#include <g.h>\n#if __has_include(<n.h>) && !__has_include(\"z\")\nyes\n#endif";
    assert_eq!(
        seen_with(text, &files).unwrap(),
        "beside \"a/beside.h\" 1 second first first once yes"
    );
    let missing = seen_with("#include <z.h>", &[]).unwrap_err();
    assert_eq!(missing, Unsupported::Missing("z.h".to_owned()));
}

#[test]
fn what_only_the_compiler_knows_it_is_asked() {
    let text = "#if __has_attribute(cold) && !__has_attribute(other) && defined(__has_attribute)\nyes\n#endif";
    assert_eq!(seen(text), "yes");
}

#[test]
fn what_is_not_handled_is_told() {
    for text in [
        "#error no",
        "#pragma push_macro(\"a\")",
        "__TIME__",
        "#if 1 +\n#endif",
        "#define f(x) x\nf(1",
        "#define f(x) x\nf(1, 2)",
        "#define j(a, b) a ## b\nj(+, x)",
        "#if 1",
        "#define v(...) __VA_OPT__(a)\n",
        "#unknown",
    ] {
        assert!(seen_with(text, &[]).is_err(), "{text}");
    }
    assert_eq!(seen("#if 0\n#error no\n#unknown\n#endif"), "");
}
