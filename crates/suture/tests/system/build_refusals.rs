//! Fixes that don't become a live patch, and what the author is told.

use suture::scenario::CommandFailed;

use crate::site::Site;

/// A kernel record that its authors rate Medium.
const MEDIUM: &str = include_str!("../../../../advisories/CVE-2024-0639.json");

fn refusal(site: &Site, fix: &str, advisory: &str) -> String {
    let built = site.build("1.1", "refused", &["--fix", fix, "--advisory", advisory]);
    let CommandFailed { stderr, .. } = built.expect_err("no live patch may come of this");
    assert!(
        !site.vendor.path("refused").exists(),
        "nothing is left behind"
    );
    stderr
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no `{word}` in:\n{message}");
    }
}

#[test]
fn what_cannot_or_should_not_be_patched_is_refused_with_the_reason() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.vendor.write("medium.json", MEDIUM.as_bytes())?;
    let cmdline = "fs/proc/cmdline.c";

    let call = "proc_create_single(\"cmdline\", 0, ";
    site.edit_source(
        cmdline,
        call,
        "proc_create_single(\"cmdline\", 0444, ",
        "init.diff",
    )?;
    let message = refusal(&site, "init.diff", "seccomp.json");
    assert_says(
        &message,
        &["proc_cmdline_init", ".init.text", "freed after boot"],
    );

    let message = refusal(&site, "init.diff", "medium.json");
    assert_says(
        &message,
        &["CVE-2024-0639", "Medium", "regular kernel update"],
    );
    let message = refusal(&site, "init.diff", "phonet.json");
    assert_says(
        &message,
        &["CVE-2026-90327", "no one has rated", "--severity"],
    );

    site.edit_source(
        "fs/file.c",
        "__read_mostly = 1024*1024;",
        "__read_mostly = 1024*512;",
        "data.diff",
    )?;
    let message = refusal(&site, "data.diff", "seccomp.json");
    assert_says(&message, &["sysctl_nr_open", "initial value"]);

    site.edit_source(
        cmdline,
        "#include <linux/init.h>",
        "/* why */\n#include <linux/init.h>",
        "same.diff",
    )?;
    let message = refusal(&site, "same.diff", "seccomp.json");
    assert_says(
        &message,
        &["fs/proc/cmdline.c is the same with and without the fix"],
    );

    site.edit_source(
        "arch/x86/kernel/verify_cpu.S",
        "cli",
        "cld",
        "assembler.diff",
    )
    .or_else(|_| {
        site.edit_source(
            "arch/x86/entry/entry_64.S",
            "swapgs",
            "nop",
            "assembler.diff",
        )
    })?;
    assert_says(
        &refusal(&site, "assembler.diff", "seccomp.json"),
        &["assembler"],
    );

    site.edit_source(
        "include/net/phonet/pep.h",
        "struct pep_sock {",
        "struct pep_sock {\n\tint added;",
        "layout.diff",
    )?;
    assert_says(
        &refusal(&site, "layout.diff", "seccomp.json"),
        &["struct pep_sock", "laid out anew", "shadow variable"],
    );

    let include = "#include <net/phonet/phonet.h>\n";
    let hidden = format!("#define pn_skb_send other\n{include}#undef pn_skb_send\n");
    let edits = [
        (include, hidden.as_str()),
        ("int pn_skb_send(", "long pn_skb_send("),
    ];
    let called = site.edited("net/phonet/af_phonet.c", &edits)?;
    site.vendor.write("called.diff", called.as_bytes())?;
    assert_says(
        &refusal(&site, "called.diff", "seccomp.json"),
        &[
            "exported `pn_skb_send`",
            "gives back a number of 8 bytes",
            "another name",
        ],
    );

    site.vendor.write("foreign.diff", b"--- a/fs/proc/cmdline.c\n+++ b/fs/proc/cmdline.c\n@@ -1,2 +1,2 @@\n not in\n-this file\n+at all\n")?;
    assert_says(
        &refusal(&site, "foreign.diff", "seccomp.json"),
        &["does not apply"],
    );
    Ok(())
}
