//! Leaves symbols and debug information of programs at home: less to unpack for the guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::VmError;

/// The file's bytes, without symbols if it is an ELF program and the host has `strip`. A
/// relocatable object, such as a kernel module, keeps them: it doesn't work without.
pub fn read_stripped(path: &Path, folder: &Path) -> Result<Vec<u8>, VmError> {
    let bytes = fs::read(path).map_err(VmError::file("read", path))?;
    if !is_program(&bytes) {
        return Ok(bytes);
    }
    let stripped = folder.join("stripped");
    let status = Command::new("strip")
        .arg("--strip-all")
        .arg("-o")
        .arg(&stripped)
        .arg(path)
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => {
            fs::read(&stripped).map_err(VmError::file("read", &stripped))
        }
        // Stripping only saves time.
        Ok(_) | Err(_) => Ok(bytes),
    }
}

/// ELF of the types ET_EXEC and ET_DYN (gABI, "ELF Header"; x86 is little-endian).
fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF") && matches!(bytes.get(16..18), Some([2 | 3, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_scripts_stay_as_they_are() {
        let elf = |kind: u8| [b"\x7fELF".as_slice(), &[0; 12], &[kind, 0]].concat();
        assert!(is_program(&elf(2)));
        assert!(is_program(&elf(3)));
        assert!(!is_program(&elf(1)));
        assert!(!is_program(b"#!/bin/sh\n"));
        assert!(!is_program(b"\x7fELF"));
    }
}
