//! How the agent stays small while it has nothing to do for an hour.

use std::fs;
use std::ops::Range;

/// Keeps the kernel from rounding the memory of a small process up to pages of 2 MB.
pub fn take_small_pages() {
    // SAFETY: prctl(2) with numbers alone. Where the kernel has no such pages nothing is lost.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Returns freed memory to the system: a check-in needs some megabytes for a moment (metadata,
/// certificates, package lists), which the C library would keep for the next time. The program's
/// code goes as well; what is needed of it comes back from the page cache.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number and may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for code in maps.lines().filter_map(code) {
        // SAFETY: a private mapping of a file that was never written to: the kernel reads the same
        // bytes again when they are touched (madvise(2), MADV_DONTNEED).
        unsafe {
            libc::madvise(
                code.start as *mut libc::c_void,
                code.end - code.start,
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// The addresses of a line of proc_pid_maps(5) that maps code of a file: `r-xp`, which nobody can
/// have written to, and an inode.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let private_code = fields.next()? == "r-xp";
    let of_file = fields.nth(2)? != "0";
    let number = |text| usize::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    (private_code && of_file && !range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_files_is_given_back() {
        let range = |line| code(line).map(|it| (it.start, it.end));
        assert_eq!(
            range("7f0000001000-7f0000003000 r-xp 00001000 fe:00 4711   /usr/bin/livepatch"),
            Some((0x7f00_0000_1000, 0x7f00_0000_3000))
        );
        for other in [
            "7f0000001000-7f0000003000 rw-p 00001000 fe:00 4711   /usr/bin/livepatch",
            "7f0000001000-7f0000003000 r--p 00001000 fe:00 4711   /usr/bin/livepatch",
            "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0      [vdso]",
            "nonsense",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on_afterwards() {
        let before = vec![7_u8; 1 << 20];
        give_memory_back();
        assert!(before.iter().all(|byte| *byte == 7));
    }
}
