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
    /// An edit of the (first) file that does the same, where the fix stands on what kernels
    /// without it lack: a text that is there once, and what takes its place.
    pub edit: Option<(&'static str, &'static str)>,
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
    edit: None,
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
    edit: None,
};

/// A process makes a whiteout although Landlock denies it.
pub const LANDLOCK: KnownFix = KnownFix {
    cve: "CVE-2026-89560",
    hole: "a rename makes a whiteout that Landlock denies",
    record: include_str!("../../../../advisories/CVE-2026-89560.json"),
    package: "linux-source-6.1",
    files: &["security/landlock/fs.c"],
    fixed_in: "6.1.190-1",
    probe: include_str!("../../../../probes/cve-2026-89560.c"),
    modules: &[],
    uid: 1000,
    unrated: false,
    edit: None,
};

/// Root of a user namespace changes a tunnel that ends in the first network namespace. The fix
/// calls a function that kernels before it do not have, so here the check is made in place.
pub const VXLAN: KnownFix = KnownFix {
    cve: "CVE-2026-68432",
    hole: "another user's namespace changes a VXLAN tunnel",
    record: include_str!("../../../../advisories/CVE-2026-68432.json"),
    package: "linux-source-6.1",
    files: &["drivers/net/vxlan/vxlan_core.c"],
    fixed_in: "6.1.187-1",
    probe: include_str!("../../../../probes/cve-2026-68432.c"),
    modules: &["vxlan"],
    uid: 0,
    unrated: false,
    edit: Some((
        "err = vxlan_nl2conf(tb, data, dev, &conf, true, extack);",
        "if (!ns_capable(vxlan->net->user_ns, CAP_NET_ADMIN))\n\
         \t\treturn -EPERM;\n\
         \terr = vxlan_nl2conf(tb, data, dev, &conf, true, extack);",
    )),
};

/// A heap address is told to every client of the sequencer.
pub const SEQUENCER: KnownFix = KnownFix {
    cve: "CVE-2026-74278",
    hole: "the ALSA sequencer tells a kernel address",
    record: include_str!("../../../../advisories/CVE-2026-74278.json"),
    package: "linux-source-6.1",
    files: &[
        "sound/core/seq/seq_clientmgr.c",
        "sound/core/seq/seq_fifo.h",
    ],
    fixed_in: "6.1.192-1",
    probe: include_str!("../../../../probes/cve-2026-74278.c"),
    modules: &["snd_seq"],
    uid: 1000,
    unrated: true,
    edit: None,
};

/// All of them.
pub const KNOWN_FIXES: [KnownFix; 5] = [SECCOMP, LANDLOCK, VXLAN, SEQUENCER, PHONET];
