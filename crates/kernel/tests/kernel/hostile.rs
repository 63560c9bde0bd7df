//! No input makes a parser panic or run without end.

use proptest::collection::vec;
use proptest::prelude::*;
use suture_kernel::image::{decompress_module, vmlinux};
use suture_kernel::kallsyms::{Kallsyms, KallsymsError};
use suture_kernel::modinfo::Modinfo;
use suture_kernel::module::ModuleSymbols;
use suture_kernel::symvers::Symvers;
use suture_kernel::vmlinux::Vmlinux;
use suture_kernel::{Architecture, build_id_of_notes, signature};

use crate::{elf_file, images, kallsyms, kallsyms_image, modules, signatures};

/// Overwrites bytes at fractions of the whole, then cuts the end off.
fn damage(mut bytes: Vec<u8>, changes: &[(f64, u8)], keep: f64) -> Vec<u8> {
    let length = bytes.len() as f64;
    for (place, byte) in changes {
        bytes[(place * length) as usize] = *byte;
    }
    bytes.truncate((keep * length) as usize);
    bytes
}

fn damages() -> impl Strategy<Value = (Vec<(f64, u8)>, f64)> {
    let keep = prop_oneof![3 => Just(1.0), 1 => 0.0..1.0];
    (vec((0.0..1.0, any::<u8>()), 0..8), keep)
}

pub fn read_all(file: &[u8]) {
    if let Ok(vmlinux) = Vmlinux::parse(file) {
        let _ = vmlinux.kernel_build(Architecture::Amd64);
        let _ = vmlinux.bytes_at(elf_file::TEXT, 100);
        let _ = Kallsyms::recover(&vmlinux);
    }
    let _ = Modinfo::of_module(file);
    if let Ok(module) = ModuleSymbols::parse(file) {
        for section in module.sections() {
            let _ = module.relocations(section.index);
        }
        for symbol in module.symbols() {
            let _ = (module.bytes_of(symbol), module.sympos(symbol.index));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_images_are_errors((changes, keep) in damages(), kind in 0_usize..6) {
        let payloads = images::payloads(&elf_file::vmlinux(b"constants"));
        let image = images::bzimage(&payloads[kind].1);
        let _ = vmlinux(&damage(image, &changes, keep));
        let _ = decompress_module(&damage(payloads[kind].1.clone(), &changes, keep));
    }

    #[test]
    fn damaged_kallsyms_are_errors((changes, keep) in damages(), layout in 0_usize..5) {
        let layout = kallsyms_image::LAYOUTS[layout];
        let file = kallsyms_image::vmlinux(layout, &kallsyms::symbols(layout));
        read_all(&damage(file, &changes, keep));
    }

    #[test]
    fn damaged_modules_are_errors((changes, keep) in damages()) {
        read_all(&damage(modules::module(), &changes, keep));
    }

    #[test]
    fn a_damaged_signature_never_lets_other_content_pass((changes, keep) in damages()) {
        let module = damage(signatures::SIGNED.to_vec(), &changes, keep);
        let certificate = [signatures::certificate()];
        let signed = signature::verify(signatures::SIGNED, &certificate).unwrap();
        if let Ok(content) = signature::verify(&module, &certificate) {
            prop_assert_eq!(content, signed);
        }
    }

    #[test]
    fn any_bytes_are_errors(bytes in vec(any::<u8>(), 0..512)) {
        let _ = vmlinux(&bytes);
        let _ = decompress_module(&bytes);
        let _ = build_id_of_notes(&bytes);
        let _ = Modinfo::parse(&bytes);
        let _ = Symvers::parse(&String::from_utf8_lossy(&bytes));
        read_all(&bytes);
    }
}

/// Every fourth byte of such data looks like the number of symbols, and the names behind it never
/// end: without a limit, the search would take hours.
#[test]
fn a_search_that_could_run_for_hours_is_given_up() {
    let mut rodata = [3, 3, 3, 0].repeat(1 << 20);
    rodata.extend(kallsyms_image::tokens());
    let file = elf_file::vmlinux(&rodata);
    let error = Kallsyms::recover(&Vmlinux::parse(&file).unwrap()).unwrap_err();
    assert_eq!(error, KallsymsError::TooMuchWork);
}
