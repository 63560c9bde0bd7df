//! One story for each behaviour; the sources are in `tests/cases`.

use crate::common::{Kernel, diff_case, extract_case, extract_case_of, objects};
use insta::assert_snapshot;
use object::{Object as _, ObjectSection as _};
use suture_differ::{Extraction, compare, extract_also};
use suture_kernel::ObjectName;

#[test]
fn equal_sources_make_no_patch() {
    assert_snapshot!(extract_case("same-source"), @"no change");
}

#[test]
fn one_function_is_taken_and_the_rest_stays_in_the_kernel() {
    assert_snapshot!(extract_case("one-function"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .rodata.suture.str: 6
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0 .klp.sym.vmlinux.hits,2 .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_function_that_is_the_same_is_taken_if_it_is_asked_for() {
    let (old, new) = objects("one-function");
    let vmlinux: ObjectName = "vmlinux".parse().unwrap();
    let kernel = Kernel(vmlinux.clone());
    let also = ["untouched", "nowhere"];
    let Extraction::Patch(patch) =
        extract_also(&old, &new, &vmlinux, "u0", &kernel, &also).unwrap()
    else {
        panic!("no patch");
    };
    let names = patch
        .functions
        .iter()
        .map(|function| function.old_name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["untouched", "fixed"]);
}

#[test]
fn moved_literals_change_nothing() {
    assert_snapshot!(extract_case("shifted-strings"), @r"
    patch first,1 by __suture_u0_0
    .text.first: code
    .rodata.suture.str: 25
    __mcount_loc: 8
    .rela.text.first -> .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.first
    ");
}

#[test]
fn line_numbers_in_the_bug_table_change_nothing() {
    assert_snapshot!(extract_case("bug-line-only"), @"no change");
}

#[test]
fn a_format_in_the_bug_table_counts_and_goes_along() {
    assert_snapshot!(extract_case("bug-format"), @r"
    patch reworded,1 by __suture_u0_0
    patch fixed,1 by __suture_u0_1
    .text.reworded: code
    .text.fixed: code
    __bug_table: 32
    .rodata.suture.str: 34
    __mcount_loc: 16
    .rela.text.reworded -> __bug_table
    .rela.text.fixed -> __bug_table
    .rela__bug_table -> .rodata.suture.str .text.fixed .text.reworded
    .rela__mcount_loc -> .text.fixed .text.reworded
    ");
}

#[test]
fn line_numbers_count_unless_they_go_to_a_known_reporter() {
    assert_snapshot!(diff_case("line-only"), @r"
    Changed fixed
    Changed also_fixed
    Changed line_used_twice
    ");
}

#[test]
fn a_removed_function_needs_no_patch() {
    assert_snapshot!(diff_case("removed-function"), @"Removed unused");
}

#[test]
fn static_variables_stay_the_kernels_and_new_ones_are_added() {
    assert_snapshot!(extract_case("static-local"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .bss.fresh.: 4
    __mcount_loc: 8
    .rela.text.fixed -> .bss.fresh. .klp.sym.vmlinux.count.N,2
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_static_variable_that_may_have_moved_is_refused() {
    assert_snapshot!(extract_case("static-moved"), @"the static variable `count.0` can't be told apart from others of that name in the running kernel; give the new variable another name");
}

#[test]
fn new_functions_and_data_go_along() {
    assert_snapshot!(extract_case("new-function-and-data"), @r"
    patch fixed,1 by __suture_u0_0
    .text.visible: code
    .text.fixed: code
    .data.added_limit: 4
    .text.checked: code
    .rodata.table: 32
    __mcount_loc: 24
    .rela.text.visible -> .data.added_limit
    .rela.text.fixed -> .data.added_limit .text.checked .text.visible
    .rela.text.checked -> .klp.sym.vmlinux.hidden,0 .rodata.table
    .rela__mcount_loc -> .text.checked .text.fixed .text.visible
    ");
}

#[test]
fn calls_bind_to_new_code_but_addresses_to_the_kernels() {
    assert_snapshot!(extract_case("function-pointer"), @r"
    patch callback,1 by __suture_u0_0
    patch direct,1 by __suture_u0_1
    patch fixed,1 by __suture_u0_2
    .text.callback: code
    .text.direct: code
    .text.fixed: code
    __mcount_loc: 24
    .rela.text.direct -> .text.callback
    .rela.text.fixed -> .klp.sym.vmlinux.callback,2 exported_register
    .rela__mcount_loc -> .text.callback .text.direct .text.fixed
    ");
}

#[test]
fn pointers_in_new_data_lead_to_the_kernels_function_and_to_new_ones() {
    assert_snapshot!(extract_case("pointer-in-data"), @r"
    patch opened,1 by __suture_u0_0
    patch fixed,1 by __suture_u0_1
    .text.opened: code
    .text.fixed: code
    .rodata.fresh: 16
    .text.closed: code
    __mcount_loc: 24
    .rela.text.fixed -> .rodata.fresh exported_register
    .rela.rodata.fresh -> .klp.sym.vmlinux.opened,0 .text.closed
    .rela__mcount_loc -> .text.closed .text.fixed .text.opened
    ");
}

#[test]
fn the_number_of_a_type_id_changes_no_table() {
    assert_snapshot!(diff_case("btf-id"), @"Changed opened");
}

#[test]
fn an_address_is_the_kernels_however_it_is_computed() {
    assert_snapshot!(extract_case("pointer-by-lea"), @r"
    patch callback,1 by __suture_u0_0
    patch fixed,1 by __suture_u0_1
    .text.callback: code
    .text.fixed: code
    __mcount_loc: 16
    .rela.text.fixed -> .klp.sym.vmlinux.callback,0 exported_register
    .rela__mcount_loc -> .text.callback .text.fixed
    ");
}

#[test]
fn a_variable_among_others_of_its_section_stays_the_kernels() {
    assert_snapshot!(extract_case("read-mostly"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .data.once: 4
    .rodata.suture.str: 5
    __mcount_loc: 8
    .rela.text.fixed -> .data.once .klp.sym.vmlinux.limit,2 .klp.sym.vmlinux.other,2 .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn what_stands_before_a_functions_entry_is_no_function_of_its_own() {
    assert_snapshot!(extract_case("prefixed"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0
    ");
}

#[test]
fn existing_constants_are_referred_to_not_copied() {
    assert_snapshot!(extract_case("existing-constant"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.vmlinux.operations,2 exported_use
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_function_name_may_be_copied() {
    assert_snapshot!(extract_case("function-name"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .rodata.__func__.: 6
    __mcount_loc: 8
    .rela.text.fixed -> .rodata.__func__. exported_log
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_warning_may_come_once_more() {
    assert_snapshot!(extract_case("copied-once"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .data.once: 1
    .rodata.suture.str: 6
    __mcount_loc: 8
    .rela.text.fixed -> .data.once .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_cold_part_goes_with_its_parent() {
    assert_snapshot!(extract_case("cold-part"), @r"
    patch fixed,1 by __suture_u0_0
    .text.unlikely.fixed: code
    .text.fixed: code
    .rodata.suture.str: 10
    __mcount_loc: 8
    .rela.text.unlikely.fixed -> .rodata.suture.str .text.fixed exported_fail
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0 .text.unlikely.fixed
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn clones_are_patched_under_their_own_name() {
    assert_snapshot!(diff_case("clones"), @"Changed work.constprop.0");
}

#[test]
fn a_function_whose_parameters_were_taken_apart_is_patched_under_that_name() {
    assert_snapshot!(diff_case("isra"), @"Changed work.isra.0");
}

#[test]
fn a_function_of_which_only_a_part_is_called_is_patched_as_that_part() {
    assert_snapshot!(diff_case("part"), @"Changed work.part.0");
}

#[test]
fn the_hash_of_a_promoted_function_means_nothing() {
    assert_snapshot!(extract_case("llvm"), @r"
    patch work.llvm.1111111111111111111,1 by __suture_u0_0
    .text.work.llvm.: code
    __mcount_loc: 8
    .rela.text.work.llvm. -> .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.work.llvm.
    ");
}

#[test]
fn a_static_variable_is_the_same_in_another_clone_of_its_function() {
    assert_snapshot!(extract_case("static-of-clone"), @r"
    patch one,1 by __suture_u0_0
    patch two,1 by __suture_u0_1
    .text.one: code
    .text.two: code
    .text.bump: code
    __mcount_loc: 24
    .rela.text.one -> .text.bump
    .rela.text.two -> .text.bump
    .rela.text.bump -> .klp.sym.vmlinux.count.N,2 .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.bump .text.one .text.two
    ");
}

#[test]
fn simple_frames_go_the_way_of_other_unwind_data_for_programs() {
    assert_snapshot!(extract_case("sframe"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn a_call_through_the_offset_table_is_refused() {
    assert_snapshot!(diff_case("fentry-through-got"), @r"
    Changed fixed
    refused: `fixed` calls `__fentry__` through a global offset table, which kernels do not have; compile the unit with the kernel's own flags (no `-fPIC`)
    ");
}

#[test]
fn a_relocated_field_that_leaves_its_section_is_refused() {
    let (old, mut new) = objects("one-function");
    let entry = {
        let file = object::read::elf::ElfFile64::<object::LittleEndian>::parse(&*new).unwrap();
        let size = file.section_by_name(".text.fixed").unwrap().size();
        let table = file.section_by_name_bytes(b".rela.text.fixed").unwrap();
        let (start, _) = table.file_range().unwrap();
        (start as usize, size - 2)
    };
    new[entry.0..entry.0 + 8].copy_from_slice(&entry.1.to_le_bytes());
    let error = compare(&old, &new).unwrap_err().to_string();
    let expected = "section `.rela.text.fixed` is damaged: a relocation points outside";
    assert_eq!(error, expected);
}

#[test]
fn objects_for_link_time_optimisation_are_refused() {
    let (old, new) = objects("link-time-optimised");
    let error = compare(&old, &new).unwrap_err().to_string();
    assert!(
        error.contains("made for link-time optimisation (it has .gnu.lto_"),
        "{error}"
    );
    let (old, _) = objects("one-function");
    let bitcode = b"BC\xc0\xde\x35\x14\0\0";
    let error = compare(&old, bitcode).unwrap_err().to_string();
    assert!(error.contains("it has LLVM bitcode"), "{error}");
}

#[test]
fn a_function_is_cut_out_of_a_shared_section() {
    assert_snapshot!(extract_case("shared-section"), @r"
    patch first,1 by __suture_u0_0
    .text.first: code
    __mcount_loc: 8
    .rela.text.first -> .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.first
    ");
}

#[test]
fn a_function_that_shares_unwind_data_is_refused() {
    assert_snapshot!(extract_case("shared-unwind"), @"`first` has no section of its own (`.sched.text`) and is bound to its neighbours by short jumps or shared unwind data; patch its callers instead");
}

#[test]
fn tables_are_filtered_by_the_functions_taken() {
    assert_snapshot!(extract_case("special-sections"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    __bug_table: 12
    .smp_locks: 4
    __ex_table: 12
    .altinstr_replacement: code
    .altinstructions: 12
    .rodata.suture.str: 6
    .rela.text.fixed -> .klp.sym.vmlinux.lock,2
    .rela__mcount_loc -> .text.fixed
    .rela__bug_table -> .rodata.suture.str .text.fixed
    .rela.smp_locks -> .text.fixed
    .rela__ex_table -> .text.fixed
    .rela.altinstr_replacement -> .klp.sym.vmlinux.hidden,0
    .rela.altinstructions -> .altinstr_replacement .text.fixed
    ");
}

#[test]
fn tables_that_stay_as_they_are_may_lead_to_patched_functions() {
    assert_snapshot!(extract_case("known-tables"), @r"
    patch fixed,1 by __suture_u0_0
    patch fixed_exit,1 by __suture_u0_1
    patch class_of,1 by __suture_u0_2
    .text.fixed: code
    .text.fixed_exit: code
    .text.class_of: code
    __mcount_loc: 24
    .rela.text.class_of -> .klp.sym.vmlinux.fair_sched_class,0
    .rela__mcount_loc -> .text.class_of .text.fixed .text.fixed_exit
    ");
}

#[test]
fn exception_entries_of_older_kernels_are_two_places_in_the_code() {
    let extracted = extract_case("short-exception-entries");
    assert!(extracted.contains("__ex_table: 8\n"), "{extracted}");
}

#[test]
fn a_changed_replacement_changes_its_function() {
    assert_snapshot!(extract_case("replacement-only"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .altinstr_replacement: code
    .altinstructions: 12
    .rela__mcount_loc -> .text.fixed
    .rela.altinstructions -> .altinstr_replacement .text.fixed
    ");
}

#[test]
fn unwind_entries_stay_parallel() {
    assert_snapshot!(extract_case("orc"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .orc_unwind_ip: 12
    .orc_unwind: 18
    .rela__mcount_loc -> .text.fixed
    .rela.orc_unwind_ip -> .text.fixed
    ");
}

#[test]
fn what_the_kernel_has_inlined_goes_along_and_is_not_redirected() {
    assert_snapshot!(extract_case("inlined-in-kernel"), @r"
    patch fixed,1 by __suture_u0_1
    .text.inlined_changed: code
    .text.fixed: code
    .text.inlined_same: code
    __mcount_loc: 24
    .rela.text.inlined_changed -> .klp.sym.vmlinux.hidden,0
    .rela.text.fixed -> .text.inlined_changed .text.inlined_same
    .rela.text.inlined_same -> .klp.sym.vmlinux.hidden,0
    .rela__mcount_loc -> .text.fixed .text.inlined_changed .text.inlined_same
    ");
}

#[test]
fn the_address_of_an_inlined_function_is_nowhere() {
    assert_snapshot!(extract_case("inlined-pointer"), @"`fixed` needs `inlined_missing`, which can't be taken from the running kernel: no such symbol");
}

#[test]
fn keys_of_vmlinux_become_livepatch_symbols() {
    assert_snapshot!(extract_case("static-key"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .rodata.suture.str: 4
    __mcount_loc: 8
    __jump_table: 16
    .rela.text.fixed -> .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.fixed
    .rela__jump_table -> .klp.sym.vmlinux.__tracepoint_hit,0 .text.fixed
    ");
}

#[test]
fn tracepoints_of_a_module_are_dropped() {
    assert_snapshot!(extract_case_of("static-key", "ext4"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    .rodata.suture.str: 4
    __mcount_loc: 8
    .rela.text.fixed -> .rodata.suture.str exported_log
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn other_keys_of_a_module_are_refused() {
    assert_snapshot!(extract_case_of("static-key-other", "ext4"), @"`keyed` uses the static key `hidden_key` of a module, which is not yet there when the patch's jump labels are prepared; use `static_key_enabled` in the fix");
}

#[test]
fn static_calls_of_vmlinux_are_kept() {
    assert_snapshot!(extract_case("static-call"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .static_call_sites: 8
    .rela.text.fixed -> .klp.sym.vmlinux.__SCT__tp_func_hit,0
    .rela__mcount_loc -> .text.fixed
    .rela.static_call_sites -> .klp.sym.vmlinux.__SCK__tp_func_hit,0 .text.fixed
    ");
}

#[test]
fn tracepoint_calls_of_a_module_go_the_long_way() {
    assert_snapshot!(extract_case_of("static-call", "ext4"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.ext4.__SCT__tp_func_hit,0
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn other_static_calls_of_a_module_go_the_long_way_too() {
    assert_snapshot!(extract_case_of("static-call-other", "ext4"), @r"
    patch keyed,1 by __suture_u0_0
    .text.keyed: code
    __mcount_loc: 8
    .rela.text.keyed -> .klp.sym.ext4.__SCT__hidden,0
    .rela__mcount_loc -> .text.keyed
    ");
}

#[test]
fn a_static_call_that_leads_nowhere_is_refused() {
    assert_snapshot!(extract_case_of("static-call-nowhere", "ext4"), @"`keyed` refers to something in `.text.keyed` in a way not understood here: the static call of `__SCK__hidden` does not go to its trampoline");
}

#[test]
fn symbols_of_a_third_module_name_the_patched_one() {
    assert_snapshot!(extract_case_of("third-module", "ext4"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .rela.text.fixed -> .klp.sym.ext4.hidden,0 .klp.sym.ext4.hook,0 .klp.sym.jbd2.journal_stop,0,ext4
    .rela__mcount_loc -> .text.fixed
    ");
}

#[test]
fn vmlinux_can_not_refer_to_a_module() {
    assert_snapshot!(extract_case("third-module"), @"`journal_stop` can't be named in a livepatch relocation of `vmlinux`: it belongs to `jbd2`");
}

#[test]
fn a_module_symbol_behind_a_paravirt_call_is_not_rewritten() {
    assert_snapshot!(extract_case_of("paravirt-neighbour", "ext4"), @r"
    patch fixed,1 by __suture_u0_0
    .text.fixed: code
    __mcount_loc: 8
    .parainstructions: 16
    .rela.text.fixed -> .klp.sym.jbd2.journal_stop,0,ext4 exported_op
    .rela__mcount_loc -> .text.fixed
    .rela.parainstructions -> .text.fixed
    ");
}

#[test]
fn a_module_symbol_in_rewritten_code_is_refused() {
    assert_snapshot!(extract_case_of("late-alternative", "ext4"), @"`fixed` needs `journal_stop` of a module in `.text.fixed`, which the kernel works on before that module's symbols are known; avoid the alternative in the fix");
}
