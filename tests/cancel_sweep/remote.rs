//! Work with a deadline, and stores behind a breaker.

use std::sync::Arc;

use evenkeel::remote::{BreakerState, Guarded, StoreError};
use evenkeel::testing::drop_at_every_poll;
use evenkeel::time;

use crate::{SECOND, pass};

/// Some waits, for as long as which `alive` has another owner.
async fn waits(alive: Arc<()>) -> u8 {
    for _ in 0..3 {
        pass(SECOND).await;
    }
    u8::from(Arc::strong_count(&alive) == 2)
}

#[tokio::test(start_paused = true)]
async fn an_operation_on_a_store_is_dropped_with_whoever_asked() {
    let (store, alive) = (Guarded::new("store", 60 * SECOND), Arc::new(()));
    let ask = || store.ask(async { Ok(waits(Arc::clone(&alive)).await) });
    let asked = drop_at_every_poll(ask, |polls| {
        assert_eq!(Arc::strong_count(&alive), 1, "after {polls} polls");
        assert_eq!(store.state(), BreakerState::Closed, "who leaves says nothing of the store");
    });
    assert_eq!(asked.await.unwrap(), 1);
}

/// The trial of a store that failed is given up again and again: there is always another one.
#[tokio::test(start_paused = true)]
async fn a_trial_that_is_given_up_anywhere_leaves_room_for_another() {
    let (store, alive) = (Guarded::new("store", 60 * SECOND), Arc::new(()));
    while store.state() == BreakerState::Closed {
        let _failed = store.ask::<()>(async { Err(StoreError::Unreachable("away".into())) }).await;
    }
    pass(60 * SECOND).await;
    let ask = || store.ask(async { Ok(waits(Arc::clone(&alive)).await) });
    let asked = drop_at_every_poll(ask, |_| assert_eq!(Arc::strong_count(&alive), 1));
    assert_eq!(asked.await.unwrap(), 1);
    assert_eq!(store.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_dropped_with_its_work() {
    let alive = Arc::new(());
    let work = || time::until(time::now() + 60 * SECOND, waits(Arc::clone(&alive)));
    let done = drop_at_every_poll(work, |_| assert_eq!(Arc::strong_count(&alive), 1));
    assert_eq!(done.await, Some(1));
}
