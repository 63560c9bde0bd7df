//! Stories of a machine: real HTTP, a real repository, a kernel of our own.

use axum::http::StatusCode;
use rustix::io::Errno;
use suture_kernel::BuildId;
use suture_protocol::{MachineState, Problem, ProblemKind};
use suture_rollout::Offer;

use crate::failure::Failure;
use crate::lifecycle::Load;
use crate::livepatch_sysfs::Task;
use crate::status::{CheckReport, Coverage, PatchState};
use crate::testing::{
    Behaviour, FakeTree, Machine, Service, TOKEN, manifest, module, time, version,
};

/// Enables a machine and returns why the patch on offer was not applied.
async fn patch_failure(machine: &Machine) -> Failure {
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!(refreshed.check, Ok(()), "the server was reached");
    refreshed.patch.unwrap_err()
}

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
async fn a_wrong_token_enables_nothing() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let failure = machine.engine.enable("token-2").await.unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the server refused the token: Unknown Auth-Token

    hint: copy the token anew from the service's page; it may have been revoked
    ");
    assert!(!machine.engine.is_enabled());
    let failure = machine.engine.refresh(false).await.unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: this machine is not enabled

    hint: enable it with the token of your account: `livepatch enable TOKEN`
    ");
}

#[tokio::test]
async fn a_full_plan_is_told_in_the_servers_words() {
    let service = Service::start().await;
    service.desk().enrol_problem = Some(Problem {
        kind: ProblemKind::MachineLimit,
        title: "No".to_owned(),
        status: 403,
        detail: "The plan `free` covers 3 machines, and 3 are enabled.".to_owned(),
    });
    let failure = Machine::new(&service)
        .engine
        .enable(TOKEN)
        .await
        .unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the account has no room for this machine: The plan `free` covers 3 machines, and 3 are enabled.

    hint: release a machine with `livepatch disable`, or choose a plan with more
    ");
}

#[tokio::test]
async fn a_kernel_without_live_patching_is_not_enabled() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    std::fs::remove_dir(machine.tree.path("sys/kernel/livepatch")).unwrap();
    let machine = machine.restart_agent();
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("unsupported kernel: `6.1.0-53-amd64`"),
        "{failure}"
    );
    assert!(!service.desk().enrolled);
    assert_eq!(
        machine.engine.report().await.unwrap().coverage,
        Coverage::NoLivepatch
    );
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
            name: "kworker/3:1".to_owned()
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
async fn a_restarted_machine_is_patched_without_network() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await.reboot();
    service.desk().broken = Some(StatusCode::BAD_GATEWAY);
    // Metadata that expired while the machine was off is no reason to leave it open.
    machine.clock.set(100 * 24 * 3600);
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    let refreshed = machine.engine.refresh(false).await.unwrap();
    insta::assert_snapshot!(
        refreshed.check.unwrap_err().to_string().replace(&service.url(), "http://server"), @r"
    error: `http://server/` answered 502 Bad Gateway

    hint: the trouble is on the service's side; the agent tries again by itself
    ");
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        PatchState::Applied {
            version: version("104.1")
        }
    );
    assert!(matches!(
        report.check,
        CheckReport::Failed {
            last_success: Some(_),
            ..
        }
    ));
    assert_eq!(report.coverage, Coverage::Covered);
}

#[tokio::test]
async fn an_altered_cache_is_not_applied() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await.reboot();
    for entry in std::fs::read_dir(machine.tree.path("var/lib/livepatch/targets")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    machine.engine.recover().unwrap();
    let failure = machine.engine.apply_from_cache().await.unwrap_err();
    assert!(
        failure
            .message
            .contains("is not what the signed metadata says"),
        "{failure}"
    );
    match machine.engine.report().await.unwrap().patch {
        PatchState::Failed {
            wanted,
            in_force: None,
            ..
        } => assert_eq!(wanted, version("104.1")),
        other => panic!("a machine without its patch says {other:?}"),
    }
    assert!(machine.kernel.loads().is_empty());
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"], "fetched anew");
}

#[tokio::test]
async fn a_patch_that_brings_the_machine_down_is_loaded_once() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    // It crashes 10 seconds after the load, without a regular stop.
    let machine = machine.reboot();
    machine.clock.set(60);
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    let refreshed = machine.engine.refresh(false).await.unwrap();
    insta::assert_snapshot!(refreshed.patch.unwrap_err(), @r"
    error: patch 104.1 is quarantined on this machine
      the machine went down within 5 minutes after it was applied

    hint: wait for the version that replaces it, or try it once more: `livepatch refresh --retry-quarantined`
    ");
    assert!(machine.kernel.loads().is_empty());
    let report = machine.engine.report().await.unwrap();
    assert!(
        matches!(report.patch, PatchState::Quarantined { .. }),
        "{:?}",
        report.patch
    );
    assert_eq!(report.quarantine[0].version, version("104.1"));
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        service.desk().check_ins.last().unwrap().state,
        MachineState::ApplyFailed
    );
    service.offer("104.2").await;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        machine.kernel.loads(),
        ["suture_104_2"],
        "its replacement is welcome"
    );
}

