//! The source for kernels to which a patch is registered and then enabled, with a table of its
//! relocations ([`LivepatchAbi::Registering`](suture_kernel::LivepatchAbi)).
//!
//! Those kernels switch functions at once and can't tell when the last task has left the old
//! code. So the module stays in memory for ever. A parameter, `in_force`, takes the patch out and
//! puts it back: the kernel takes no newer patch while an older one is registered and disabled.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use suture_differ::TableEntry;
use suture_kernel::ObjectName;

use super::{Glue, GlueFunction};

pub(super) fn source(glue: &Glue<'_>, text: &mut String) {
    declare(glue, text);
    let objects = objects(glue);
    for (index, (_, functions, entries)) in objects.iter().enumerate() {
        table_of_relocations(index, entries, text);
        super::table_of_functions(index, functions, text);
    }
    text.push_str("static struct klp_object objects[] = {\n");
    for (index, (name, _, entries)) in objects.iter().enumerate() {
        let relocations = if entries.is_empty() {
            String::new()
        } else {
            format!(".relocs = relocations_{index}, ")
        };
        let name = super::name_field(name);
        let _ = writeln!(
            text,
            "\t{{ {name}{relocations}.funcs = functions_{index} }},"
        );
    }
    text.push_str("\t{ }\n};\n\n");
    text.push_str(
        "static struct klp_patch patch = {\n\t.mod = THIS_MODULE,\n\t.objs = objects,\n};\n\n",
    );
    text.push_str(REGISTER);
    // Later kernels' modpost (4.16) writes it by itself.
    let name = glue.version.module_name();
    let _ = writeln!(text, "MODULE_INFO(name, \"{name}\");");
}

/// The places that relocations count from. The functions are declared for every kernel alike.
fn declare(glue: &Glue<'_>, text: &mut String) {
    let places: BTreeSet<&str> = glue
        .relocations
        .iter()
        .map(|entry| entry.place.as_str())
        .collect();
    for place in places {
        let _ = writeln!(text, "extern char {place}[];");
    }
    text.push('\n');
}

type Object<'a> = (ObjectName, &'a [GlueFunction], Vec<&'a TableEntry>);

/// The objects with their functions and relocations. The image comes first, because the kernel
/// finds out at once what it lacks there; it may have relocations and no function.
fn objects<'a>(glue: &'a Glue<'_>) -> Vec<Object<'a>> {
    let entries_of = |name: &ObjectName| -> Vec<&TableEntry> {
        let entries = glue.relocations.iter();
        entries
            .filter(|entry| entry.owner == name.as_str())
            .collect()
    };
    let image = ObjectName::vmlinux();
    let mut objects: Vec<Object<'_>> = glue
        .objects
        .iter()
        .map(|(name, functions)| (name.clone(), functions.as_slice(), entries_of(name)))
        .collect();
    let of_image = entries_of(&image);
    if !of_image.is_empty() && !objects.iter().any(|(name, ..)| name.is_vmlinux()) {
        objects.push((image, &[], of_image));
    }
    objects.sort_by_key(|(name, ..)| !name.is_vmlinux());
    objects
}

fn table_of_relocations(index: usize, entries: &[&TableEntry], text: &mut String) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "static struct klp_reloc relocations_{index}[] = {{");
    for entry in entries {
        let TableEntry {
            place,
            offset,
            r_type,
            addend,
            symbol,
            sympos,
            exported,
            owner: _,
        } = entry;
        let external = u8::from(*exported);
        let _ = writeln!(
            text,
            "\t{{ .loc = (unsigned long){place} + {offset}, .sympos = {sympos}, .type = {r_type}, \
             .name = \"{symbol}\", .addend = {addend}, .external = {external} }},"
        );
    }
    text.push_str("\t{ }\n};\n\n");
}

/// Without a `module_exit` the module can't be unloaded. `klp_register_patch` makes its objects in
/// sysfs anew, which the kernel takes for an error unless they are blank.
const REGISTER: &str = r#"static bool begun, registered;

static void blank_objects(void)
{
	struct klp_object *object;
	struct klp_func *function;

	memset(&patch.kobj, 0, sizeof(patch.kobj));
	for (object = objects; object->funcs; object++) {
		memset(&object->kobj, 0, sizeof(object->kobj));
		for (function = object->funcs; function->old_name; function++)
			memset(&function->kobj, 0, sizeof(function->kobj));
	}
}

