//! What the source archive holds for a person who builds the module with plain `make`.

use suture_kernel::KernelRelease;

use crate::glue::{self, Glue, HELPERS};

/// Does what `suture_differ::post_link` does, in C, so that nobody needs Suture.
const POST_LINK: &str = include_str!("by_hand/post-link.c");

/// The files of `by-hand/`: the extracted objects, the source that registers them with the
/// kernel, and a Makefile that needs the distribution's headers package and compiler only.
pub(crate) fn files(
    glue: &Glue<'_>,
    objects: &[&[u8]],
    release: &KernelRelease,
    compiler: &str,
) -> Vec<(String, Vec<u8>)> {
    let module = glue.version.module_name();
    let units: Vec<String> = (0..objects.len())
        .map(|index| format!("unit{index}.o"))
        .collect();
    let mut files = vec![
        (
            "Kbuild".to_owned(),
            glue::kbuild(&module, &units).into_bytes(),
        ),
        (
            "Makefile".to_owned(),
            makefile(&module, &units, release, compiler).into_bytes(),
        ),
        ("glue.c".to_owned(), glue.source().into_bytes()),
        ("post-link.c".to_owned(), POST_LINK.as_bytes().to_vec()),
    ];
    let shipped = units.iter().zip(objects);
    files.extend(shipped.map(|(name, bytes)| (format!("{name}_shipped"), bytes.to_vec())));
    files
}

fn makefile(module: &str, units: &[String], release: &KernelRelease, compiler: &str) -> String {
    let helpers: Vec<String> = HELPERS
        .iter()
        .map(|(compiled, real)| {
            format!("--redefine-sym={compiled}=.klp.sym.vmlinux.{real}$(comma)0")
        })
        .collect();
    format!(
        "# Builds the live patch from this folder and the kernel's own headers package.\n\
         RELEASE := {release}\n\
         KDIR ?= /lib/modules/$(RELEASE)/build\n\
         KERNEL_CC ?= {compiler}\n\
         HOST_CC ?= cc\n\
         UNITS := {units}\n\
         comma := ,\n\n\
         livepatch.ko: linked.ko post-link\n\
         \t./post-link linked.ko $@\n\n\
         linked.ko: glue.c $(UNITS:=_shipped)\n\
         \tfor unit in $(UNITS); do cp $${{unit}}_shipped $$unit && : >.$$unit.cmd || exit 1; done\n\
         \t$(MAKE) -C $(KDIR) M=$(CURDIR) CC=$(KERNEL_CC) KCFLAGS=-g0 KBUILD_MODPOST_WARN=1 modules\n\
         \tobjcopy --strip-debug {helpers} {module}.ko $@\n\n\
         post-link: post-link.c\n\
         \t$(HOST_CC) -O2 -Wall -o $@ $<\n",
        units = units.join(" "),
        helpers = helpers.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// An object with livepatch symbols of the image, of a module, and of a module for another.
    const LINKED: &str = "extern int a, b, c, exported;\n\
        int *table[] = { &a, &b, &c, &exported };\n\
        int sum(void) { return a + b + c + exported; }\n";

    /// The assembler takes no comma in a name.
    const NAMES: [&str; 3] = [
        "--redefine-sym=a=.klp.sym.vmlinux.a,0",
        "--redefine-sym=b=.klp.sym.ext4.b,2",
        "--redefine-sym=c=.klp.sym.jbd2.c,0,ext4",
    ];

    fn run(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Offset, type, addend, and name and reserved section of the symbol.
    type Field = (u64, u32, i64, String, u16);

    fn sections(path: &std::path::Path) -> Vec<(String, Vec<Field>)> {
        use suture_differ::object::{Object, SymbolSection};
        let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbol = |index: usize| {
            let symbol = &object.symbols[index];
            let home = match symbol.home {
                SymbolSection::Reserved(index) => index,
                _ => 0,
            };
            (symbol.name.clone(), home)
        };
        let sections = object.sections.iter();
        // The order of the added sections means nothing.
        let mut listed: Vec<(String, Vec<Field>)> = sections
            .map(|section| {
                let relocations = section.relocations.iter().map(|relocation| {
                    let (name, home) = symbol(relocation.symbol as usize);
                    let (offset, r_type) = (relocation.offset, relocation.r_type);
                    (offset, r_type, relocation.addend, name, home)
                });
                let mut relocations: Vec<Field> = relocations.collect();
                relocations.sort();
                (section.name.clone(), relocations)
            })
            .collect();
        listed.sort();
        listed
    }

    fn relocation_sections(path: &std::path::Path) -> Vec<String> {
        let output = Command::new("readelf")
            .arg("-SW")
            .arg(path)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.split_whitespace();
        let mut found: Vec<String> = words
            .filter(|word| word.starts_with(".klp.rela."))
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    }

    #[test]
    fn the_program_in_c_links_as_the_factory_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("linked.c"), LINKED).unwrap();
        std::fs::write(at("post-link.c"), POST_LINK).unwrap();
        let flags = ["-O2", "-fno-pic", "-mcmodel=kernel", "-c", "-o"];
        run(Command::new("gcc")
            .args(flags)
            .args([at("linked.o"), at("linked.c")]));
        run(Command::new("objcopy").args(NAMES).arg(at("linked.o")));
        let strict = [
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsanitize=address,undefined",
            "-o",
        ];
        run(Command::new("gcc")
            .args(strict)
            .args([at("post-link"), at("post-link.c")]));
        run(Command::new(at("post-link"))
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .args([at("linked.o"), at("by-hand.ko")]));
        let linked = std::fs::read(at("linked.o")).unwrap();
        std::fs::write(at("ours.ko"), suture_differ::post_link(&linked).unwrap()).unwrap();
        assert_eq!(sections(&at("by-hand.ko")), sections(&at("ours.ko")));
        let expected = [
            ".klp.rela.ext4..data",
            ".klp.rela.ext4..text",
            ".klp.rela.vmlinux..data",
            ".klp.rela.vmlinux..text",
        ];
        assert_eq!(relocation_sections(&at("by-hand.ko")), expected);
        assert_eq!(relocation_sections(&at("ours.ko")), expected);
    }
}
