//! Identities, passkeys, and the ceremonies by which they come.

use super::{account_with_token, at};
use crate::{
    Account, AccountId, Action, CeremonyKind, CredentialId, Identity, NewCeremony, NewIdentity,
    NewPasskey, Passkey, PasskeyAlgorithm, PasskeyId, Plan, ProviderIdentity, SessionSecret, Store,
    StoreError, Visitor,
};

pub async fn run(store: &dyn Store) {
    a_ceremony_is_finished_once(store).await;
    a_ceremony_of_an_owner_ends_with_the_session(store).await;
    an_identity_is_of_one_account(store).await;
    an_identity_makes_an_account_with_a_free_address(store).await;
    a_passkey_that_was_copied_is_noticed(store).await;
    the_last_way_in_stays(store).await;
    no_way_in_outlives_the_account(store).await;
    an_account_has_so_many_and_no_more(store).await;
}

fn identity(subject: &str) -> NewIdentity {
    NewIdentity {
        provider: ProviderIdentity {
            issuer: "https://id.example.org".parse().expect("valid"),
            subject: subject.parse().expect("valid"),
        },
        name: format!("{subject}@example.org").parse().expect("valid"),
    }
}

fn key(credential: u8) -> NewPasskey {
    NewPasskey {
        credential: CredentialId::new(vec![credential; 32]).expect("valid"),
        algorithm: PasskeyAlgorithm::Es256,
        public_key: vec![7; 91],
        counter: 0,
        label: "a phone".parse().expect("valid"),
    }
}

async fn account(store: &dyn Store, email: &str) -> Account {
    account_with_token(store, email).await.0
}

async fn session_of(store: &dyn Store, account: &Account) -> SessionSecret {
    let begun = store.begin_account_session(account.id, at(1000), at(1));
    begun.await.expect("begun")
}

async fn by_identity(store: &dyn Store, identity: &NewIdentity) -> Option<SessionSecret> {
    let begun = store.begin_identity_session(&identity.provider, at(2000), at(9));
    begun.await.expect("answered")
}

async fn by_passkey(store: &dyn Store, key: PasskeyId, counter: u32) -> Option<SessionSecret> {
    let begun = store.begin_passkey_session(key, counter, at(2000), at(9));
    begun.await.expect("answered")
}

async fn assert_owner(store: &dyn Store, session: Option<SessionSecret>, account: AccountId) {
    let session = session.expect("a session");
    let visitor = store.session(&session, at(10)).await.expect("answered");
    assert_eq!(visitor, Some(Visitor::Owner(account)));
}

async fn a_ceremony_is_finished_once(store: &dyn Store) {
    let new = NewCeremony {
        kind: CeremonyKind::OpenId,
        session: None,
        destination: "/machines",
    };
    let begin = || async {
        store
            .begin_ceremony(new, at(100), at(1))
            .await
            .expect("begun")
    };
    let finish = |secret, kind, now| async move {
        let finished = store.finish_ceremony(secret, kind, now).await;
        finished.expect("answered")
    };
    let (secret, other) = (begin().await, begin().await);
    let wrong = finish(&secret, CeremonyKind::Passkey, at(2)).await;
    assert_eq!(wrong, None, "another kind");
    let ceremony = finish(&secret, CeremonyKind::OpenId, at(2)).await;
    let ceremony = ceremony.expect("begun before");
    assert_eq!(
        (ceremony.owner, ceremony.destination.as_str()),
        (None, "/machines")
    );
    assert_eq!(finish(&secret, CeremonyKind::OpenId, at(3)).await, None);
    let late = finish(&other, CeremonyKind::OpenId, at(100)).await;
    assert_eq!(late, None, "it took too long");
}

async fn a_ceremony_of_an_owner_ends_with_the_session(store: &dyn Store) {
    let owner = account(store, "adding@example.org").await;
    let session = session_of(store, &owner).await;
    let new = NewCeremony {
        kind: CeremonyKind::Passkey,
        session: Some(&session),
        destination: "",
    };
    let begin = || async {
        store
            .begin_ceremony(new, at(100), at(1))
            .await
            .expect("begun")
    };
    let (first, second) = (begin().await, begin().await);
    let finish = |secret| store.finish_ceremony(secret, CeremonyKind::Passkey, at(2));
    let ceremony = finish(&first).await.expect("answered");
    assert_eq!(ceremony.expect("begun").owner, Some(owner.id));
    store.end_session(&session).await.expect("ended");
    assert_eq!(finish(&second).await.expect("answered"), None);
}

async fn an_identity_is_of_one_account(store: &dyn Store) {
    let owner = account(store, "bound@example.org").await;
    let other = account(store, "unbound@example.org").await;
    let bound = identity("bound");
    assert!(by_identity(store, &bound).await.is_none());
    let added = store.add_identity(owner.id, &bound, at(2)).await;
    let added = added.expect("bound");
    let again = store.add_identity(owner.id, &bound, at(3)).await;
    assert_eq!(again.expect("bound already"), added);
    let taken = store.add_identity(other.id, &bound, at(3)).await;
    assert!(matches!(taken, Err(StoreError::IdentityTaken)), "{taken:?}");
    assert_owner(store, by_identity(store, &bound).await, owner.id).await;
    let used = Identity {
        used: Some(at(9)),
        ..added
    };
    let listed = store.identities(owner.id).await.expect("listed");
    assert_eq!(listed, [used]);
    let elsewhere = NewIdentity {
        provider: ProviderIdentity {
            issuer: "https://other.example.org".parse().expect("valid"),
            ..bound.provider.clone()
        },
        ..bound
    };
    assert!(by_identity(store, &elsewhere).await.is_none());
    let log = store.audit_log(Some(owner.id), 1).await.expect("log");
    assert_eq!(log[0].action, Action::AddIdentity);
    let reason = log[0].reason.as_deref();
    assert_eq!(reason, Some("bound at https://id.example.org"));
}

