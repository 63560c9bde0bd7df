//! What is left of a patch over a restart, and what a crash teaches.

use axum::http::StatusCode;
use suture_protocol::MachineState;

use crate::lifecycle::Load;
use crate::status::{CheckReport, Coverage, PatchState};
use crate::testing::{Behaviour, Machine, Service, TOKEN, version};

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

    hint: wait for the version that replaces it, or lift the quarantine: `livepatch quarantine lift 104.1`
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
async fn while_a_version_is_in_quarantine_the_one_before_protects() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "103.2").await;
    service.offer("104.1").await;
    machine.engine.refresh(false).await.unwrap();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    let refreshed = machine
        .engine
        .start(std::time::Duration::from_secs(9))
        .await;
    assert!(refreshed.unwrap().patch.is_err(), "104.1 is in quarantine");
    assert_eq!(machine.kernel.loads(), ["suture_103_2"]);
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_103_2"], "once");
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

#[tokio::test]
async fn a_lifted_quarantine_lets_a_version_be_tried_again() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    let failure = machine.engine.lift(Some(version("9.9"))).await.unwrap_err();
    assert_eq!(
        failure.message,
        "patch 9.9 is not in quarantine for this kernel"
    );
    let lifted = machine.engine.lift(Some(version("104.1"))).await.unwrap();
    assert_eq!(lifted, [version("104.1")]);
    machine.engine.refresh_on_time().await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}
