//! What the server learns of what happened here, each thing once.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::StatusCode;
use rustix::io::Errno;
use suture_protocol::{EventKind, KernelTrouble, MachineEvent};

use crate::kernel_log::Trouble;
use crate::lifecycle::Load;
use crate::testing::{Behaviour, FakeTree, Machine, Service, TOKEN, version};

fn names(events: &[MachineEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

fn distinct(events: &[MachineEvent]) -> usize {
    let ids: HashSet<_> = events.iter().map(|event| event.id).collect();
    ids.len()
}

/// A trouble whose text names patch 104.1.
fn trouble(sequence: u64) -> Trouble {
    Trouble {
        kind: KernelTrouble::Warning,
        names_patch: Some(version("104.1")),
        text: "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2 [suture_104_1]".to_owned(),
        sequence,
    }
}

/// Harm is waiting to be told, and the daemon was woken for it.
async fn is_urgent(machine: &Machine) -> bool {
    let woken = machine.engine.harm_noted();
    let woken = tokio::time::timeout(Duration::ZERO, woken).await.is_ok();
    woken && machine.engine.has_untold_harm()
}

#[tokio::test]
async fn the_way_of_a_patch_is_told_step_by_step() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let version = version("104.1");
    assert_eq!(
        service.happened(),
        [
            EventKind::Fetched { version },
            EventKind::Verified { version },
            EventKind::Applied { version },
            EventKind::TransitionFinished { version, millis: 0 },
        ]
    );
    let events = service.events();
    assert_eq!(distinct(&events), 4);
    assert!(
        events
            .iter()
            .all(|event| event.boot_id == FakeTree::BOOT_ID)
    );
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        service.events().len(),
        4,
        "what was answered is not told again"
    );
    assert!(!is_urgent(&machine).await);
}

#[tokio::test]
async fn a_transition_is_told_with_the_time_that_it_took() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    machine.engine.enable(TOKEN).await.unwrap();
    machine.clock.set(400);
    machine.tree.patch("suture_104_1", true, Some(false));
    // The agent is killed, and the next one finds the transition finished.
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    machine.engine.refresh(false).await.unwrap();
    let version = version("104.1");
    let (tasks, millis) = (Vec::new(), 400_000);
    assert_eq!(
        service.happened()[2..],
        [
            EventKind::Applied { version },
            EventKind::TransitionStalled { version, tasks },
            EventKind::TransitionFinished { version, millis },
        ]
    );
}

#[tokio::test]
async fn a_stalled_transition_names_its_tasks() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    for task in 801..=812 {
        let file = |name| format!("proc/{task}/task/{task}/{name}");
        machine.tree.write(&file("comm"), b"kworker/3:1\n");
        machine.tree.write(&file("patch_state"), b"0\n");
    }
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::StayInTransition);
    machine.engine.enable(TOKEN).await.unwrap();
    let stalled = EventKind::TransitionStalled {
        version: version("104.1"),
        tasks: vec!["kworker/3:1".to_owned(); 8],
    };
    assert_eq!(service.happened().last(), Some(&stalled));
}

#[tokio::test]
async fn an_event_is_told_until_the_server_answers_and_keeps_its_id() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let told = service.events().len();
    machine.engine.hear(trouble(7));
    assert!(is_urgent(&machine).await);
    service.desk().loses_answers = true;
    machine.engine.refresh(false).await.unwrap();
    // The agent dies; the file alone remembers.
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    assert!(machine.engine.has_untold_harm());
    machine.engine.refresh(false).await.unwrap();
    service.desk().loses_answers = false;
    machine.engine.refresh(false).await.unwrap();
    machine.engine.refresh(false).await.unwrap();
    let again = service.events().split_off(told);
    assert_eq!(names(&again), ["kernel-trouble"; 3]);
    assert_eq!(distinct(&again), 1, "three times the same");
    assert!(!machine.engine.has_untold_harm());
    assert_eq!(
        machine.engine.heard(),
        Some(7),
        "not heard again in this boot"
    );
}

#[tokio::test]
async fn a_trouble_is_told_with_the_version_in_force() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.engine.hear(trouble(7));
    machine.engine.refresh(false).await.unwrap();
    let Some(EventKind::KernelTrouble {
        trouble: KernelTrouble::Warning,
        names_patch,
        applied,
        text,
    }) = service.happened().last().cloned()
    else {
        panic!("{:?}", service.happened());
    };
    assert_eq!(
        (names_patch, applied),
        (Some(version("104.1")), Some(version("104.1")))
    );
    assert_eq!(text, trouble(7).text);
}

#[tokio::test]
async fn a_refused_version_is_told_once_a_boot_for_each_reason() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::Refuse(Errno::KEYREJECTED));
    machine.engine.enable(TOKEN).await.unwrap();
    machine.engine.refresh(false).await.unwrap();
    let failed = |events: &[MachineEvent]| {
        names(events)
            .iter()
            .filter(|name| **name == "apply-failed")
            .count()
    };
    assert_eq!(failed(&service.events()), 1);
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.kernel.set(Behaviour::Ignore);
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(failed(&service.events()), 2);
}

