//! Our own preprocessor against the compiler's, on the units of a real kernel; and a fix that needs
//! neither.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use suture_factory::{Log, Preprocessor, Progress, Silent, default_cache, with_workbench};

use crate::site::Site;

/// One of so many units is compared: some fifty, from all parts of the kernel.
const ONE_OF: usize = 251;

#[test]
fn our_preprocessor_sees_what_the_compiler_sees() -> anyhow::Result<()> {
    let site = Site::new()?;
    let release = &site.picked.release;
    let edited = site.edited(
        "include/net/phonet/pep.h",
        &[(
            "return (struct pep_sock *)sk;",
            "return (struct pep_sock *)READ_ONCE(sk);",
        )],
    )?;
    let fix = site.vendor.path("pep.diff");
    std::fs::write(&fix, edited)?;
    with_workbench(release, &default_cache(), &Log::none(), &Silent, |bench| {
        let compared = bench.compare_preprocessors(ONE_OF)?;
        assert_eq!(compared.other, Vec::<String>::new());
        // Some want a file that Kbuild makes when it first compiles them.
        assert!(compared.same > 9 * compared.left.len(), "{compared:?}");

        let fixes = [fix.clone()];
        let changed = |preprocessor| -> anyhow::Result<BTreeSet<String>> {
            let changed = bench.changed_includers(&fixes, preprocessor)?;
            Ok(changed.into_iter().collect())
        };
        let own = changed(Preprocessor::Own)?;
        assert_eq!(own, changed(Preprocessor::Compiler)?);
        assert!(own.contains("net/phonet/pep.o"), "{own:?}");
        assert!(own.len() < bench.reach(&fixes)?, "{own:?}");
        Ok(())
    })?
}

/// Reached by the drivers of sound cards, most of which see this structure.
const CONTROL: &str = "include/sound/control.h";
const MEMBER: &str =
    "\tvoid *private_data;\n\tvoid (*private_free)(struct snd_kcontrol *kcontrol);";

/// An edit of the structure, and of a function of the header that few units use.
fn control_with(site: &Site, member: &str, count: &str) -> anyhow::Result<PathBuf> {
    let edits = [
        (MEMBER, MEMBER.replace("void *private_data;", member)),
        (
            "array_index_nospec(ioff, kctl->count)",
            format!("array_index_nospec(ioff, {count})"),
        ),
    ];
    let edits = edits.each_ref().map(|(from, to)| (*from, to.as_str()));
    let fix = site.vendor.path("control.diff");
    std::fs::write(&fix, site.edited(CONTROL, &edits)?)?;
    Ok(fix)
}

#[test]
fn a_second_name_of_a_member_changes_units_that_use_it() -> anyhow::Result<()> {
    let site = Site::new()?;
    let release = &site.picked.release;
    with_workbench(release, &default_cache(), &Log::none(), &Silent, |bench| {
        let changed = |member: &str, count: &str| -> anyhow::Result<Vec<String>> {
            let fixes = [control_with(&site, member, count)?];
            Ok(bench.changed_includers(&fixes, Preprocessor::Own)?)
        };
        let union = "union { void *private_data; void *private_second; };";
        let uses = "kctl->private_second ? kctl->count : 0";
        let units = changed(union, uses)?;
        assert!(
            units.contains(&"sound/core/control.o".to_owned()),
            "{units:?}"
        );
        assert!(units.len() < 50, "{units:?}");
        let unused = changed(union, "kctl->count")?;
        assert_eq!(unused, Vec::<String>::new());

        let refused = |member: &str| changed(member, uses).unwrap_err().to_string();
        let other_type = refused("union { void *private_data; long private_second; };");
        assert!(other_type.contains("`struct snd_kcontrol`"), "{other_type}");
        assert!(
            other_type.contains("`private_second` is new"),
            "{other_type}"
        );
        let more = refused("void *private_data; void *private_second;");
        assert!(more.contains("its size goes from"), "{more}");
        Ok(())
    })?
}

/// Keeps what was begun.
#[derive(Default)]
struct Begun(Mutex<Vec<String>>);

impl Progress for Begun {
    fn begin(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }

    fn end(&self, _what: &str, _took: Duration) {}
}

/// Thousands of units include the header, and none is preprocessed: the unit that the fix edits
/// tells enough.
#[test]
fn a_layout_that_can_only_be_refused_is_refused_at_once() -> anyhow::Result<()> {
    let site = Site::new()?;
    let header = site.edited(
        "include/net/sock.h",
        &[("sk_lingertime;", "sk_lingertime, sk_more;")],
    )?;
    let unit = site.edited(
        "net/core/sock.c",
        &[(
            "sk_init_common(sk);",
            "sk_init_common(sk);\n\tsk->sk_more = 1;",
        )],
    )?;
    let fix = site.vendor.path("sock.diff");
    std::fs::write(&fix, header + &unit)?;
    let (release, begun) = (&site.picked.release, Begun::default());
    let tried = with_workbench(release, &default_cache(), &Log::none(), &begun, |bench| {
        bench.try_fixes("1.1".parse().unwrap(), &[fix])
    })?;
    let refused = tried.map(|_| ()).unwrap_err().to_string();
    let wanted = "`struct sock`, as `net/core/sock.c` sees it, is laid out anew (`sk_more` is new";
    assert!(refused.contains(wanted), "{refused}");
    let begun = begun.0.into_inner().unwrap();
    assert!(
        begun
            .iter()
            .any(|what| what.starts_with("compiling net/core/sock.c"))
    );
    assert!(
        !begun.iter().any(|what| what.contains("preprocessing")),
        "{begun:?}"
    );
    Ok(())
}
