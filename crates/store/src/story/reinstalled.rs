//! Systems that were installed anew: another machine id on the same hardware.

use std::sync::Arc;

use suture_protocol::HardwareId;

use super::{account_with_token, at, check_in, kernel, operator};
use crate::{
    Account, AccountToken, Action, Actor, Enrolment, GroupName, Machine, MachineSecret, NewMachine,
    ReportedState, Store, StoreError,
};

pub async fn run(store: &dyn Store) {
    a_system_installed_anew_takes_the_place_of_the_old_one(store).await;
    machines_whose_firmware_says_the_same_both_live(store).await;
    replaced_machines_do_not_pile_up(store).await;
}

async fn enrol_on(
    store: &dyn Store,
    token: &AccountToken,
    number: u8,
    hardware: u8,
    seconds: i64,
) -> Result<Enrolment, StoreError> {
    let hardware: HardwareId = format!("{hardware:032x}").parse().expect("valid");
    let new = NewMachine {
        id: format!("{number:032x}").parse().expect("valid"),
        hostname: format!("web-{number}").parse().expect("valid"),
        kernel: kernel("6.1.0-53-amd64"),
        agent_version: "0.1.0".parse().expect("valid"),
        hardware: Some(hardware),
    };
    store.enrol_machine(token, &new, at(seconds)).await
}

async fn ask(store: &dyn Store, secret: &MachineSecret, seconds: i64) -> Machine {
    let report = check_in(ReportedState::Unapplied);
    let answer = store
        .check_in(secret, &report, &[], &Arc::default(), at(seconds))
        .await;
    Machine::clone(&answer.expect("answered").machine)
}

/// By their ids: whether each was replaced and whether it exceeds the limit.
async fn places(store: &dyn Store, account: &Account) -> Vec<(bool, bool)> {
    let mut machines = store.machines(account.id).await.expect("machines");
    machines.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    let place = |machine: &Machine| (machine.replaced_by.is_some(), machine.over_limit);
    machines.iter().map(place).collect()
}

async fn a_system_installed_anew_takes_the_place_of_the_old_one(store: &dyn Store) {
    let (account, token) = account_with_token(store, "anew@example.org").await;
    let (token, by) = (&token.secret, operator());
    for number in 1..4 {
        let enrolled = enrol_on(store, token, number, 0x10 + number, 2).await;
        ask(store, &enrolled.expect("enrolled").secret, 10).await;
    }
    let group: GroupName = "databases".parse().expect("valid");
    let third = format!("{:032x}", 3).parse().expect("valid");
    let grouped = store
        .set_machine_group(account.id, &third, Some(&group), &by, at(11))
        .await;
    grouped.expect("grouped");
    let fourth = enrol_on(store, token, 4, 0x14, 12).await;
    assert!(matches!(fourth, Err(StoreError::MachineLimit { .. })));

    let anew = enrol_on(store, token, 5, 0x13, 20).await.expect("enrolled");
    assert!(!anew.renewed);
    assert_eq!(anew.machine.group, Some(group), "it comes along");
    let log = store.audit_log(Some(account.id), 2).await.expect("log");
    let said = log.iter().find(|line| line.action == Action::EnrolMachine);
    let said = said.and_then(|line| line.reason.clone());
    assert_eq!(said, Some(format!("installed anew, was {third}")));
    let kept = [
        (false, false),
        (false, false),
        (true, false),
        (false, false),
    ];
    assert_eq!(places(store, &account).await, kept);
    let fourth = enrol_on(store, token, 4, 0x14, 21).await;
    assert!(matches!(fourth, Err(StoreError::MachineLimit { .. })));
    ask(store, &anew.secret, 22).await;

    let week = Machine::REPLACED_SECS;
    let gone = async |seconds| {
        let gone = store.release_replaced(10, at(seconds)).await;
        let mine = |machine: &Machine| machine.account == account.id;
        let gone = gone.expect("released");
        gone.into_iter()
            .filter(mine)
            .map(|it| it.id)
            .collect::<Vec<_>>()
    };
    assert!(gone(20 + week).await.is_empty(), "it may be heard of yet");
    assert_eq!(gone(21 + week).await, [third]);
    let log = store.audit_log(Some(account.id), 1).await.expect("log");
    assert_eq!(
        (log[0].action, &log[0].actor),
        (Action::ReleaseMachine, &Actor::Service)
    );
    assert_eq!(places(store, &account).await, [(false, false); 3]);
}

async fn machines_whose_firmware_says_the_same_both_live(store: &dyn Store) {
    let (account, token) = account_with_token(store, "same@example.org").await;
    let token = &token.secret;
    let mut secrets = Vec::new();
    for number in 1..4 {
        let enrolled = enrol_on(store, token, number, 0x20 + number, 2).await;
        secrets.push(enrolled.expect("enrolled").secret);
    }
    let twin = enrol_on(store, token, 4, 0x21, 10).await.expect("enrolled");
    let (first, last) = ((true, false), (false, false));
    assert_eq!(places(store, &account).await, [first, last, last, last]);
    let heard = ask(store, &secrets[0], 20).await;
    assert_eq!(heard.replaced_by, None);
    let three = (false, false);
    let beyond = (false, true);
    assert_eq!(
        places(store, &account).await,
        [three, three, three, beyond],
        "there are four, and the one that came last exceeds the limit"
    );
    let later = ask(store, &twin.secret, 30).await;
    assert_eq!((later.replaced_by, later.over_limit), (None, true));

    let renewed = enrol_on(store, token, 1, 0x21, 40).await.expect("enrolled");
    assert!(renewed.renewed, "an enrolment anew replaces nobody");
    assert_eq!(places(store, &account).await, [three, three, three, beyond]);
}

async fn replaced_machines_do_not_pile_up(store: &dyn Store) {
    let (account, token) = account_with_token(store, "often@example.org").await;
    for (number, seconds) in (1..=8).zip(2..) {
        let enrolled = enrol_on(store, &token.secret, number, 0x31, seconds).await;
        enrolled.expect("there is room");
    }
    let (replaced, last) = ((true, false), (false, false));
    assert_eq!(
        places(store, &account).await,
        [replaced, replaced, replaced, last],
        "as many as a free account may have"
    );
    let mut machines = store.machines(account.id).await.expect("machines");
    machines.sort_by_key(|machine| machine.created);
    assert_eq!(machines[0].created, at(6), "those that came last");
}
