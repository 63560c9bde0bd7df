//! Why the kernel calls itself tainted: `/proc/sys/kernel/tainted`, a number whose bits are
//! reasons (source: the kernel's Documentation/admin-guide/tainted-kernels.rst).

use std::io;

use crate::files;
use crate::paths::Paths;

/// An out-of-tree module was loaded (O).
const OUT_OF_TREE_MODULE: u64 = 1 << 12;
/// An unsigned module was loaded (E); so is one whose certificate the kernel does not know.
const UNSIGNED_MODULE: u64 = 1 << 13;
/// The kernel was live patched (K).
const LIVE_PATCH: u64 = 1 << 15;
/// What every live patch brings with it.
const OURS: u64 = OUT_OF_TREE_MODULE | UNSIGNED_MODULE | LIVE_PATCH;

/// Reads the bits; none where the kernel does not tell.
pub fn read(paths: &Paths) -> io::Result<Option<u64>> {
    let text = files::if_exists(files::read_text(&paths.proc("sys/kernel/tainted"), 64))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// Whether `after` has a reason that `before` lacks and that live patching does not bring.
pub fn is_worse(before: u64, after: u64) -> bool {
    after & !before & !OURS != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    #[test]
    fn what_live_patching_brings_is_no_news() {
        const WARNING: u64 = 1 << 9;
        assert!(!is_worse(0, OURS));
        assert!(is_worse(OURS, OURS | WARNING));
        assert!(!is_worse(WARNING, WARNING | OURS));
        assert!(!is_worse(WARNING, 0));
    }

    #[test]
    fn the_kernel_tells_a_number() {
        let tree = FakeTree::new();
        assert_eq!(read(&tree.paths()).unwrap(), None);
        tree.write("proc/sys/kernel/tainted", b"45568\n");
        assert_eq!(read(&tree.paths()).unwrap(), Some(45_568));
    }
}
