//! Our own preprocessor against the compiler's, on the units of a real kernel.

use std::collections::BTreeSet;

use suture_factory::{Log, Preprocessor, Silent, default_cache, with_workbench};

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
