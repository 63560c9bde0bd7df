//! The agent as a snap, made and checked by `snap pack`.

use std::path::Path;
use std::process::Command;

use suture::scenario::Vendor;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_snap_is_packed_and_what_is_wrong_with_one_is_found() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vendor = Vendor::new(&folder.path().join("vendor"), false)?;
    let program = vendor.program("livepatch");
    let made = folder.path().join("made");
    let packed = pack(Path::new(ROOT), &program, &made)?;
    assert!(packed.status.success(), "{packed:?}");
    let snap = std::fs::read_dir(&made)?.next().expect("a snap")?.path();
    let name = snap.file_name().unwrap_or_default().to_string_lossy();
    assert!(name.starts_with("livepatch_"), "{name}");

    let unpacked = folder.path().join("unpacked");
    let output = Command::new("unsquashfs")
        .arg("-d")
        .arg(&unpacked)
        .arg(&snap)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    let described = std::fs::read_to_string(unpacked.join("meta/snap.yaml"))?;
    for line in ["name: livepatch", "canonical-livepatch", "daemon: notify"] {
        assert!(described.contains(line), "no `{line}` in {described}");
    }
    let version = Command::new(unpacked.join("bin/livepatch"))
        .arg("--version")
        .output()?;
    let version = String::from_utf8(version.stdout)?;
    let number = version.trim().rsplit(' ').next().unwrap_or_default();
    assert!(
        described.contains(&format!("version: '{number}'")),
        "{described}"
    );

    // A daemon of a kind that there isn't: the check is a check.
    let wrong = folder.path().join("wrong");
    for file in ["scripts/snap", "packaging/snap/meta/snap.yaml"] {
        let target = wrong.join(file);
        std::fs::create_dir_all(target.parent().expect("a folder"))?;
        std::fs::copy(Path::new(ROOT).join(file), target)?;
    }
    let description = wrong.join("packaging/snap/meta/snap.yaml");
    let text = std::fs::read_to_string(&description)?;
    std::fs::write(
        &description,
        text.replace("daemon: notify", "daemon: never"),
    )?;
    let refused = pack(&wrong, &program, &folder.path().join("none"))?;
    assert!(!refused.status.success(), "{refused:?}");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("never"), "{words}");
    Ok(())
}

fn pack(root: &Path, program: &Path, output: &Path) -> anyhow::Result<std::process::Output> {
    let mut script = Command::new(root.join("scripts/snap"));
    Ok(script.arg(program).arg(output).output()?)
}
