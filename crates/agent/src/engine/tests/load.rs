//! Patches from a folder, without a server.

use crate::carry::{self, Parts, Wanted};
use crate::config;
use crate::facts;
use crate::http;
use crate::patches::Patches;
use crate::status::PatchState;
use crate::testing::{FakeTree, Machine, Service, time, version};
use crate::transport::HttpTransport;

/// A folder with `parts` of the newest patch, brought by a machine that is enabled.
async fn folder(service: &Service, text: &str, parts: Parts) -> tempfile::TempDir {
    let other = Machine::with_patch(service, text).await;
    let paths = other.tree.paths();
    let settings = config::load(&paths).unwrap();
    let server = settings.remote_server.clone().unwrap();
    let agent = http::client(&settings, &server).unwrap();
    let secret = crate::state::StateDir::existing(paths.state_dir());
    let secret = secret.secret().unwrap().unwrap();
    let transport = HttpTransport::new(agent, server.clone(), secret);
    let folder = tempfile::tempdir().unwrap();
    let patches = Patches::for_once(&settings.root, folder.path());
    let kernel = facts::kernel_build(&paths).unwrap();
    let wanted = Wanted {
        kernel: &kernel,
        version: None,
        parts,
    };
    let (found, files) = patches
        .export(&server, transport, &wanted, folder.path(), time(0))
        .await
        .unwrap();
    assert_eq!(found, version(text));
    assert_eq!(files.len(), if parts == Parts::All { 3 } else { 2 });
    folder
}

#[tokio::test]
async fn a_machine_without_a_server_takes_a_patch_from_a_folder_and_keeps_it() {
    let service = Service::start().await;
    let folder = folder(&service, "104.1", Parts::All).await;
    let machine = Machine::new(&service);
    machine.engine.load_from(folder.path(), None).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    let report = machine.engine.report().await.unwrap();
    assert!(report.enrolment.is_none());
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    machine.engine.load_from(folder.path(), None).await.unwrap();
    assert_eq!(machine.kernel.loads().len(), 1, "once is enough");

    machine.engine.stop(std::time::Duration::from_secs(1)).await;
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert_eq!(
        machine.kernel.loads(),
        ["suture_104_1"],
        "also after a restart"
    );
    machine.engine.disable().await.unwrap();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert!(machine.kernel.loads().is_empty(), "until it is disabled");
}

#[tokio::test]
async fn a_folder_is_believed_no_more_than_a_server() {
    let service = Service::start().await;
    let folder = folder(&service, "104.1", Parts::All).await;
    let machine = Machine::new(&service);
    let refused = |error: crate::failure::Failure| error.message;
    let missing = machine
        .engine
        .load_from(folder.path(), Some(version("9.9")))
        .await;
    let kernel = FakeTree::kernel();
    assert_eq!(
        refused(missing.unwrap_err()),
        format!("the repository has no patch 9.9 for kernel {kernel}")
    );
    for entry in std::fs::read_dir(folder.path().join("targets")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "ko") {
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let altered = machine
        .engine
        .load_from(folder.path(), None)
        .await
        .unwrap_err();
    assert!(
        altered
            .one_line()
            .contains("not what the signed metadata says"),
        "{altered}"
    );
    assert!(machine.kernel.loads().is_empty());
    assert_eq!(
        machine.engine.report().await.unwrap().patch,
        PatchState::NotChecked
    );
}

#[tokio::test]
async fn a_copy_has_what_a_load_needs_and_nothing_else() {
    let service = Service::start().await;
    let folder = folder(&service, "104.1", Parts::All).await;
    std::fs::write(folder.path().join("notes.txt"), b"not ours").unwrap();
    let copy = |kernel| {
        let copy = tempfile::tempdir().unwrap();
        carry::copy(folder.path(), copy.path(), &kernel).unwrap();
        copy
    };
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let ours = copy(FakeTree::kernel());
    let metadata = |folder: &std::path::Path| names(&folder.join("metadata"));
    assert_eq!(metadata(ours.path()), metadata(folder.path()));
    assert_eq!(names(ours.path()), ["metadata", "targets"]);
    let targets = names(&ours.path().join("targets"));
    assert_eq!(targets.len(), 2, "the source stays: {targets:?}");
    let machine = Machine::new(&service);
    machine.engine.load_from(ours.path(), None).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);

    // For another kernel there is nothing.
    let mut other = FakeTree::kernel();
    other.release = "6.1.0-99-amd64".parse().unwrap();
    let theirs = copy(other);
    assert!(names(&theirs.path().join("targets")).is_empty());
    let machine = Machine::new(&service);
    let error = machine.engine.load_from(theirs.path(), None).await;
    let error = error.unwrap_err();
    assert!(error.one_line().contains("missing"), "{error}");
}
