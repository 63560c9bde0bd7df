//! From an offer to the kernel, and what never gets there.

use rustix::io::Errno;
use suture_kernel::BuildId;
use suture_protocol::MachineState;
use suture_rollout::Offer;

use super::patch_failure;
use crate::lifecycle::Load;
use crate::livepatch_sysfs::Task;
use crate::stage::Kind;
use crate::status::PatchState;
use crate::testing::{Behaviour, FakeTree, Machine, Service, manifest, module, time, version};

#[tokio::test]
async fn an_enabled_machine_is_patched_and_says_so() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    assert_eq!(
        service.desk().modules,
        [true],
        "fetched once, with the machine's secret"
    );
    let said: Vec<_> = service
        .desk()
        .check_ins
        .iter()
        .map(|request| (request.state, request.applied))
        .collect();
    let applied = Some(version("104.1"));
    assert_eq!(
        said,
        [
            (MachineState::Unapplied, None),
            (MachineState::Applied, applied)
        ]
    );
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        PatchState::Applied {
            version: version("104.1")
        }
    );
    assert_eq!(report.fixes[0].cve, "CVE-2026-89603");
    assert!(report.fixes[0].patched);
    assert!(matches!(
        machine.engine.memory.journal(),
        Some(Load::Settled { .. })
    ));
}

#[tokio::test]
async fn a_later_version_replaces_the_one_in_force() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "103.2").await;
    service.offer("104.1").await;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_103_2", "suture_104_1"]);
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    service.desk().offer = Offer::Version {
        version: version("103.2"),
    };
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.loads().len(), 2, "a machine never goes back");
}

#[tokio::test]
async fn a_patch_for_another_build_never_reaches_the_kernel() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let module = module("104.1", "6.1.0-53-amd64");
    let mut manifest = manifest("104.1", &module);
    manifest.kernel.build_id = BuildId::from_bytes(&[0xcd; 20]).unwrap();
    service.publish(&manifest, module, time(0)).await;
    service.desk().offer = Offer::Version {
        version: version("104.1"),
    };
    let failure = patch_failure(&machine).await;
    insta::assert_snapshot!(failure, @r"
    error: patch 104.1 was built for kernel 6.1.0-53-amd64 (amd64, build id cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd), this machine runs 6.1.0-53-amd64 (amd64, build id abababababababababababababababababababab)

    hint: the vendor published it for the wrong kernel; nothing was loaded
    ");
    assert!(machine.kernel.loads().is_empty());
    let last = service.desk().check_ins.last().cloned().unwrap();
    assert_eq!(last.state, MachineState::ApplyFailed, "the vendor is told");
    assert!(last.failure.unwrap().contains("was built for kernel"));
}

#[tokio::test]
async fn a_module_compiled_for_another_release_never_reaches_the_kernel() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let module = module("104.1", "6.1.0-54-amd64");
    service
        .publish(&manifest("104.1", &module), module, time(0))
        .await;
    service.desk().offer = Offer::Version {
        version: version("104.1"),
    };
    let failure = patch_failure(&machine).await;
    assert!(
        failure
            .message
            .starts_with("the module was compiled for kernel 6.1.0-54-amd64")
    );
    assert!(machine.kernel.loads().is_empty());
}

#[tokio::test]
async fn an_altered_module_never_reaches_the_kernel() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    service.alter_modules();
    let failure = patch_failure(&machine).await;
    assert!(
        failure
            .message
            .contains("is not what the signed metadata says"),
        "{failure}"
    );
    assert!(machine.kernel.loads().is_empty());
}

#[tokio::test]
async fn expired_metadata_is_refused() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.clock.set(8 * 24 * 3600);
    let failure = patch_failure(&machine).await;
    insta::assert_snapshot!(failure, @r"
    error: the timestamp metadata of the repository expired at 2026-11-30T12:00:00Z

    hint: check this machine's clock; if it is right, the publisher must refresh the repository
    ");
    assert!(machine.kernel.loads().is_empty());
}

#[tokio::test]
async fn a_rolled_back_repository_is_refused() {
    let service = Service::start().await;
    let timestamp = service.repository_dir().join("metadata/timestamp.json");
    service.offer("103.2").await;
    let old = std::fs::read(&timestamp).unwrap();
    let machine = Machine::with_patch(&service, "104.1").await;
    std::fs::write(&timestamp, old).unwrap();
    service.desk().offer = Offer::Version {
        version: version("105.1"),
    };
    let refreshed = machine.engine.refresh(false).await.unwrap();
    let failure = refreshed.patch.unwrap_err();
    assert!(
        failure.message.contains("this machine has seen version"),
        "{failure}"
    );
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch.in_force(),
        Some(version("104.1")),
        "what was in force still is"
    );
}

