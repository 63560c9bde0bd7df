//! Whether an earlier set of fixes may follow a withdrawn version.
//!
//! Nothing is ever taken out of a running kernel. The way back from a bad version is a new one
//! with the fixes of an earlier one: it replaces the bad one atomically. The kernel then runs no
//! callback of the replaced patch and knows nothing of what that keeps about data (source: the
//! kernel's Documentation/livepatch/cumulative-patches.rst and system-state.rst). So a version
//! that changed more than code can only be followed by one whose author has thought of it.

use suture_advisory::PatchVersion;
use suture_kernel::KernelRelease;
use suture_kernel::module::{ModuleSymbol, ModuleSymbols, SymbolPlace};
use suture_protocol::Manifest;
use thiserror::Error;

use crate::declared::{CallbackKind, PATCH_SYMBOL};

/// Calls by which a live patch keeps something beyond its code (`include/linux/livepatch.h`).
const KEEPS_STATE: [&str; 7] = [
    "klp_get_state",
    "klp_get_prev_state",
    "klp_shadow_get",
    "klp_shadow_alloc",
    "klp_shadow_get_or_alloc",
    "klp_shadow_free",
    "klp_shadow_free_all",
];

/// Why there is no such way back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoWayBack {
    #[error("{new} does not come after {withdrawn}: machines that have it would not take it")]
    NotLater {
        new: PatchVersion,
        withdrawn: PatchVersion,
    },
    #[error("the archive is for kernel {archive}, patch {version} is for {withdrawn}")]
    OtherKernel {
        version: PatchVersion,
        archive: KernelRelease,
        withdrawn: KernelRelease,
    },
    #[error("the archive is that of {0} itself; take the one of an earlier version")]
    Itself(PatchVersion),
    #[error(
        "patch {version} has {}: it did or keeps more than an earlier set of fixes knows; write a \
         fix that takes that over, and build it as a new version",
        what.join(", ")
    )]
    KeepsState {
        version: PatchVersion,
        what: Vec<String>,
    },
    #[error("the module of patch {version} is unreadable: {why}")]
    Unreadable { version: PatchVersion, why: String },
}

/// Checks that the fixes of `earlier` (an archive's version and release) may be built as `new`,
/// to follow the withdrawn version with this manifest and module.
pub fn check_way_back(
    new: PatchVersion,
    earlier: (PatchVersion, &KernelRelease),
    withdrawn: &Manifest,
    module: &[u8],
) -> Result<(), NoWayBack> {
    let version = withdrawn.version;
    if new <= version {
        return Err(NoWayBack::NotLater {
            new,
            withdrawn: version,
        });
    }
    let (earlier, release) = earlier;
    if earlier == version {
        return Err(NoWayBack::Itself(version));
    }
    if *release != withdrawn.kernel.release {
        return Err(NoWayBack::OtherKernel {
            version,
            archive: release.clone(),
            withdrawn: withdrawn.kernel.release.clone(),
        });
    }
    let module = ModuleSymbols::parse(module).map_err(|error| NoWayBack::Unreadable {
        version,
        why: error.to_string(),
    })?;
    let what: Vec<String> = module.symbols().iter().filter_map(beyond_code).collect();
    if what.is_empty() {
        Ok(())
    } else {
        Err(NoWayBack::KeepsState { version, what })
    }
}

/// What a symbol tells of a patch that changes more than code.
fn beyond_code(symbol: &ModuleSymbol<'_>) -> Option<String> {
    let name = symbol.name;
    if symbol.place == SymbolPlace::Undefined {
        return KEEPS_STATE
            .contains(&name)
            .then(|| format!("a call of `{name}`"));
    }
    if name == PATCH_SYMBOL {
        return Some("a declared state".to_owned());
    }
    let kind = CallbackKind::of_symbol(name)?;
    Some(format!("a callback `{}`", kind.field()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const RELEASE: &str = "6.1.0-53-amd64";

    fn manifest(version: &str) -> Manifest {
        let hash = serde_json::json!({ "sha256": "00", "length": 1 });
        let text = serde_json::json!({
            "schema": Manifest::SCHEMA,
            "version": version,
            "kernel": {
                "release": RELEASE,
                "architecture": "amd64",
                "build_id": "ab".repeat(20),
            },
            "module": { "name": "m", "unsigned_sha256": "00", "sha256": "00", "length": 1 },
            "fixes": [],
            "objects": [],
            "build": {
                "compiler": "gcc", "source_package": "linux-source-6.1 6.1.187-1",
                "inputs": [], "suture": "0.1.0",
            },
            "source": hash,
            "created": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(text).unwrap()
    }

    fn compiled(source: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("m.c"), folder.path().join("m.o"));
        std::fs::write(&input, source).unwrap();
        let gcc = Command::new("gcc")
            .args(["-c", "-O2", "-o"])
            .args([&output, &input])
            .status();
        assert!(gcc.unwrap().success());
        std::fs::read(output).unwrap()
    }

    fn check(new: &str, earlier: &str, module: &[u8]) -> Result<(), NoWayBack> {
        let release = RELEASE.parse().unwrap();
        check_way_back(
            new.parse().unwrap(),
            (earlier.parse().unwrap(), &release),
            &manifest("104.1"),
            module,
        )
    }

    #[test]
    fn code_alone_may_be_followed_by_earlier_fixes_under_a_later_number() {
        let module = compiled("int patched(void) { return 1; }");
        assert_eq!(check("105.1", "103.2", &module), Ok(()));
        assert!(matches!(
            check("104.1", "103.2", &module),
            Err(NoWayBack::NotLater { .. })
        ));
        assert!(matches!(
            check("105.1", "104.1", &module),
            Err(NoWayBack::Itself(_))
        ));
        assert!(matches!(
            check("105.1", "103.2", b"no module"),
            Err(NoWayBack::Unreadable { .. })
        ));
    }

    #[test]
    fn a_version_that_keeps_state_is_not_followed_blindly() {
        let module = compiled(
            "void *klp_shadow_alloc(void *, unsigned long);\n\
             void *patched(void *of) { return klp_shadow_alloc(of, 7); }",
        );
        let error = check("105.1", "103.2", &module).unwrap_err();
        assert!(error.to_string().contains("klp_shadow_alloc"), "{error}");
        let module = compiled(
            "void __suture_post_patch_kmod_x(void *of) { }\n\
             void *const suture_patch = 0;",
        );
        let error = check("105.1", "103.2", &module).unwrap_err();
        for words in ["a callback `post_patch`", "a declared state"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
