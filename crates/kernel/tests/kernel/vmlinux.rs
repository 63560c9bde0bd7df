//! What a vmlinux says about itself.

use suture_kernel::vmlinux::{Vmlinux, VmlinuxError};
use suture_kernel::{Architecture, NotesError, build_id_of_notes};

use crate::elf_file::{self, BUILD_ID, TEXT};

const BANNERS: &[u8] = b"Linux version %s\0\
    Linux version 6.1.0-53-amd64 (a@b) (gcc-12) # SMP\n\0\
    Linux version 6.1.0-53-amd64 (a@b) (gcc-12) #1 SMP Debian 6.1.187-1\n\0other text\0";

#[test]
fn a_kernel_build_is_release_architecture_and_build_id() {
    let file = elf_file::vmlinux(BANNERS);
    let vmlinux = Vmlinux::parse(&file).unwrap();
    let banner = "Linux version 6.1.0-53-amd64 (a@b) (gcc-12) #1 SMP Debian 6.1.187-1";
    assert_eq!(vmlinux.banner().unwrap(), banner);
    let build = vmlinux.kernel_build(Architecture::Amd64).unwrap();
    assert_eq!(
        build.to_string(),
        format!("6.1.0-53-amd64 (amd64, build id {})", hex::encode(BUILD_ID))
    );
}

#[test]
fn the_running_kernels_notes_tell_its_build_id() {
    let notes = elf_file::build_id_notes();
    assert_eq!(
        build_id_of_notes(&notes).unwrap().as_str(),
        hex::encode(BUILD_ID)
    );
    let first = &notes[..24];
    assert!(matches!(
        build_id_of_notes(first),
        Err(NotesError::NoBuildId)
    ));
    assert!(matches!(
        build_id_of_notes(&notes[..30]),
        Err(NotesError::Malformed(_))
    ));
}

#[test]
fn bytes_are_found_by_address_within_one_section() {
    let file = elf_file::vmlinux(b"constant");
    let vmlinux = Vmlinux::parse(&file).unwrap();
    assert_eq!(
        vmlinux.bytes_at(TEXT + 0x10, 4),
        Some([0x10, 0x11, 0x12, 0x13].as_slice())
    );
    assert_eq!(vmlinux.bytes_at(TEXT + 4090, 6).map(<[u8]>::len), Some(6));
    assert_eq!(vmlinux.bytes_at(TEXT + 4090, 7), None);
    assert_eq!(vmlinux.bytes_at(TEXT, usize::MAX), None);
    assert_eq!(vmlinux.bytes_at(TEXT - 1, 1), None);
    let bss = vmlinux.section(".bss").unwrap().address;
    assert_eq!(vmlinux.bytes_at(bss, 1), None);
}

#[test]
fn a_kernel_without_banner_is_refused() {
    let file = elf_file::vmlinux(b"Linux version %s\0");
    let error = Vmlinux::parse(&file)
        .unwrap()
        .kernel_build(Architecture::Amd64)
        .unwrap_err();
    assert!(matches!(error, VmlinuxError::NoBanner), "{error}");
}
