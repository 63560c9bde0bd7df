//! The C source that registers the patch with the kernel, and the Kbuild file.
//!
//! The structures are those of `include/linux/livepatch.h`; only the kernel's own headers know
//! their layout, so they are filled in C.

mod registering;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use suture_advisory::{CveId, PatchVersion};
use suture_differ::TableEntry;
use suture_kernel::{KernelBuild, LivepatchAbi, ObjectName};
use suture_protocol::{MODINFO_ARCHITECTURE, MODINFO_BUILD_ID, MODINFO_RELEASE};

use crate::declared::{Callback, PATCH_SYMBOL};

/// One function to swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlueFunction {
    pub old_name: String,
    pub old_sympos: u64,
    /// The global symbol of the new code.
    pub alias: String,
}

/// What the source is made from.
#[derive(Clone, Copy)]
pub(crate) struct Glue<'a> {
    pub abi: LivepatchAbi,
    /// What the kernel fills in, where it takes that as a table.
    pub relocations: &'a [TableEntry],
    pub version: PatchVersion,
    pub kernel: &'a KernelBuild,
    pub fixes: &'a [CveId],
    /// Functions by object, `vmlinux` included under that name.
    pub objects: &'a [(ObjectName, Vec<GlueFunction>)],
    /// The fix's own callbacks; an object has at most one of each kind.
    pub callbacks: &'a [(ObjectName, Callback)],
    /// Versions of the states that the fix keeps, by their id.
    pub states: &'a BTreeMap<u64, u64>,
    /// The kernel leaves its livepatch relocations in place when a patched module is unloaded,
    /// and then refuses to load that module again. The callback below undoes them.
    pub clear_relocations: bool,
}

/// Names under which the callback's two unexported helpers are compiled; the link gives them
/// their livepatch names.
pub(crate) const HELPERS: [(&str, &str); 2] = [
    ("suture_text_poke", "text_poke"),
    ("suture_text_mutex", "text_mutex"),
];

/// The headers that the source needs.
pub(crate) const INCLUDES: &str = "#include <linux/kernel.h>\n#include <linux/livepatch.h>\n\
    #include <linux/module.h>\n#include <linux/mutex.h>\n#include <linux/string.h>\n";

