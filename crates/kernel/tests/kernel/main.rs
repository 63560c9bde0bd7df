//! The crate from outside, on small images made here.

mod elf_file;
mod fuzz;
mod hostile;
mod images;
mod kallsyms;
mod kallsyms_image;
mod modules;
mod signatures;
mod vmlinux;
