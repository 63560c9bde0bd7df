//! A machine in a rollout: its turn, its group, and versions that were withdrawn.

use std::time::Duration;

use axum::http::StatusCode;
use suture_protocol::{
    Held, HeldBy, KernelNotice, MachineState, OpenHole, Problem, ProblemKind, Withdrawal,
};
use suture_rollout::Offer;

use crate::status::{CheckReport, Coverage, PatchState, WithdrawalReport};
use crate::testing::{Machine, Service, TOKEN, version};

const PATIENCE: Duration = Duration::from_secs(20);

fn withdraw(service: &Service, text: &str) {
    service.desk().withdrawn = Some(Withdrawal {
        version: version(text),
        reason: "oopses on machines with\u{1b}[2J old firmware".to_owned(),
    });
}

async fn patch(machine: &Machine) -> PatchState {
    machine.engine.report().await.unwrap().patch
}

fn applied(text: &str) -> PatchState {
    let version = version(text);
    PatchState::Applied { version }
}

#[tokio::test]
async fn what_the_vendor_tells_of_the_kernel_is_kept_until_it_tells_something_else() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let hole = OpenHole {
        cve: "CVE-2026-89603".to_owned(),
        reason: "two\nlines".to_owned(),
    };
    service.desk().notice = Some(KernelNotice {
        covered_until: Some("2027-02-28".parse().unwrap()),
        not_live_patched: vec![hole],
    });
    machine.engine.refresh(false).await.unwrap();
    let notice = machine.engine.report().await.unwrap().notice;
    assert_eq!(notice.covered_until, Some("2027-02-28".parse().unwrap()));
    assert_eq!(notice.not_live_patched[0].1, "twolines");
    service.desk().notice = None;
    machine.engine.refresh(false).await.unwrap();
    let notice = machine.engine.report().await.unwrap().notice;
    assert_eq!(notice, crate::state::Notice::default());
}

#[tokio::test]
async fn a_machine_waits_for_its_turn_and_then_takes_it() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    let offer = std::mem::replace(&mut service.desk().offer, Offer::NotYet);
    service.desk().coming = Some(version("104.1"));
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, PatchState::HeldBack);
    assert_eq!(report.coverage, Coverage::Covered);
    assert_eq!(report.rollout.coming, Some(version("104.1")));
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        service.desk().check_ins.last().unwrap().state,
        MachineState::Unapplied
    );
    service.desk().offer = offer;
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, applied("104.1"));
    assert_eq!(report.rollout.coming, None, "it came");
}

#[tokio::test]
async fn a_machine_knows_its_early_group_and_its_channel() {
    let service = Service::start().await;
    service.desk().early_group = Some(version("104.1"));
    let machine = Machine::with_patch(&service, "104.1").await;
    let rollout = machine.engine.report().await.unwrap().rollout;
    assert_eq!(rollout.early_group, Some(version("104.1")));
    assert_eq!(rollout.channel, None);
    service.desk().channel = Some("stable".parse().unwrap());
    service.desk().early_group = Some(version("99.1"));
    machine.engine.refresh(false).await.unwrap();
    let rollout = machine.engine.report().await.unwrap().rollout;
    assert_eq!(rollout.early_group, None, "of no version that is here");
    assert_eq!(rollout.channel, service.desk().channel);
}

#[tokio::test]
async fn a_withdrawn_version_stays_in_the_kernel_and_never_comes_back_from_the_cache() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    withdraw(&service, "104.1");
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, applied("104.1"));
    let reason = "oopses on machines with[2J old firmware".to_owned();
    assert_eq!(
        report.rollout.withdrawn,
        Some(WithdrawalReport {
            version: version("104.1"),
            reason: reason.clone()
        })
    );
    let machine = machine.reboot();
    service.desk().broken = Some(StatusCode::BAD_GATEWAY);
    machine.engine.recover().unwrap();
    machine.engine.start(PATIENCE).await.unwrap();
    assert!(machine.kernel.loads().is_empty());
    let version = version("104.1");
    assert_eq!(
        patch(&machine).await,
        PatchState::Withdrawn { version, reason }
    );
}

#[tokio::test]
async fn the_version_before_a_withdrawn_one_protects_a_machine_without_network() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "103.2").await;
    service.offer("104.1").await;
    machine.engine.refresh(false).await.unwrap();
    withdraw(&service, "104.1");
    machine.engine.refresh(false).await.unwrap();
    machine.clock.set(2000);
    machine.engine.watch().unwrap();
    let machine = machine.reboot();
    service.desk().broken = Some(StatusCode::BAD_GATEWAY);
    machine.engine.recover().unwrap();
    machine.engine.start(PATIENCE).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_103_2"]);
    assert_eq!(patch(&machine).await, applied("103.2"));
}