impl Glue<'_> {
    /// Whether the module holds the callback, and so refers to [`HELPERS`].
    pub fn uses_helpers(&self) -> bool {
        self.clear_relocations && self.objects.iter().any(|(name, _)| !name.is_vmlinux())
    }

    /// The C source.
    pub fn source(&self) -> String {
        let mut text = format!("// SPDX-License-Identifier: GPL-2.0\n{INCLUDES}\n");
        self.declare(&mut text);
        match self.abi {
            LivepatchAbi::Replacing => {
                if self.uses_helpers() {
                    text.push_str(CLEAR_RELOCATIONS);
                }
                self.tables(&mut text);
                self.module(&mut text);
            }
            LivepatchAbi::Registering => registering::source(self, &mut text),
        }
        self.facts(&mut text);
        text
    }

    fn declare(&self, text: &mut String) {
        for alias in self
            .objects
            .iter()
            .flat_map(|(_, functions)| functions)
            .map(|f| &f.alias)
        {
            let _ = writeln!(text, "extern void {alias}(void);");
        }
        for (_, Callback { kind, symbol }) in self.callbacks {
            let returns = kind.returns();
            let _ = writeln!(
                text,
                "extern {returns} {symbol}(struct klp_object *object);"
            );
        }
        text.push('\n');
    }

    fn tables(&self, text: &mut String) {
        for (index, (_, functions)) in self.objects.iter().enumerate() {
            table_of_functions(index, functions, text);
        }
        let callbacks: Vec<String> = (0..self.objects.len())
            .map(|index| self.callbacks_of(index, text))
            .collect();
        text.push_str("static struct klp_object objects[] = {\n");
        for (index, (name, _)) in self.objects.iter().enumerate() {
            let name_field = name_field(name);
            let _ = writeln!(
                text,
                "\t{{ {name_field}.funcs = functions_{index}{} }},",
                callbacks[index]
            );
        }
        text.push_str("\t{ }\n};\n\n");
    }

    /// The field of an object's callbacks; a function that it needs is written before.
    fn callbacks_of(&self, index: usize, text: &mut String) -> String {
        let (object, _) = &self.objects[index];
        let own = self.callbacks.iter().filter(|(name, _)| name == object);
        let mut fields: Vec<(&str, String)> = own
            .map(|(_, callback)| (callback.kind.field(), callback.symbol.clone()))
            .collect();
        if self.uses_helpers() && !object.is_vmlinux() {
            match fields
                .iter_mut()
                .find(|(field, _)| *field == "post_unpatch")
            {
                Some((_, symbol)) => {
                    let both = format!("post_unpatch_{index}");
                    let _ = writeln!(
                        text,
                        "static void {both}(struct klp_object *object)\n{{\n\
                         \t{symbol}(object);\n\tclear_relocations(object);\n}}\n"
                    );
                    *symbol = both;
                }
                None => fields.push(("post_unpatch", "clear_relocations".to_owned())),
            }
        }
        if fields.is_empty() {
            return String::new();
        }
        let fields = fields
            .iter()
            .map(|(field, name)| format!(".{field} = {name}"));
        let fields: Vec<String> = fields.collect();
        format!(", .callbacks = {{ {} }}", fields.join(", "))
    }

    fn module(&self, text: &mut String) {
        let states = if self.states.is_empty() {
            ""
        } else {
            text.push_str("static struct klp_state states[] = {\n");
            for (id, version) in self.states {
                let _ = writeln!(text, "\t{{ .id = {id}, .version = {version} }},");
            }
            text.push_str("\t{ }\n};\n\n");
            "\t.states = states,\n"
        };
        let _ = write!(
            text,
            "static struct klp_patch patch = {{\n\t.mod = THIS_MODULE,\n\t.objs = objects,\n\
             {states}\t.replace = true,\n}};\n\n"
        );
        if !self.states.is_empty() {
            let _ = writeln!(
                text,
                "extern struct klp_patch *const {PATCH_SYMBOL};\n\
                 struct klp_patch *const {PATCH_SYMBOL} = &patch;\n"
            );
        }
        text.push_str(
            "static int __init patch_init(void)\n{\n\treturn klp_enable_patch(&patch);\n}\n\n\
             static void __exit patch_exit(void)\n{\n}\n\n\
             module_init(patch_init);\nmodule_exit(patch_exit);\n\
             MODULE_LICENSE(\"GPL\");\nMODULE_INFO(livepatch, \"Y\");\n",
        );
    }

    /// What the module says of itself.
    fn facts(&self, text: &mut String) {
        let KernelBuild {
            release,
            architecture,
            build_id,
        } = self.kernel;
        let fixes = self
            .fixes
            .iter()
            .map(CveId::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        let facts = [
            ("version", self.version.to_string()),
            (
                "description",
                format!("Live patch {} for Linux {release}", self.version),
            ),
            (MODINFO_RELEASE, release.to_string()),
            (MODINFO_ARCHITECTURE, architecture.to_string()),
            (MODINFO_BUILD_ID, build_id.to_string()),
            ("suture_fixes", fixes),
        ];
        for (key, value) in facts {
            let _ = writeln!(text, "MODULE_INFO({key}, \"{value}\");");
        }
    }
}

fn table_of_functions(index: usize, functions: &[GlueFunction], text: &mut String) {
    let _ = writeln!(text, "static struct klp_func functions_{index}[] = {{");
    for GlueFunction {
        old_name,
        old_sympos,
        alias,
    } in functions
    {
        let _ = writeln!(
            text,
            "\t{{ .old_name = \"{old_name}\", .new_func = {alias}, .old_sympos = {old_sympos} }},"
        );
    }
    text.push_str("\t{ }\n};\n\n");
}

/// The image has no name, and a module has.
fn name_field(object: &ObjectName) -> String {
    if object.is_vmlinux() {
        String::new()
    } else {
        format!(".name = \"{object}\", ")
    }
}

/// The Kbuild file for the module and the objects that are linked into it.
pub(crate) fn kbuild(module: &str, objects: &[String]) -> String {
    format!(
        "obj-m := {module}.o\n{module}-y := glue.o {}\n",
        objects.join(" ")
    )
}

/// Sets every field that the patch's livepatch relocations of an object filled back to zero,
/// which is what the kernel's loader insists on finding the next time the object is loaded.
const CLEAR_RELOCATIONS: &str = r#"extern void *suture_text_poke(void *addr, const void *opcode, size_t len);
extern struct mutex suture_text_mutex;

static const char zeroes[8];

static void clear_section(const struct klp_modinfo *info, const Elf_Shdr *relas)
{
	const Elf_Shdr *target = &info->sechdrs[relas->sh_info];
	const Elf_Rela *rela = (const Elf_Rela *)relas->sh_addr;
	size_t count = relas->sh_size / sizeof(*rela), i;

	for (i = 0; i < count; i++) {
		size_t width = ELF_R_TYPE(rela[i].r_info) == R_X86_64_64 ||
			       ELF_R_TYPE(rela[i].r_info) == R_X86_64_PC64 ? 8 : 4;

		if (ELF_R_TYPE(rela[i].r_info) == R_X86_64_NONE)
			continue;
		suture_text_poke((void *)target->sh_addr + rela[i].r_offset, zeroes, width);
	}
}

