//! Work that one of several servers does at a time, and that each may do.

use std::time::Duration;

use suture_store::{Job, LeaseState, ServerId, Store, StoreError};

/// How long a server that died in the midst of it keeps the others from the work. Longer than the
/// work takes, or two do it at once.
const LONGEST: Duration = Duration::from_secs(300);

/// Does something unless another server is about the same; `None` then. The lease ends with the
/// work, so that a server that starts anew need not wait for what it was before.
pub async fn alone<T, E: From<StoreError>>(
    store: &dyn Store,
    (job, server): (Job, ServerId),
    work: impl Future<Output = Result<T, E>>,
) -> Result<Option<T>, E> {
    if store.take_lease(job, server, LONGEST).await? == LeaseState::Theirs {
        return Ok(None);
    }
    let done = work.await;
    store.give_up_lease(job, server).await?;
    done.map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use suture_store_sql::SqliteStore;

    use super::*;

    #[tokio::test]
    async fn two_servers_work_one_after_the_other_and_never_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("suture.db")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let (job, one, other) = (Job::WriteLetters, ServerId::random(), ServerId::random());
        let does = |server| {
            let store = Arc::clone(&store);
            async move {
                alone(store.as_ref(), (job, server), async {
                    Ok::<_, StoreError>(1)
                })
                .await
            }
        };
        let during = alone(store.as_ref(), (job, one), does(other)).await;
        assert_eq!(during.unwrap(), Some(None), "another is about it");
        assert_eq!(does(other).await.unwrap(), Some(1), "it is done");
        let failed = async { Err::<(), _>(StoreError::NotCopied) };
        assert!(alone(store.as_ref(), (job, one), failed).await.is_err());
        assert_eq!(
            does(other).await.unwrap(),
            Some(1),
            "a failure ends it as well"
        );
    }
}
