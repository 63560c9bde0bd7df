//! How the agent stays small while it has nothing to do for an hour.

/// Keeps the kernel from rounding the memory of a small process up to pages of 2 MB.
pub fn take_small_pages() {
    // SAFETY: prctl(2) with numbers alone. Where the kernel has no such pages nothing is lost.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Returns freed memory to the system: a check-in needs some megabytes for a moment (metadata,
/// certificates, package lists), which the C library would keep for the next time.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number and may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
