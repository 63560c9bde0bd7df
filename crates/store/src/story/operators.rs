//! Operators' keys, and sessions.

use super::{account_with_token, at, operator};
use crate::{Store, StoreError, Visitor};

pub async fn run(store: &dyn Store) {
    a_revoked_key_ends_its_sessions(store).await;
    a_session_ends_with_its_time_or_its_token(store).await;
}

async fn a_revoked_key_ends_its_sessions(store: &dyn Store) {
    let name = "grace".parse().expect("valid");
    let by = operator();
    let made = store.create_operator_key(&name, &by, at(0)).await;
    let (entry, key) = made.expect("made");
    assert_eq!((entry.created, entry.revoked), (at(0), None));
    let shown = store.authenticate_operator(&key).await.expect("it holds");
    assert_eq!(shown, entry);
    let session = store
        .begin_operator_session(&key, at(1000), at(1))
        .await
        .expect("begun");
    let visitor = store.session(&session, at(2)).await.expect("answered");
    assert_eq!(visitor, Some(Visitor::Operator(name)));

    let revoked = store
        .revoke_operator_key(entry.id, &by, at(3))
        .await
        .expect("revoked");
    assert_eq!(revoked.revoked, Some(at(3)));
    let twice = store.revoke_operator_key(entry.id, &by, at(4)).await;
    assert_eq!(twice.expect("no error").revoked, Some(at(3)));
    assert_eq!(
        store.session(&session, at(5)).await.expect("answered"),
        None
    );
    let refused = store.authenticate_operator(&key).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownOperator)),
        "{refused:?}"
    );
    let refused = store.begin_operator_session(&key, at(1000), at(6)).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownOperator)),
        "{refused:?}"
    );
    assert!(
        store
            .operator_keys()
            .await
            .expect("keys")
            .contains(&revoked)
    );
}

async fn a_session_ends_with_its_time_or_its_token(store: &dyn Store) {
    let (account, token) = account_with_token(store, "visitor@example.org").await;
    let begin = || store.begin_token_session(&token.secret, at(100), at(1));
    let (one, other) = (begin().await.expect("begun"), begin().await.expect("begun"));
    let owner = Some(Visitor::TokenHolder(account.id));
    assert_eq!(store.session(&one, at(99)).await.expect("answered"), owner);
    assert_eq!(store.session(&one, at(100)).await.expect("answered"), None);
    store.end_session(&other).await.expect("ended");
    store.end_session(&other).await.expect("no error");
    assert_eq!(store.session(&other, at(2)).await.expect("answered"), None);
    store
        .revoke_token(token.token.id, &operator(), at(3))
        .await
        .expect("revoked");
    assert_eq!(store.session(&one, at(4)).await.expect("answered"), None);
}