#[tokio::test]
async fn a_refusal_of_the_kernel_is_kept_with_its_advice() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::Refuse(Errno::KEYREJECTED));
    let failure = patch_failure(&machine).await;
    assert_eq!(
        failure.message,
        "the kernel refused the module `suture_104_1`"
    );
    match machine.engine.report().await.unwrap().patch {
        PatchState::Failed {
            wanted,
            in_force: None,
            reason,
            hint: Some(hint),
        } => {
            assert_eq!(wanted, version("104.1"));
            assert!(reason.contains("Key was rejected"), "{reason}");
            assert!(hint.contains("mokutil"), "{hint}");
        }
        other => panic!("{other:?}"),
    }
    machine.kernel.set(Behaviour::Apply);
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        PatchState::Applied {
            version: version("104.1")
        }
    );
}

#[tokio::test]
async fn a_module_without_a_patch_is_a_failure() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::Ignore);
    let failure = patch_failure(&machine).await;
    assert!(
        failure.message.ends_with("but lists no patch of it"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_stalled_transition_is_left_alone_and_ends_by_itself() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    machine
        .tree
        .write("proc/812/task/812/comm", b"kworker/3:1\n");
    machine.tree.write("proc/812/task/812/patch_state", b"0\n");
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    let failure = patch_failure(&machine).await;
    insta::assert_snapshot!(failure, @r"
    error: patch 104.1 is still in transition after 0 seconds
      task 812 (kworker/3:1) still runs the old code

    hint: the transition goes on by itself and does no harm; `livepatch status --verbose` lists the tasks that hold it open
    ");
    let report = machine.engine.report().await.unwrap();
    let stalled = PatchState::Applying {
        version: version("104.1"),
        in_force: None,
        stalled: true,
    };
    assert_eq!(report.patch, stalled);
    assert_eq!(
        report.unpatched_tasks,
        [Task {
            id: 812,
            name: "kworker/3:1".to_owned(),
            ..Task::default()
        }]
    );
    assert!(!report.fixes[0].patched);
    assert_eq!(
        service.desk().check_ins.last().unwrap().state,
        MachineState::Applying
    );
    machine.tree.patch("suture_104_1", true, Some(false));
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        PatchState::Applied {
            version: version("104.1")
        }
    );
    assert_eq!(machine.kernel.loads().len(), 1);
}

#[tokio::test]
async fn live_patches_of_others_are_not_undone() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    machine.tree.patch("kpatch_cve", true, Some(false));
    service.offer("104.1").await;
    let failure = patch_failure(&machine).await;
    assert!(
        failure
            .message
            .contains("it would undo the live patch `kpatch_cve`"),
        "{failure}"
    );
    assert!(machine.kernel.loads().is_empty());
}

#[tokio::test]
async fn old_versions_leave_the_cache() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "1.1").await;
    for text in ["2.1", "3.1"] {
        service.offer(text).await;
        machine.engine.refresh(false).await.unwrap();
    }
    let dir = machine.tree.path("var/lib/livepatch/targets");
    let count = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(count, 4, "manifest and module of 3.1 and of 2.1");
    assert_eq!(FakeTree::kernel(), machine.engine.facts.kernel);
}

