//! The last look at a patch before the kernel gets it: is it for this very kernel?
//!
//! The repository's metadata has proven who made the files. This proves that they belong
//! together and to the kernel that runs, so that a mix-up at the vendor ends here.

use sha2::{Digest, Sha256};
use suture_advisory::PatchVersion;
use suture_kernel::modinfo::{Modinfo, ModinfoError};
use suture_kernel::{KernelBuild, KernelRelease};
use suture_protocol::{Manifest, built_for};
use thiserror::Error;

/// Why a patch is not handed to the kernel.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error("the manifest has format {0}, this agent knows {known}", known = Manifest::SCHEMA)]
    Schema(u32),
    #[error("the manifest is for version {found}, wanted was {wanted}")]
    WrongVersion {
        found: PatchVersion,
        wanted: PatchVersion,
    },
    #[error("patch {version} was built for kernel {built_for}, this machine runs {running}")]
    WrongKernel {
        version: PatchVersion,
        built_for: KernelBuild,
        running: KernelBuild,
    },
    #[error("the module is not the one of the manifest: {what} differs")]
    NotOfManifest { what: &'static str },
    #[error("cannot read what the module says about itself")]
    Modinfo(#[from] ModinfoError),
    #[error("the module is not a live patch: it has no `livepatch=Y`")]
    NotALivepatch,
    #[error("the module is named `{found}`, expected `{expected}`")]
    WrongName { found: String, expected: String },
    #[error("the module does not name the kernel build that it was made for")]
    NamesNoBuild,
    #[error("the module was compiled for kernel {found}, this machine runs {running}")]
    WrongVermagic {
        found: String,
        running: KernelRelease,
    },
}

/// Checks manifest and module against each other and against the running kernel.
pub fn check(
    manifest: &Manifest,
    module: &[u8],
    wanted: PatchVersion,
    running: &KernelBuild,
) -> Result<(), CheckError> {
    check_manifest(manifest, wanted, running)?;
    check_file(manifest, module)?;
    check_modinfo(&Modinfo::of_module(module)?, wanted, running)
}

/// Checks what the manifest alone tells; nothing needs to be downloaded for a wrong one.
pub fn check_manifest(
    manifest: &Manifest,
    wanted: PatchVersion,
    running: &KernelBuild,
) -> Result<(), CheckError> {
    if manifest.schema != Manifest::SCHEMA {
        return Err(CheckError::Schema(manifest.schema));
    }
    if manifest.version != wanted {
        return Err(CheckError::WrongVersion {
            found: manifest.version,
            wanted,
        });
    }
    if manifest.kernel != *running {
        let (built_for, running) = (manifest.kernel.clone(), running.clone());
        return Err(CheckError::WrongKernel {
            version: wanted,
            built_for,
            running,
        });
    }
    Ok(())
}

fn check_file(manifest: &Manifest, module: &[u8]) -> Result<(), CheckError> {
    let expected = &manifest.module;
    if expected.name != manifest.version.module_name() {
        return Err(CheckError::NotOfManifest { what: "name" });
    }
    if expected.file.length != module.len() as u64 {
        return Err(CheckError::NotOfManifest { what: "length" });
    }
    if expected.file.sha256 != hex::encode(Sha256::digest(module)) {
        return Err(CheckError::NotOfManifest { what: "SHA-256" });
    }
    Ok(())
}

fn check_modinfo(
    modinfo: &Modinfo,
    wanted: PatchVersion,
    running: &KernelBuild,
) -> Result<(), CheckError> {
    if !modinfo.is_livepatch() {
        return Err(CheckError::NotALivepatch);
    }
    let expected = wanted.module_name();
    let found = modinfo.name()?;
    if found.as_str() != expected {
        return Err(CheckError::WrongName {
            found: found.to_string(),
            expected,
        });
    }
    // The first word is the release (kernel: VERMAGIC_STRING).
    let vermagic = modinfo.vermagic().unwrap_or_default();
    let release = vermagic.split_whitespace().next().unwrap_or_default();
    if release != running.release.as_str() {
        let found = release.chars().take(80).collect();
        return Err(CheckError::WrongVermagic {
            found,
            running: running.release.clone(),
        });
    }
    match built_for(modinfo) {
        Some(built_for) if built_for == *running => Ok(()),
        Some(built_for) => Err(CheckError::WrongKernel {
            version: wanted,
            built_for,
            running: running.clone(),
        }),
        None => Err(CheckError::NamesNoBuild),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, version};

    fn modinfo(text: &str) -> Modinfo {
        Modinfo::parse(text.replace('\n', "\0").as_bytes()).unwrap()
    }

    fn check_text(text: &str) -> String {
        match check_modinfo(&modinfo(text), version("104.1"), &FakeTree::kernel()) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    const VERMAGIC: &str = "vermagic=6.1.0-53-amd64 SMP preempt mod_unload modversions";

    #[test]
    fn a_module_names_itself_and_its_kernel() {
        let build_id = FakeTree::kernel().build_id;
        let good = format!(
            "livepatch=Y\nname=suture_104_1\n{VERMAGIC}\nsuture_release=6.1.0-53-amd64\n\
             suture_architecture=amd64\nsuture_build_id={build_id}\n"
        );
        assert_eq!(check_text(&good), "ok");
        assert_eq!(
            check_text(&good.replace("vermagic=6.1.0-53", "vermagic=6.1.0-54")),
            "the module was compiled for kernel 6.1.0-54-amd64, this machine runs 6.1.0-53-amd64"
        );
        assert_eq!(
            check_text(&good.replace("104_1", "104_2")),
            "the module is named `suture_104_2`, expected `suture_104_1`"
        );
        let other = check_text(&good.replace(build_id.as_str(), &"cd".repeat(20)));
        assert!(
            other.starts_with("patch 104.1 was built for kernel 6.1.0-53-amd64"),
            "{other}"
        );
        assert!(check_text(&good.replace("suture_b", "b")).contains("does not name"));
        assert!(check_text(&good.replace("livepatch=Y", "x=Y")).contains("not a live patch"));
        assert!(check_text("livepatch=Y\nname=suture_104_1\n").contains("compiled for kernel ,"));
    }

    #[test]
    fn the_manifest_must_name_this_very_build() {
        let running = FakeTree::kernel();
        let mut manifest = crate::testing::manifest("104.1", b"module");
        let check = |manifest: &Manifest| check_manifest(manifest, version("104.1"), &running);
        assert!(check(&manifest).is_ok());
        manifest.kernel.build_id = suture_kernel::BuildId::from_bytes(&[0xcd; 20]).unwrap();
        let error = check(&manifest).unwrap_err().to_string();
        assert!(
            error.starts_with("patch 104.1 was built for kernel 6.1.0-53-amd64"),
            "{error}"
        );
        assert!(
            error.contains(&"cd".repeat(20)) && error.contains(&"ab".repeat(20)),
            "{error}"
        );
        manifest.schema = 2;
        assert!(matches!(check(&manifest), Err(CheckError::Schema(2))));
    }

    #[test]
    fn the_module_must_be_the_manifests() {
        let manifest = crate::testing::manifest("104.1", b"module");
        assert!(check_file(&manifest, b"module").is_ok());
        let what = |module: &[u8]| check_file(&manifest, module).unwrap_err().to_string();
        assert!(what(b"modul").ends_with("length differs"));
        assert!(what(b"modulf").ends_with("SHA-256 differs"));
    }
}