#[tokio::test]
async fn a_started_machine_does_not_apply_what_was_halted_meanwhile() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await.reboot();
    service.desk().offer = Offer::NotYet;
    machine.engine.recover().unwrap();
    let started = machine.engine.start(PATIENCE).await.unwrap();
    assert_eq!((started.check, started.patch), (Ok(()), Ok(())));
    assert!(machine.kernel.loads().is_empty());
    assert_eq!(patch(&machine).await, PatchState::HeldBack);
    // Nor later without network: the server's last word holds.
    let machine = machine.reboot();
    service.desk().broken = Some(StatusCode::BAD_GATEWAY);
    machine.engine.recover().unwrap();
    machine.engine.start(PATIENCE).await.unwrap();
    assert!(machine.kernel.loads().is_empty());
}

#[tokio::test]
async fn a_started_machine_takes_what_is_offered_from_its_cache() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await.reboot();
    let fetched = service.desk().modules.len();
    machine.engine.recover().unwrap();
    machine.engine.start(PATIENCE).await.unwrap();
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    assert_eq!(service.desk().modules.len(), fetched);
    let last = service.desk().check_ins.last().cloned().unwrap();
    assert_eq!(last.applied, Some(version("104.1")), "and says so");
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_the_cache_up_for_a_bounded_time() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    // The address takes connections, and nobody serves them.
    let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let state = machine.tree.path("var/lib/livepatch/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace(&service.url(), &address)).unwrap();
    let config = format!("remote-server = \"{address}\"\n");
    machine
        .tree
        .write("etc/livepatch/config.d/50-site.toml", config.as_bytes());
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    let patience = Duration::from_millis(100);
    let started = machine.engine.start(patience).await.unwrap();
    assert_eq!(
        started.check.unwrap_err().message,
        format!("`{address}/` did not answer within 0 seconds")
    );
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    let report = machine.engine.report().await.unwrap();
    assert!(matches!(report.check, CheckReport::Failed { .. }));
}

#[tokio::test]
async fn what_the_plan_does_not_cover_is_told_and_stays() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().held = Some(Held {
        by: HeldBy::MachineLimit,
        detail: "the free plan covers 3 machines\u{1b}[2J".to_owned(),
    });
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch, applied("104.1"), "nothing is taken back");
    let told = report.rollout.held.unwrap();
    assert_eq!(
        told, "the free plan covers 3 machines[2J",
        "fit to be printed"
    );
    service.desk().held = None;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(machine.engine.report().await.unwrap().rollout.held, None);
}

#[tokio::test]
async fn a_copied_disk_becomes_a_machine_of_its_own() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let shared = machine.engine.report().await.unwrap().machine_id;
    service.desk().copied = true;
    machine.engine.refresh(false).await.unwrap();
    let own = machine.engine.report().await.unwrap().machine_id;
    assert_ne!(own, shared);
    assert_eq!(service.desk().splits, std::slice::from_ref(&own));
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(service.desk().splits.len(), 1, "once");
    // It stays who it is when it is released and enabled again.
    machine.engine.disable().await.unwrap();
    machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!(service.desk().enrolled_id, Some(own));
}

#[tokio::test]
async fn a_copy_for_which_there_is_no_room_says_so_and_asks_for_the_same_id_again() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    service.desk().copied = true;
    service.desk().split_problem = Some(Problem::new(
        ProblemKind::MachineLimit,
        403,
        "The free plan covers 3 machines here.".to_owned(),
    ));
    let before = machine.engine.report().await.unwrap().machine_id;
    machine.engine.refresh(false).await.unwrap();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(
        report.patch,
        applied("104.1"),
        "it goes on with the shared secret"
    );
    assert_eq!(report.machine_id, before);
    let held = report.rollout.held.unwrap();
    assert!(
        held.contains("a copy of another machine's") && held.contains("3 machines"),
        "{held}"
    );
    service.desk().split_problem = None;
    machine.engine.refresh(false).await.unwrap();
    let splits = service.desk().splits.clone();
    assert_eq!(splits.len(), 2);
    assert_eq!(splits[0], splits[1], "or a lost answer would count twice");
    assert_eq!(machine.engine.report().await.unwrap().rollout.held, None);
}