#[tokio::test]
async fn a_transition_that_does_not_end_is_taken_back_and_rests() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    machine.reverse_after(std::time::Duration::from_millis(400));
    machine.tree.write("proc/812/task/812/comm", b"holder\n");
    machine.tree.write("proc/812/task/812/patch_state", b"0\n");
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    patch_failure(&machine).await;
    while machine.engine.stage().kind() != Kind::Reversing {
        machine.engine.watch().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let enabled = machine
        .tree
        .path("sys/kernel/livepatch/suture_104_1/enabled");
    assert!(std::fs::read_to_string(&enabled).unwrap().starts_with('0'));
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        PatchState::Reversing {
            version: version("104.1"),
            in_force: None
        }
    );
    // The kernel is done with it.
    let patch = machine.tree.path("sys/kernel/livepatch/suture_104_1");
    std::fs::remove_dir_all(patch).unwrap();
    machine.engine.watch().unwrap();
    assert!(machine.kernel.unloads().is_empty(), "not at once");
    assert_eq!(machine.engine.memory.journal(), None);
    assert_eq!(machine.engine.stage().kind(), Kind::Failed);
    match machine.engine.report().await.unwrap().patch {
        PatchState::Failed { reason, .. } => assert_eq!(
            reason,
            "its transition did not end and was taken back: task 812 (holder) never left the \
             old code"
        ),
        other => panic!("{other:?}"),
    }
    // The clock does not try it again at once; an administrator may.
    machine.kernel.set(Behaviour::Apply);
    machine.engine.refresh_on_time().await.unwrap();
    assert_eq!(machine.kernel.loads().len(), 1);
    let open = machine.engine.transition.lock().unwrap().take();
    assert_eq!(open, None, "the time of the next try counts anew");
    // A task that is still in the module's own functions would go on in memory of others.
    let stack = "proc/812/task/812/stack";
    machine
        .tree
        .write(stack, b"[<0>] new_helper+0x1f/0x40 [suture_104_1]\n");
    let failure = patch_failure(&machine).await;
    assert_eq!(
        failure.message,
        "a task is still in `suture_104_1`, which was taken back"
    );
    assert!(machine.kernel.unloads().is_empty());
    machine
        .tree
        .write(stack, b"[<0>] do_syscall_64+0x1a/0x80\n");
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.unloads(), ["suture_104_1"]);
    assert_eq!(machine.kernel.loads().len(), 2);
    assert_eq!(machine.engine.stage().kind(), Kind::Applied);
    let told = service.happened();
    let told = told.iter().filter(|kind| kind.as_str() == "apply-failed");
    assert_eq!(told.count(), 1, "the vendor is told once");
}

#[tokio::test]
async fn a_transition_that_ends_while_it_is_to_be_taken_back_is_in_force() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    machine.reverse_after(std::time::Duration::from_millis(400));
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    patch_failure(&machine).await;
    while machine.engine.stage().kind() != Kind::Reversing {
        machine.engine.watch().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    machine.tree.patch("suture_104_1", true, Some(false));
    machine.engine.watch().unwrap();
    assert_eq!(machine.engine.stage().kind(), Kind::Applied);
    assert!(machine.kernel.unloads().is_empty());
}

#[tokio::test]
async fn a_brake_stops_loading_or_everything() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.tree.write("etc/livepatch/mode", b"no-apply\n");
    let failure = patch_failure(&machine).await;
    assert!(
        failure
            .message
            .starts_with("patch 104.1 is not applied, a brake is on: no-apply"),
        "{failure}"
    );
    machine
        .tree
        .write("proc/cmdline", b"quiet livepatch_mode=stop\n");
    let asked = service.desk().check_ins.len();
    let refreshed = machine.engine.refresh(false).await.unwrap();
    let failure = refreshed.check.unwrap_err();
    assert_eq!(
        failure.hint.as_deref(),
        Some("restart the machine without `livepatch_mode=stop` on the kernel's command line")
    );
    assert_eq!(service.desk().check_ins.len(), asked, "nobody was asked");
    machine.engine.apply_from_cache().await.unwrap();
    assert!(machine.kernel.loads().is_empty());
    assert_eq!(
        machine.engine.report().await.unwrap().stage.kind(),
        Kind::Stopped
    );
    machine.tree.write("proc/cmdline", b"quiet\n");
    std::fs::remove_file(machine.tree.path("etc/livepatch/mode")).unwrap();
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}

#[tokio::test]
async fn what_the_owner_lets_wait_goes_in_when_its_time_has_come() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    // The manifest was made an hour before the clock's zero.
    let config = b"patch-delay = \"2h\"\n";
    machine
        .tree
        .write("etc/livepatch/config.d/60-delay.toml", config);
    service.offer("104.1").await;
    let refreshed = machine.engine.enable(crate::testing::TOKEN).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    assert!(machine.kernel.loads().is_empty());
    let report = machine.engine.report().await.unwrap();
    assert!(
        matches!(report.patch, PatchState::Deferred { .. }),
        "{report:?}"
    );
    assert_eq!(report.stage.kind(), Kind::HeldBack);
    machine.clock.set(3600);
    machine.engine.refresh_on_time().await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}

#[tokio::test]
async fn a_kernel_for_which_none_is_built_yet_is_told_so() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.desk().offer = Offer::NotCovered;
    machine.engine.enable(crate::testing::TOKEN).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, PatchState::NotCovered, "nothing is published");
    let older = module("104.1", "6.1.0-50-amd64");
    service
        .publish_for("6.1.0-50-amd64", &manifest("104.1", &older), older, time(0))
        .await;
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, PatchState::NotBuiltYet);
    assert_eq!(report.stage.kind(), Kind::NotBuiltYet);
    assert_eq!(report.covered_releases[0].as_str(), "6.1.0-50-amd64");
}
