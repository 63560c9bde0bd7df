//! Other systems are told what the audit log says, line after line.

use super::{account_with_token, at, operator};
use crate::{HookName, HookTrouble, Store};

pub async fn run(store: &dyn Store) {
    let (account, _) = account_with_token(store, "hooks@example.org").await;
    let name: HookName = "on-call".parse().expect("valid");
    let begun = store.begin_hook(&name).await.expect("begun");
    assert!((begun.told, begun.told_at, begun.given_up) > (0, None, 0));
    assert_eq!(begun.trouble, None);
    let after = async |told, before| {
        let lines = store.audit_after(told, before, 2).await;
        lines.expect("answered")
    };
    assert_eq!(
        after(begun.told, at(1_000)).await,
        [],
        "it begins at the end"
    );

    let by = operator();
    for second in [100, 101, 102] {
        let wanted = second % 2 == 0;
        let changed = store.set_letters(account.id, wanted, &by, at(second));
        changed.await.expect("changed");
    }
    let lines = after(begun.told, at(1_000)).await;
    let times: Vec<_> = lines.iter().map(|line| line.entry.at).collect();
    assert_eq!(times, [at(100), at(101)], "oldest first, so many");
    let rest = after(lines[1].number, at(1_000)).await;
    assert_eq!(rest.len(), 1);
    let early = after(begun.told, at(101)).await;
    assert_eq!(early, lines[..1], "nothing from then on");
    assert_eq!(after(begun.told, at(100)).await, []);

    let mut state = begun;
    state.told = lines[0].number;
    state.told_at = Some(at(200));
    state.trouble = Some(HookTrouble {
        tries: 3,
        next: at(300),
        what: "nobody listens".to_owned(),
    });
    store.keep_hook(&state).await.expect("kept");
    let again = store.begin_hook(&name).await.expect("known");
    assert_eq!(again, state, "it goes on where it was");
    let mut old = state.clone();
    old.told -= 1;
    store.keep_hook(&old).await.expect("no error");
    assert_eq!(store.hooks().await.expect("listed"), [state], "not back");
}