static void clear_relocations(struct klp_object *object)
{
	const struct klp_modinfo *info = THIS_MODULE->klp_info;
	size_t name_length = strlen(object->name);
	unsigned int i;

	mutex_lock(&suture_text_mutex);
	for (i = 0; i < info->hdr.e_shnum; i++) {
		const Elf_Shdr *section = &info->sechdrs[i];
		const char *name = info->secstrings + section->sh_name;

		if (!(section->sh_flags & SHF_RELA_LIVEPATCH))
			continue;
		if (strncmp(name, ".klp.rela.", 10) ||
		    strncmp(name + 10, object->name, name_length) || name[10 + name_length] != '.')
			continue;
		clear_section(info, section);
	}
	mutex_unlock(&suture_text_mutex);
}

"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::CallbackKind;

    pub(super) fn kernel() -> KernelBuild {
        KernelBuild {
            release: "6.1.0-53-amd64".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            build_id: "ab".repeat(20).parse().unwrap(),
        }
    }

    fn glue_source(object: &str, clear_relocations: bool) -> String {
        declared_source(object, clear_relocations, &[], &[])
    }

    fn declared_source(
        object: &str,
        clear_relocations: bool,
        callbacks: &[(ObjectName, Callback)],
        states: &[(u64, u64)],
    ) -> String {
        let function = GlueFunction {
            old_name: "pep_getsockopt".into(),
            old_sympos: 0,
            alias: "__suture_u0_0".into(),
        };
        let kernel = kernel();
        let objects = [(object.parse().unwrap(), vec![function])];
        let fixes = ["CVE-2026-90327".parse().unwrap()];
        let version = "104.1".parse().unwrap();
        Glue {
            abi: LivepatchAbi::Replacing,
            relocations: &[],
            version,
            kernel: &kernel,
            fixes: &fixes,
            objects: &objects,
            callbacks,
            states: &BTreeMap::from_iter(states.iter().copied()),
            clear_relocations,
        }
        .source()
    }

    #[test]
    fn the_image_has_no_name_and_a_module_has() {
        let vmlinux = glue_source("vmlinux", true);
        assert!(
            vmlinux.contains("\t{ .funcs = functions_0 },\n"),
            "{vmlinux}"
        );
        assert!(!vmlinux.contains("text_poke"));
        let module = glue_source("pn_pep", true);
        let line = "\t{ .name = \"pn_pep\", .funcs = functions_0, .callbacks = { .post_unpatch = clear_relocations } },\n";
        assert!(module.contains(line), "{module}");
        assert!(!glue_source("pn_pep", false).contains("text_poke"));
    }

    #[test]
    fn an_authors_callback_and_our_own_share_a_place() {
        let callback = |kind: CallbackKind| {
            let symbol = format!("__suture_{}_kmod_x", kind.field());
            ("pn_pep".parse().unwrap(), Callback { kind, symbol })
        };
        let pre = [callback(CallbackKind::PrePatch)];
        let text = declared_source("pn_pep", false, &pre, &[]);
        let field = ".callbacks = { .pre_patch = __suture_pre_patch_kmod_x }";
        assert!(text.contains(field), "{text}");
        let post = [callback(CallbackKind::PostUnpatch)];
        let text = declared_source("pn_pep", true, &post, &[]);
        assert!(text.contains(".post_unpatch = post_unpatch_0"), "{text}");
        let calls = "\t__suture_post_unpatch_kmod_x(object);\n\tclear_relocations(object);\n";
        assert!(text.contains(calls), "{text}");
    }

    #[test]
    fn states_are_part_of_the_patch() {
        let text = declared_source("vmlinux", false, &[], &[(7, 2)]);
        assert!(text.contains("\t{ .id = 7, .version = 2 },\n"), "{text}");
        assert!(text.contains("\t.states = states,\n"), "{text}");
        assert!(!glue_source("vmlinux", false).contains("states"));
    }

    #[test]
    fn the_module_says_what_it_is_for() {
        let text = glue_source("vmlinux", false);
        for line in [
            "MODULE_INFO(version, \"104.1\");",
            "MODULE_INFO(suture_release, \"6.1.0-53-amd64\");",
            "MODULE_INFO(suture_fixes, \"CVE-2026-90327\");",
            "MODULE_INFO(livepatch, \"Y\");",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