#[tokio::test]
async fn an_administrator_may_try_a_quarantined_version_again() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.refresh(true).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}

#[tokio::test]
async fn a_regular_restart_soon_after_a_load_blames_nothing() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    machine.engine.stop(std::time::Duration::from_secs(1)).await;
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}

#[tokio::test]
async fn an_agent_that_starts_again_takes_up_an_open_transition() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    machine.engine.enable(TOKEN).await.unwrap();
    machine.engine.stop(std::time::Duration::from_secs(1)).await;
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert!(machine.kernel.loads().is_empty(), "it is loaded already");
    machine.tree.patch("suture_104_1", true, Some(false));
    machine.engine.watch().unwrap();
    assert!(matches!(
        machine.engine.memory.journal(),
        Some(Load::Settling { .. })
    ));
}

#[tokio::test]
async fn disabling_leaves_the_patch_and_forgets_the_secret() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().broken = Some(StatusCode::SERVICE_UNAVAILABLE);
    let failure = machine.engine.disable().await.unwrap_err();
    assert!(
        failure
            .hint
            .unwrap()
            .starts_with("the machine is still enabled")
    );
    assert!(machine.engine.is_enabled());
    service.desk().broken = None;
    assert_eq!(
        machine.engine.disable().await.unwrap(),
        Some(version("104.1"))
    );
    assert!(!service.desk().enrolled);
    assert!(
        !machine
            .tree
            .path("var/lib/livepatch/machine-secret")
            .exists()
    );
    assert_eq!(
        machine.engine.disable().await.unwrap(),
        Some(version("104.1")),
        "again is fine"
    );
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.enrolment, None);
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
}

#[tokio::test]
async fn a_secret_goes_only_to_the_server_that_gave_it() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let before = service.desk().check_ins.len();
    let elsewhere = b"remote-server = \"https://elsewhere.example.com\"";
    machine
        .tree
        .write("etc/livepatch/config.d/90-local.toml", elsewhere);
    let refreshed = machine.engine.refresh(false).await.unwrap();
    let failure = refreshed.check.unwrap_err();
    assert!(
        failure
            .message
            .contains("but `remote-server` is `https://elsewhere.example.com/`")
    );
    assert_eq!(service.desk().check_ins.len(), before);
}

#[tokio::test]
async fn a_released_machine_is_told_to_enable_again() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().enrolled = false;
    let failure = machine
        .engine
        .refresh(false)
        .await
        .unwrap()
        .check
        .unwrap_err();
    insta::assert_snapshot!(failure, @r"
    error: the server does not know this machine: It was released.

    hint: enable the machine again: `livepatch enable TOKEN`
    ");
    assert_eq!(
        machine.engine.report().await.unwrap().patch.in_force(),
        Some(version("104.1"))
    );
}

#[tokio::test]
async fn coverage_that_ends_is_told_apart_from_none() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.desk().offer = Offer::NotCovered;
    machine.engine.enable(TOKEN).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        (report.patch, report.coverage),
        (PatchState::NotCovered, Coverage::NotCovered)
    );
    service.desk().offer = Offer::UpToDate;
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        (report.patch, report.coverage),
        (PatchState::NothingToApply, Coverage::Covered)
    );
    service.desk().offer = Offer::NotCovered;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        machine.engine.report().await.unwrap().coverage,
        Coverage::Ended
    );
}

#[tokio::test]
async fn a_certificate_of_an_own_authority_is_trusted_only_when_configured() {
    let (service, pem) = Service::start_tls().await;
    let machine = Machine::new(&service);
    let config = |ca: &str| {
        format!(
            "remote-server = \"https://localhost:{}\"\n{ca}",
            service.address.port()
        )
    };
    let file = "etc/livepatch/config.d/50-site.toml";
    machine.tree.write(file, config("").as_bytes());
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("cannot reach `https://localhost"),
        "{failure}"
    );
    assert!(
        failure
            .hint
            .as_ref()
            .unwrap()
            .contains("livepatch config ca-certs="),
        "{failure}"
    );
    machine
        .tree
        .write(file, config(&format!("ca-certs = '''{pem}'''")).as_bytes());
    machine.engine.enable(TOKEN).await.unwrap();
    let path = machine.tree.path("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let by_path = format!("ca-certs = \"{}\"", path.display());
    machine.tree.write(file, config(&by_path).as_bytes());
    service.offer("104.1").await;
    assert_eq!(machine.engine.refresh(false).await.unwrap().patch, Ok(()));
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
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
async fn a_restart_that_took_the_patch_away_is_not_told_as_nothing_to_apply() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await.reboot();
    let pending = PatchState::Pending {
        wanted: version("104.1"),
        in_force: None,
    };
    assert_eq!(machine.engine.report().await.unwrap().patch, pending);
}

#[tokio::test]
async fn a_refused_successor_does_not_end_the_watch_over_the_patch_in_force() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("103.2").await;
    machine.engine.enable(TOKEN).await.unwrap();
    service.offer("104.1").await;
    service.alter_modules();
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert!(refreshed.patch.is_err());
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.quarantine[0].version, version("103.2"));
}