async fn an_identity_makes_an_account_with_a_free_address(store: &dyn Store) {
    let email = "from-outside@example.org".parse().expect("valid");
    let outside = identity("outside");
    let made = store.register_identity(&email, &outside, at(2)).await;
    let made = made.expect("made");
    assert_eq!((&made.email, made.plan), (&email, Plan::Free));
    assert_owner(store, by_identity(store, &outside).await, made.id).await;
    let credentials = store.credentials(&email).await.expect("answered");
    assert_eq!(credentials.expect("there").password, None);
    let other = store
        .register_identity(&email, &identity("other"), at(3))
        .await;
    assert!(
        matches!(other, Err(StoreError::EmailTaken { .. })),
        "{other:?}"
    );
    assert!(by_identity(store, &identity("other")).await.is_none());
}

async fn a_passkey_that_was_copied_is_noticed(store: &dyn Store) {
    let owner = account(store, "keyring@example.org").await;
    let added = store.add_passkey(owner.id, &key(1), at(2)).await;
    let added = added.expect("added");
    let again = store.add_passkey(owner.id, &key(1), at(2)).await;
    assert!(matches!(again, Err(StoreError::PasskeyTaken)), "{again:?}");
    for _ in 0..2 {
        let begun = by_passkey(store, added.id, 0).await;
        assert_owner(store, begun, owner.id).await;
    }
    assert_owner(store, by_passkey(store, added.id, 5).await, owner.id).await;
    for copied in [5, 4, 0] {
        let refused = by_passkey(store, added.id, copied).await;
        assert!(refused.is_none(), "{copied}");
    }
    assert_owner(store, by_passkey(store, added.id, 6).await, owner.id).await;
    let found = store.passkey(&key(1).credential).await.expect("answered");
    let expected = Passkey {
        key: NewPasskey {
            counter: 6,
            ..added.key
        },
        used: Some(at(9)),
        ..added
    };
    assert_eq!(found, Some(expected.clone()));
    let listed = store.passkeys(owner.id).await.expect("listed");
    assert_eq!(listed, [expected]);
}

async fn the_last_way_in_stays(store: &dyn Store) {
    let owner = account(store, "one-way@example.org").await;
    let only = store.add_identity(owner.id, &identity("only"), at(2)).await;
    let only = only.expect("bound");
    let refused = store.remove_identity(owner.id, only.id, at(3)).await;
    assert!(matches!(refused, Err(StoreError::LastWay)), "{refused:?}");
    let passkey = store.add_passkey(owner.id, &key(2), at(3)).await;
    let passkey = passkey.expect("added").id;
    let stranger = account(store, "stranger@example.org").await;
    for account in [stranger.id, owner.id] {
        let removed = store.remove_identity(account, only.id, at(4)).await;
        removed.expect("removed, or nothing of theirs");
        let left = store.identities(owner.id).await.expect("listed").len();
        assert_eq!(left, usize::from(account == stranger.id));
    }
    let refused = store.remove_passkey(owner.id, passkey, at(5)).await;
    assert!(matches!(refused, Err(StoreError::LastWay)), "{refused:?}");
    store
        .add_identity(owner.id, &identity("only"), at(6))
        .await
        .expect("bound again");
    for _ in 0..2 {
        let removed = store.remove_passkey(owner.id, passkey, at(7)).await;
        removed.expect("removed, or gone");
    }
    assert!(by_passkey(store, passkey, 1).await.is_none());
    let log = store.audit_log(Some(owner.id), 2).await.expect("log");
    assert_eq!(
        [log[0].action, log[1].action],
        [Action::RemovePasskey, Action::AddIdentity]
    );
}

async fn no_way_in_outlives_the_account(store: &dyn Store) {
    let owner = account(store, "gone@example.org").await;
    let (bound, made) = (identity("gone"), key(3));
    store
        .add_identity(owner.id, &bound, at(2))
        .await
        .expect("bound");
    let passkey = store.add_passkey(owner.id, &made, at(2)).await;
    let passkey = passkey.expect("added").id;
    store
        .delete_account(owner.id, at(3))
        .await
        .expect("deleted");
    assert!(by_identity(store, &bound).await.is_none());
    assert!(by_passkey(store, passkey, 1).await.is_none());
    assert_eq!(
        store.passkey(&made.credential).await.expect("answered"),
        None
    );
    let late = store.add_passkey(owner.id, &made, at(4)).await;
    assert!(
        matches!(late, Err(StoreError::UnknownAccount { .. })),
        "{late:?}"
    );
}

async fn an_account_has_so_many_and_no_more(store: &dyn Store) {
    let owner = account(store, "collector@example.org").await;
    for number in 0..Identity::LIMIT {
        let one = identity(&format!("n{number}"));
        let added = store.add_identity(owner.id, &one, at(2)).await;
        added.expect("bound");
    }
    let more = store.add_identity(owner.id, &identity("more"), at(2)).await;
    assert!(
        matches!(
            more,
            Err(StoreError::TooManyWays {
                limit: Identity::LIMIT
            })
        ),
        "{more:?}"
    );
    for number in 0..Passkey::LIMIT {
        let made = key(100 + u8::try_from(number).expect("few"));
        let added = store.add_passkey(owner.id, &made, at(2)).await;
        added.expect("added");
    }
    let more = store.add_passkey(owner.id, &key(99), at(2)).await;
    assert!(
        matches!(
            more,
            Err(StoreError::TooManyWays {
                limit: Passkey::LIMIT
            })
        ),
        "{more:?}"
    );
}
