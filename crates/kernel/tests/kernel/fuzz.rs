//! No image, module or list makes a parser panic, or take memory without bound.

#[path = "../../../../fuzz/fuzz.rs"]
mod fuzzer;

use fuzzer::Target;
use suture_kernel::image::{decompress_module, vmlinux};
use suture_kernel::modinfo::Modinfo;
use suture_kernel::symvers::Symvers;
use suture_kernel::{build_id_of_notes, signature};

use crate::hostile::read_all;
use crate::{elf_file, images, kallsyms, kallsyms_image, modules, signatures};

/// Beyond a multiple of the input, for parsers that unpack nothing.
const MEMORY: usize = 24 << 20;
/// Decompressors have a window and an output of their own limits.
const UNPACKING: usize = 1 << 30;

#[test]
fn fuzz_images() {
    let payloads = images::payloads(&elf_file::vmlinux(b"constants"));
    let seeds = payloads.iter().map(|(_, payload)| images::bzimage(payload));
    Target {
        name: "image",
        seeds: seeds.collect(),
        memory: UNPACKING,
        run: &|input| {
            let _ = vmlinux(input);
        },
    }
    .fuzz();
}

#[test]
fn fuzz_packed_modules() {
    let payloads = images::payloads(&modules::module());
    Target {
        name: "packed-module",
        seeds: payloads.into_iter().map(|(_, payload)| payload).collect(),
        memory: UNPACKING,
        run: &|input| {
            let _ = decompress_module(input);
        },
    }
    .fuzz();
}

#[test]
fn fuzz_kallsyms() {
    let seeds = kallsyms_image::LAYOUTS;
    let seeds = seeds.map(|layout| kallsyms_image::vmlinux(layout, &kallsyms::symbols(layout)));
    Target {
        name: "kallsyms",
        seeds: seeds.to_vec(),
        memory: MEMORY,
        run: &read_all,
    }
    .fuzz();
}

#[test]
fn fuzz_modules() {
    Target {
        name: "module",
        seeds: vec![modules::module()],
        memory: MEMORY,
        run: &read_all,
    }
    .fuzz();
}

#[test]
fn fuzz_signatures() {
    let certificate = [signatures::certificate()];
    let signed = signature::verify(signatures::SIGNED, &certificate).ok();
    assert!(signed.is_some());
    Target {
        name: "signature",
        seeds: vec![signatures::SIGNED.to_vec()],
        memory: MEMORY,
        run: &|input| {
            // The envelope has fields that nobody signs and the kernel does not use; what counts
            // is that nothing else than the signed content ever passes.
            if let Ok(content) = signature::verify(input, &certificate) {
                assert_eq!(Some(content), signed);
            }
        },
    }
    .fuzz();
}

#[test]
fn fuzz_lists() {
    let symvers = b"0xd2b09ce5\t__kmalloc\tvmlinux\tEXPORT_SYMBOL\t\n\
        0x9c6cc5d1\tkvm_get_msr\tarch/x86/kvm/kvm\tEXPORT_SYMBOL_GPL\tKVM\n";
    let modinfo = b"license=GPL\0name=ext4\0vermagic=6.1.0 SMP\0depends=jbd2,mbcache\0";
    Target {
        name: "list",
        seeds: vec![symvers.to_vec(), modinfo.to_vec()],
        memory: MEMORY,
        run: &|input| {
            let _ = Symvers::parse(&String::from_utf8_lossy(input));
            let _ = Modinfo::parse(input);
            let _ = build_id_of_notes(input);
        },
    }
    .fuzz();
}
