//! Two servers on one database and one repository.

use suture_rollout::Offer;
use suture_store::Plan;

use crate::world::{World, check_in_request, kernel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_knows_the_other_knows() {
    let one = World::new().await;
    let other = one.beside().await;
    let (account, token) = one.account(Plan::Free).await;
    let secret = one.enrolled(&token, 1);
    one.publish(&kernel(), "104.1").await;
    let rollout = one.rollout("104.1").await;

    other.look().await;
    let told = other.check_in(&secret, &check_in_request());
    let goes_first = matches!(told.offer, Offer::Version { .. });
    let exposed = one.store.rollout(rollout.id).await.unwrap().exposed;
    assert_eq!(exposed, u64::from(goes_first), "{told:?}");
    for number in [2, 3] {
        assert_eq!(other.enrol(&token, number).status, 200);
    }
    assert_eq!(one.enrol(&token, 4).status, 403, "the plan covers three");
    assert_eq!(other.delete("/v1/machines/self", &secret).status, 204);
    let there = one.open_database().await;
    assert_eq!(there.machines(account.id).await.unwrap().len(), 2);
}
