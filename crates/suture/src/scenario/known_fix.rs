//! Real fixes that can be shown: each has a probe that tells whether its hole is open.

/// A fix that Debian shipped, and how to see it.
#[derive(Debug, Clone, Copy)]
pub struct KnownFix {
    pub cve: &'static str,
    /// In a few words.
    pub hole: &'static str,
    /// The CVE record as published.
    pub record: &'static str,
    /// Source package.
    pub package: &'static str,
    /// Files of the fix in that source.
    pub files: &'static [&'static str],
    /// First version of the package that has the fix.
    pub fixed_in: &'static str,
    /// C source of the probe.
    pub probe: &'static str,
    /// Modules that the probe needs.
    pub modules: &'static [&'static str],
    /// User that runs the probe.
    pub uid: u32,
    /// Whether the record has no rating, so that a vendor has to rate it.
    pub unrated: bool,
}

/// An unprivileged user escapes a seccomp filter that is set while a tracer holds the thread.
pub const SECCOMP: KnownFix = KnownFix {
    cve: "CVE-2026-89603",
    hole: "a seccomp filter is bypassed after a ptrace stop",
    record: include_str!("../../../../advisories/CVE-2026-89603.json"),
    package: "linux-source-6.1",
    files: &["kernel/entry/common.c"],
    fixed_in: "6.1.190-1",
    probe: include_str!("../../../../probes/cve-2026-89603.c"),
    modules: &[],
    uid: 1000,
    unrated: false,
};

/// A system call writes behind the caller's buffer; the code is in a loadable module.
pub const PHONET: KnownFix = KnownFix {
    cve: "CVE-2026-90327",
    hole: "getsockopt of a phonet pipe writes behind the caller's buffer",
    record: include_str!("../../../../advisories/CVE-2026-90327.json"),
    package: "linux-source-6.1",
    files: &["net/phonet/pep.c"],
    fixed_in: "6.1.190-1",
    probe: include_str!("../../../../probes/cve-2026-90327.c"),
    modules: &["phonet", "pn_pep"],
    uid: 0,
    unrated: true,
};
