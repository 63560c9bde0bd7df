//! A repository that travels as one file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use suture_remote::{RemoteError, export, import};
use suture_repository::{Mirror, MirrorError};

use crate::shop::{Shop, contents, now};

fn mirror(shop: &Shop) -> Mirror {
    Mirror::new(shop.path("far away"), Some(shop.trusted_root.clone()))
}

#[tokio::test]
async fn a_site_without_network_gets_all_in_one_file() {
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    let (file, mirror) = (shop.path("patches.tar"), mirror(&shop));
    export(&shop.dir(), &file).await.unwrap();
    import(&file, &mirror, now()).await.unwrap();
    assert_eq!(contents(&mirror.dir).await, ["first"]);

    shop.publish("2", "second").await;
    let newer = shop.path("newer.tar");
    export(&shop.dir(), &newer).await.unwrap();
    let known = Mirror::new(&mirror.dir, None);
    let mirrored = import(&newer, &known, now()).await.unwrap();
    assert_eq!(mirrored.added.len(), 1, "only what is new");
    assert_eq!(contents(&mirror.dir).await, ["first", "second"]);
    let again = import(&newer, &known, now()).await.unwrap();
    assert!(!again.changed);

    let old = import(&file, &known, now()).await.unwrap_err();
    assert!(matches!(old, RemoteError::Mirror(_)), "{old}");
    assert_eq!(contents(&mirror.dir).await, ["first", "second"]);
    assert_eq!(hidden(&mirror.dir), [".publisher.lock", ".source"]);
}

#[tokio::test]
async fn equal_repositories_make_equal_files() {
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    let (one, other) = (shop.path("one.tar"), shop.path("other.tar"));
    export(&shop.dir(), &one).await.unwrap();
    export(&shop.twin().dir(), &other).await.unwrap();
    assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap());
}

#[tokio::test]
async fn a_file_that_is_cut_or_strange_changes_nothing() {
    let shop = Shop::open().await;
    shop.publish("1", &"x".repeat(10_000)).await;
    let (file, mirror) = (shop.path("patches.tar"), mirror(&shop));
    export(&shop.dir(), &file).await.unwrap();
    let whole = fs::read(&file).unwrap();
    for length in [0, 100, 512, 3_000, whole.len() - 5_000] {
        fs::write(&file, &whole[..length]).unwrap();
        let refused = import(&file, &mirror, now()).await.unwrap_err();
        assert!(
            matches!(
                refused,
                RemoteError::NotAnArchive { .. } | RemoteError::Mirror(MirrorError::Source(_))
            ),
            "{length}: {refused:?}"
        );
        assert!(!mirror.dir.join("metadata/timestamp.json").exists());
    }
    for name in ["../outside", "metadata/../../outside", "other/file"] {
        write_archive(&file, name);
        let refused = import(&file, &mirror, now()).await.unwrap_err();
        assert!(
            matches!(refused, RemoteError::NotAnArchive { .. }),
            "{name}"
        );
    }
    assert!(!shop.path("outside").exists());
    assert_eq!(hidden(&mirror.dir), [".publisher.lock", ".source"]);
}

#[tokio::test]
async fn a_first_import_wants_to_know_whom_to_trust() {
    let shop = Shop::open().await;
    let file = shop.path("patches.tar");
    export(&shop.dir(), &file).await.unwrap();
    let nobody = Mirror::new(shop.path("far away"), None);
    let refused = import(&file, &nobody, now()).await.unwrap_err();
    let expected = matches!(
        refused,
        RemoteError::Mirror(MirrorError::NoTrustedRoot { .. })
    );
    assert!(expected, "{refused}");
    let other = Shop::open().await;
    let stranger = Mirror::new(shop.path("elsewhere"), Some(other.trusted_root.clone()));
    import(&file, &stranger, now()).await.unwrap_err();
    assert!(!stranger.dir.join("metadata/timestamp.json").exists());
}

/// An archive of one file, by a name that an honest writer would not take.
fn write_archive(path: &Path, name: &str) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(1);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut archive = tar::Builder::new(File::create(path).unwrap());
    archive.append(&header, b"x".as_slice()).unwrap();
    archive.finish().unwrap();
}

/// The hidden files of a folder.
fn hidden(dir: &PathBuf) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('.')).collect();
    names.sort();
    names
}