#[tokio::test]
async fn a_version_that_is_not_what_was_signed_is_its_own_failure() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    service.alter_modules();
    machine.engine.enable(TOKEN).await.unwrap();
    let events = service.happened();
    let [
        EventKind::ApplyFailed {
            version: failed,
            reason,
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(*failed, version("104.1"));
    assert!(
        reason.contains("is not what the signed metadata says"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_not_the_versions_failure() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.clock.set(8 * 24 * 3600);
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert!(refreshed.patch.is_err());
    assert_eq!(service.happened(), []);
}

#[tokio::test]
async fn a_machine_that_went_down_tells_it_with_the_quarantine() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    let told = service.events().len();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    assert!(is_urgent(&machine).await);
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        service.happened()[told..],
        [
            EventKind::Restarted {
                clean: false,
                previous_boot_id: FakeTree::BOOT_ID.to_owned(),
                applied: Some(version("104.1")),
            },
            EventKind::Quarantined {
                version: version("104.1"),
                reason: "the machine went down within 5 minutes after it was applied".to_owned(),
            },
        ]
    );
}

#[tokio::test]
async fn a_judgement_that_is_cut_off_is_not_told_twice() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    let journal = machine.tree.path("var/lib/livepatch/journal.json");
    let record = std::fs::read(&journal).unwrap();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    // As if it had died before the record was gone.
    std::fs::write(&journal, record).unwrap();
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    machine.engine.refresh(false).await.unwrap();
    let all = names(&service.events());
    assert_eq!(all.iter().filter(|name| **name == "quarantined").count(), 1);
    assert_eq!(all.iter().filter(|name| **name == "restarted").count(), 1);
}

#[tokio::test]
async fn a_load_whose_answer_no_agent_saw_is_told_by_the_next() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    service.offer("104.1").await;
    machine.kernel.set(Behaviour::Refuse(Errno::BUSY));
    machine.engine.enable(TOKEN).await.unwrap();
    let told = service.events().len();
    // The agent dies after the kernel took the module and before it noted so.
    let subject = machine.engine.subject(version("104.1"));
    let begun = Load::begin(subject, crate::testing::time(0));
    machine.engine.dir.write_journal(&begun).unwrap();
    machine.tree.patch("suture_104_1", true, Some(false));
    let machine = machine.restart_agent();
    machine.clock.set(2);
    machine.engine.recover().unwrap();
    machine.engine.refresh(false).await.unwrap();
    let version = version("104.1");
    assert_eq!(
        service.happened()[told..],
        [
            EventKind::Applied { version },
            EventKind::TransitionFinished {
                version,
                millis: 2000
            },
        ]
    );
}

#[tokio::test]
async fn a_regular_restart_is_told_as_clean_and_is_not_urgent() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.engine.stop(Duration::from_secs(1)).await;
    machine.engine.note_regular_stop();
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    assert!(!is_urgent(&machine).await);
    machine.engine.refresh(false).await.unwrap();
    let restarted = EventKind::Restarted {
        clean: true,
        previous_boot_id: FakeTree::BOOT_ID.to_owned(),
        applied: Some(version("104.1")),
    };
    assert_eq!(
        service
            .happened()
            .iter()
            .filter(|kind| **kind == restarted)
            .count(),
        1
    );
}

#[tokio::test]
async fn new_taint_is_told_and_that_of_live_patching_is_not() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let taint = |bits: u64| {
        let text = format!("{bits}\n");
        machine
            .tree
            .write("proc/sys/kernel/tainted", text.as_bytes());
    };
    taint(1);
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    let told = service.events().len();
    taint(1 | 1 << 12 | 1 << 13 | 1 << 15);
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(service.events().len(), told);
    taint(1 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 15);
    machine.engine.refresh(false).await.unwrap();
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        service.happened()[told..],
        [EventKind::TaintChanged {
            before: 45_057,
            after: 45_569,
            applied: Some(version("104.1")),
        }]
    );
}

#[tokio::test]
async fn a_machine_that_is_not_enabled_tells_nothing_and_keeps_nothing() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.engine.hear(trouble(1));
    machine.engine.disable().await.unwrap();
    machine.engine.hear(trouble(2));
    assert!(!machine.engine.has_untold_harm());
    assert_eq!(machine.engine.heard(), Some(2));
    let told = service.events().len();
    machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!(service.events().len(), told);
}

#[tokio::test]
async fn more_than_one_check_in_carries_comes_with_the_next() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let told = service.events().len();
    for sequence in 0..40 {
        machine.engine.hear(trouble(sequence));
    }
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(service.events().len() - told, EventKind::MAX_EVENTS);
    assert!(machine.engine.has_untold_harm());
    machine.engine.refresh(false).await.unwrap();
    let events = service.events().split_off(told);
    assert_eq!((events.len(), distinct(&events)), (40, 40));
}

#[tokio::test]
async fn a_machine_without_network_keeps_what_happened() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    let told = service.events().len();
    service.desk().broken = Some(StatusCode::BAD_GATEWAY);
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.start(Duration::from_secs(5)).await.unwrap();
    service.desk().broken = None;
    machine.engine.refresh(false).await.unwrap();
    assert_eq!(
        names(&service.events()[told..]),
        ["restarted", "verified", "applied", "transition-finished"]
    );
}

#[tokio::test]
async fn an_oops_in_patched_code_is_shown_and_not_loaded_at_the_next_boot() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.engine.hear(crate::kernel_log::Trouble {
        kind: suture_protocol::KernelTrouble::Oops,
        names_patch: Some(version("104.1")),
        text: "BUG: kernel NULL pointer dereference\nmore of it".to_owned(),
        sequence: 7,
    });
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")), "it stays");
    assert_eq!(
        report.trouble[0].text,
        "BUG: kernel NULL pointer dereference"
    );
    assert!(
        report.quarantine[0]
            .reason
            .starts_with("the kernel met an oops")
    );
    let machine = machine.reboot();
    machine.engine.recover().unwrap();
    machine.engine.apply_from_cache().await.unwrap();
    assert!(machine.kernel.loads().is_empty());
    assert!(
        machine.engine.report().await.unwrap().trouble.is_empty(),
        "of this boot"
    );
}
