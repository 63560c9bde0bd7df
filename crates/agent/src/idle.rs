//! What the agent gives back before it has nothing to do for an hour.

/// Returns freed memory to the system: a check-in needs some megabytes for a moment (metadata,
/// certificates, package lists), which the C library would keep for the next time.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number and may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
