//! What a patch can't do, each told by name, and what is left out of one.

use crate::common::{diff_case, extract_case};
use insta::assert_snapshot;

#[test]
fn changed_init_code_is_refused() {
    assert_snapshot!(diff_case("init-code"), @r"
    Changed setup
    refused: `setup` lies in `.init.text`, which is freed after boot or left out: a live patch can't reach it; leave this hunk out if the fix does not need it
    ");
}

#[test]
fn a_device_more_in_a_drivers_table_is_refused() {
    assert_snapshot!(diff_case("device-table"), @"refused: the device table `__mod_usb__ids_device_table` changed, from which the kernel chose a driver for each device when this one was loaded; leave it out, and let an administrator add the device by `new_id` in sysfs");
}

#[test]
fn a_longer_list_of_constants_is_refused() {
    assert_snapshot!(diff_case("longer-list"), @r"
    Changed known
    refused: the constant `listed` is 8 bytes in the running kernel and 12 in the fix (a list of machines, for example); look for what is new in code that is patched
    refused: `at_start` lies in `.init.rodata`, which is read when the kernel starts or the module is loaded, and then freed; leave it out, it comes into force with the next start
    ");
}

#[test]
fn a_changed_initial_value_is_refused() {
    assert_snapshot!(diff_case("changed-value"), @"refused: the initial value of `limit` in `.data.limit` changed, but the running kernel holds the object already; set the value from code that is patched, or keep it in a new variable");
}

#[test]
fn a_changed_size_is_refused() {
    assert_snapshot!(diff_case("changed-size"), @r"
    Changed user
    refused: `slots` is 32 bytes in the running kernel and 64 in the fix; keep its layout and attach new fields with a shadow variable
    ");
}

#[test]
fn a_changed_operations_table_is_refused() {
    assert_snapshot!(diff_case("changed-constant"), @r"
    Removed read_it
    refused: the constant `operations` in `.rodata.operations` changed (an operations table, for example), and its users hold pointers to the old one; patch the functions that it names instead
    ");
}

#[test]
fn a_changed_scheduling_class_is_refused() {
    assert_snapshot!(diff_case("changed-class"), @"refused: the constant `fair_sched_class` in `__fair_sched_class` changed (an operations table, for example), and its users hold pointers to the old one; patch the functions that it names instead");
}

#[test]
fn a_function_without_fentry_is_refused() {
    assert_snapshot!(diff_case("not-traceable"), @r"
    Changed fixed
    refused: `fixed` starts without a call to `__fentry__` in the running kernel, so it can't be redirected; nor can it go along with its callers, because more leads to it than calls from functions that can be; patch its callers instead
    ");
}

#[test]
fn a_function_without_fentry_goes_along_with_those_that_call_it() {
    assert_snapshot!(extract_case("untraced"), @r"
    patch one,1 by __suture_u0_0
    patch two,1 by __suture_u0_1
    .text.fixed: code
    .text.one: code
    .text.two: code
    __mcount_loc: 16
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0
    .rela.text.one -> .text.fixed
    .rela.text.two -> .text.fixed
    .rela__mcount_loc -> .text.one .text.two
    ");
    assert_snapshot!(extract_case("untraced-chain"), @r"
    patch outer,1 by __suture_u0_0
    .text.fixed: code
    .text.between: code
    .text.outer: code
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0
    .rela.text.between -> .text.fixed
    .rela.text.outer -> .text.between
    .rela__mcount_loc -> .text.outer
    ");
}

#[test]
fn a_function_without_fentry_must_have_callers_alone_that_are_replaced() {
    for case in [
        "untraced-tail-call",
        "untraced-pointer",
        "untraced-in-boot-code",
    ] {
        let told = extract_case(case);
        let refused = told.starts_with("`fixed` starts without a call to `__fentry__`");
        assert!(refused, "{case}: {told}");
    }
}

#[test]
fn the_body_of_a_system_call_is_refused_unless_its_entry_takes_it_in() {
    assert_snapshot!(diff_case("system-call"), @r"
    Changed __do_sys_open
    refused: `__do_sys_open` is the body of a system call, which the compiler keeps apart from its entry points and which can't be redirected; declare it `static __always_inline` before, so that they take it in and are replaced
    ");
    assert_snapshot!(diff_case("system-call-taken-in"), @r"
    Changed __x64_sys_open
    Removed __do_sys_open
    ");
}

#[test]
fn a_weak_function_is_refused() {
    assert_snapshot!(diff_case("weak-function"), @r"
    Changed fixed
    refused: `fixed` is a weak symbol: the running kernel may use another definition; patch its callers, or the definition that the kernel uses
    ");
}

#[test]
fn a_function_of_a_group_is_refused() {
    assert_snapshot!(diff_case("group"), @r"
    Changed fixed
    refused: `fixed` lies in a section group (COMDAT) that several units share; patch all its users by a function of this unit
    ");
}

#[test]
fn an_export_is_left_out_and_alone_makes_no_patch() {
    assert_snapshot!(extract_case("export"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela__mcount_loc -> .text.fixed
    ");
    assert_snapshot!(extract_case("export-alone"), @"the fix exports `same` or changes how it is exported, which a running kernel can't do, and nothing else; leave it for the regular kernel update");
}

#[test]
fn what_a_module_says_of_itself_is_left_out_and_alone_makes_no_patch() {
    assert_snapshot!(extract_case("module-text"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela__mcount_loc -> .text.fixed
    ");
    assert_snapshot!(extract_case("module-text-alone"), @"the fix changes `version=1.1` of the module's information, which is read from its file alone, and nothing else; leave it for the regular kernel update");
}

#[test]
fn a_new_alias_of_a_module_is_refused() {
    assert_snapshot!(diff_case("module-alias"), @r"
    Changed fixed
    refused: section `.modinfo` changed: the kernel reads it at boot or when the module is loaded, never again; leave out the part of the fix that adds to it
    ");
}

#[test]
fn a_new_initcall_is_refused() {
    assert_snapshot!(diff_case("initcall"), @r"
    New setup
    Changed fixed
    refused: section `.initcall6.init` changed: the kernel reads it at boot or when the module is loaded, never again; leave out the part of the fix that adds to it
    ");
}

#[test]
fn a_moved_function_is_refused() {
    assert_snapshot!(diff_case("moved-section"), @"refused: `fixed` moved from section `.text.fixed` to `.noinstr.text`; keep its attributes (`__init`, `noinstr`, `__ro_after_init` and the like)");
}

#[test]
fn a_table_of_unknown_meaning_is_refused() {
    assert_snapshot!(diff_case("unknown-section"), @r"
    Changed fixed
    refused: section `.odd_table` refers to the patched function `fixed`, and what it is for is not known here; patch a caller of the function instead
    refused: section `.odd_table` changed, and what it is for is not known here; leave out the part of the fix that changes it
    ");
}

#[test]
fn a_constant_that_the_kernel_writes_into_code_is_refused() {
    assert_snapshot!(diff_case("constant-in-code"), @r"
    Changed fixed
    refused: section `runtime_ptr_limit` tells where the kernel writes a constant into code while it boots, and a patch comes too late for that; read the variable itself in the fix
    ");
}

#[test]
fn a_reference_to_freed_data_is_refused() {
    assert_snapshot!(extract_case("freed-reference"), @"`fixed` refers to `boot_value` in `.init.data`, which the running kernel has freed after boot; keep such uses out of the fix");
}

#[test]
fn a_new_per_cpu_variable_is_refused() {
    assert_snapshot!(extract_case("percpu"), @"the new object `counter` would lie in `.data..percpu`, which a patch module can't have; use an ordinary or a shadow variable");
}

#[test]
fn a_symbol_that_the_kernel_lacks_is_refused() {
    assert_snapshot!(extract_case("unresolved"), @"`fixed` needs `missing`, which can't be taken from the running kernel: no such symbol");
}
