//! Applications, passwords, and the end of an account.

use super::{account_with_token, at, enrol, operator};
use crate::{
    Action, Actor, Application, OPEN_LINKS, PasswordHash, Plan, Store, StoreError, Subject, Visitor,
};

pub async fn run(store: &dyn Store) {
    an_account_begins_when_its_address_is_confirmed(store).await;
    links_are_few_and_end(store).await;
    a_new_password_ends_every_session(store).await;
    a_deleted_account_leaves_nothing_but_the_log(store).await;
}

fn hash(number: u8) -> PasswordHash {
    let text = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA{number}");
    text.parse().expect("valid")
}

fn application(email: &str, number: u8) -> Application {
    Application {
        email: email.parse().expect("valid"),
        password: hash(number),
    }
}

async fn an_account_begins_when_its_address_is_confirmed(store: &dyn Store) {
    let applied = application("new@example.org", 1);
    let apply = |application: Application| async move {
        let link = store.apply_for_account(&application, at(100), at(1)).await;
        link.expect("kept").expect("few are open")
    };
    let link = apply(applied.clone()).await;
    let other = apply(application("NEW@example.org", 2)).await;
    assert_eq!(
        store.credentials(&applied.email).await.expect("answered"),
        None
    );
    let found = store.application(&link, at(2)).await.expect("answered");
    assert_eq!(found, Some(applied.clone()));

    let account = store.confirm_application(&link, at(3)).await.expect("made");
    assert_eq!((&account.email, account.plan), (&applied.email, Plan::Free));
    let known = store
        .credentials(&applied.email)
        .await
        .expect("answered")
        .expect("there");
    assert_eq!((known.account, known.password), (account.id, Some(hash(1))));
    let line = store
        .audit_log(Some(account.id), 1)
        .await
        .expect("log")
        .remove(0);
    assert_eq!(
        (line.action, line.actor),
        (Action::CreateAccount, Actor::Service)
    );
    // The other one's password must not get in after it.
    for link in [&link, &other] {
        let again = store.confirm_application(link, at(4)).await;
        assert!(matches!(again, Err(StoreError::UnknownLink)), "{again:?}");
    }
    let late = apply(application("new@example.org", 3)).await;
    let taken = store.confirm_application(&late, at(5)).await;
    assert!(
        matches!(taken, Err(StoreError::EmailTaken { .. })),
        "{taken:?}"
    );
}

async fn links_are_few_and_end(store: &dyn Store) {
    let applied = application("often@example.org", 1);
    for _ in 0..OPEN_LINKS {
        let link = store.apply_for_account(&applied, at(100), at(1)).await;
        assert!(link.expect("kept").is_some());
    }
    let more = store.apply_for_account(&applied, at(100), at(1)).await;
    assert_eq!(more.expect("answered"), None);
    let later = store.apply_for_account(&applied, at(200), at(100)).await;
    let link = later.expect("answered").expect("the others are over");
    assert_eq!(
        store.application(&link, at(200)).await.expect("answered"),
        None
    );
    let over = store.confirm_application(&link, at(200)).await;
    assert!(matches!(over, Err(StoreError::UnknownLink)), "{over:?}");

    let nobody = "nobody@example.org".parse().expect("valid");
    let none = store.begin_reset(&nobody, at(100), at(1)).await;
    assert_eq!(none.expect("answered"), None);
}

async fn a_new_password_ends_every_session(store: &dyn Store) {
    let (account, token) = account_with_token(store, "forgetful@example.org").await;
    let password = store
        .begin_account_session(account.id, at(1000), at(1))
        .await;
    let by_token = store
        .begin_token_session(&token.secret, at(1000), at(1))
        .await;
    let sessions = [password.expect("begun"), by_token.expect("begun")];
    let owner = store.session(&sessions[0], at(2)).await.expect("answered");
    assert_eq!(owner, Some(Visitor::Owner(account.id)));

    let begin = || store.begin_reset(&account.email, at(100), at(2));
    let (link, other) = (
        begin().await.expect("made").expect("one"),
        begin().await.expect("made").expect("two"),
    );
    let found = store.reset(&link, at(3)).await.expect("answered");
    assert_eq!(found.map(|found| found.id), Some(account.id));
    let done = store.finish_reset(&link, &hash(7), at(3)).await;
    assert_eq!(done.expect("set").id, account.id);
    let known = store
        .credentials(&account.email)
        .await
        .expect("answered")
        .expect("there");
    assert_eq!(known.password, Some(hash(7)));
    for session in &sessions {
        assert_eq!(store.session(session, at(4)).await.expect("answered"), None);
    }
    for link in [&link, &other] {
        assert_eq!(store.reset(link, at(4)).await.expect("answered"), None);
    }

    let again = store
        .begin_account_session(account.id, at(1000), at(5))
        .await;
    let again = again.expect("begun");
    store.end_sessions(account.id, at(6)).await.expect("ended");
    assert_eq!(store.session(&again, at(7)).await.expect("answered"), None);
    let log = store.audit_log(Some(account.id), 2).await.expect("log");
    assert_eq!(
        [log[0].action, log[1].action],
        [Action::EndSessions, Action::SetPassword]
    );
}

async fn a_deleted_account_leaves_nothing_but_the_log(store: &dyn Store) {
    let (account, token) = account_with_token(store, "leaving@example.org").await;
    let enrolment = enrol(store, &token.secret, 77).await.expect("enrolled");
    let session = store
        .begin_account_session(account.id, at(1000), at(1))
        .await
        .expect("begun");
    store
        .delete_account(account.id, at(2))
        .await
        .expect("deleted");

    assert_eq!(
        store.session(&session, at(3)).await.expect("answered"),
        None
    );
    let machine = store.authenticate_machine(&enrolment.secret).await;
    assert!(
        matches!(machine, Err(StoreError::UnknownMachine)),
        "{machine:?}"
    );
    let refused = store.authenticate_token(&token.secret).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownToken)),
        "{refused:?}"
    );
    let gone = store.account(account.id).await;
    assert!(
        matches!(gone, Err(StoreError::UnknownAccount { .. })),
        "{gone:?}"
    );
    let twice = store.delete_account(account.id, at(3)).await;
    assert!(
        matches!(twice, Err(StoreError::UnknownAccount { .. })),
        "{twice:?}"
    );
    assert_eq!(
        store.credentials(&account.email).await.expect("answered"),
        None
    );
    let listed = store.accounts().await.expect("listed");
    assert!(listed.iter().all(|listed| listed.id != account.id));
    let log = store.audit_log(Some(account.id), 10).await.expect("log");
    assert_eq!(log[0].action, Action::DeleteAccount);
    assert_eq!(log[0].actor, Actor::Owner(account.id));
    assert!(log.iter().any(|line| line.action == Action::ReleaseMachine));
    assert!(log.iter().any(
        |line| matches!(line.subject, Subject::Token(_)) && line.action == Action::RevokeToken
    ));
    // The address is free.
    let new = crate::NewAccount {
        email: account.email.clone(),
        plan: Plan::Free,
    };
    store
        .create_account(&new, &operator(), at(4))
        .await
        .expect("made anew");
}