static int bring_in(void)
{
	int error = 0;

	if (!registered) {
		blank_objects();
		error = klp_register_patch(&patch);
		if (error)
			return error;
		registered = true;
	}
	if (patch.state != KLP_ENABLED)
		error = klp_enable_patch(&patch);
	if (error && !klp_unregister_patch(&patch))
		registered = false;
	return error;
}

static int take_out(void)
{
	int error = 0;

	if (!registered)
		return 0;
	if (patch.state == KLP_ENABLED)
		error = klp_disable_patch(&patch);
	if (!error)
		error = klp_unregister_patch(&patch);
	if (!error)
		registered = false;
	return error;
}

static int set_in_force(const char *value, const struct kernel_param *parameter)
{
	bool wanted;
	int error = strtobool(value, &wanted);

	if (error)
		return error;
	if (!begun)
		return -EINVAL;
	return wanted ? bring_in() : take_out();
}

static int get_in_force(char *buffer, const struct kernel_param *parameter)
{
	return sprintf(buffer, "%d", registered && patch.state == KLP_ENABLED);
}

static const struct kernel_param_ops in_force_ops = {
	.set = set_in_force,
	.get = get_in_force,
};
module_param_cb(in_force, &in_force_ops, NULL, 0600);

static int __init patch_init(void)
{
	int error = bring_in();

	begun = !error;
	return error;
}

module_init(patch_init);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use suture_kernel::LivepatchAbi;

    use super::*;

    fn entry(owner: &str, symbol: &str) -> TableEntry {
        TableEntry {
            place: "__suture_u0_place_3".to_owned(),
            offset: 28,
            r_type: 2,
            addend: -4,
            owner: owner.to_owned(),
            symbol: symbol.to_owned(),
            sympos: 2,
            exported: symbol == "jbd2_x",
        }
    }

    fn source_of(object: &str, relocations: &[TableEntry]) -> String {
        let function = GlueFunction {
            old_name: "fixed".into(),
            old_sympos: 1,
            alias: "__suture_u0_0".into(),
        };
        let kernel = crate::glue::tests::kernel();
        Glue {
            abi: LivepatchAbi::Registering,
            relocations,
            version: "7.1".parse().unwrap(),
            kernel: &kernel,
            fixes: &[],
            objects: &[(object.parse().unwrap(), vec![function])],
            callbacks: &[],
            states: &BTreeMap::new(),
            clear_relocations: false,
        }
        .source()
    }

    #[test]
    fn a_field_is_named_by_its_section_and_filled_in_for_its_object() {
        let text = source_of("vmlinux", &[entry("vmlinux", "hidden")]);
        let field = "{ .loc = (unsigned long)__suture_u0_place_3 + 28, .sympos = 2, .type = 2, \
                     .name = \"hidden\", .addend = -4, .external = 0 }";
        assert!(text.contains(field), "{text}");
        assert!(text.contains("extern char __suture_u0_place_3[];"));
        assert!(text.contains("\t{ .relocs = relocations_0, .funcs = functions_0 },\n\t{ }\n"));
        assert!(!text.contains("module_exit(") && !text.contains(".replace"));
        assert!(text.contains("MODULE_INFO(name, \"suture_7_1\");"));
    }

    #[test]
    fn symbols_of_the_image_come_before_those_of_a_module() {
        let entries = [entry("ext4", "jbd2_x"), entry("vmlinux", "hidden")];
        let text = source_of("ext4", &entries);
        let objects = "static struct klp_object objects[] = {\n\
            \t{ .relocs = relocations_0, .funcs = functions_0 },\n\
            \t{ .name = \"ext4\", .relocs = relocations_1, .funcs = functions_1 },\n\t{ }\n};";
        assert!(text.contains(objects), "{text}");
        assert!(text.contains("static struct klp_func functions_0[] = {\n\t{ }\n};"));
        assert!(text.contains(".name = \"jbd2_x\", .addend = -4, .external = 1 }"));
    }

    #[test]
    fn a_patch_without_relocations_has_no_table() {
        let text = source_of("vmlinux", &[]);
        assert!(text.contains("\t{ .funcs = functions_0 },"), "{text}");
        assert!(!text.contains("klp_reloc"));
        assert!(text.contains("MODULE_INFO(suture_release, \"6.1.0-53-amd64\");"));
    }
}
