//! Places in a queue.

use std::sync::Arc;

use evenkeel::RequestQueue;
use evenkeel::queue::{Gate, Passage, Place, Refused};
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::time::{Instant, now};
use futures::future::join;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{SECOND, pass};

/// One at a time.
struct One(Arc<Semaphore>);

impl Gate for One {
    type Demand = ();
    type Pass = OwnedSemaphorePermit;
    type Never = ();

    fn try_pass(&self, (): &(), _now: Instant) -> Passage<OwnedSemaphorePermit, ()> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => Passage::Pass(permit),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

struct Door {
    queue: RequestQueue,
    gate: Arc<One>,
}

impl Door {
    fn new() -> Self {
        let queue = RequestQueue::builder().build().unwrap();
        Self { queue, gate: Arc::new(One(Arc::new(Semaphore::new(1)))) }
    }

    /// Passes, works a second, and passes once more for another one.
    async fn passes_twice(&self) -> Result<(), Refused<()>> {
        let place = Place::new(now() + 60 * SECOND).tenant("acme").cost(10);
        let (mut slot, permit) = self.queue.acquire(&self.gate, (), place).await?;
        pass(SECOND).await;
        drop(permit);
        let permit = slot.acquire_again(&self.gate, ()).await?;
        pass(SECOND).await;
        drop(permit);
        slot.settle(10);
        Ok(())
    }

    #[track_caller]
    fn is_empty(&self, polls: usize) {
        let stats = self.queue.stats();
        assert_eq!((stats.depth, stats.running), (0, 0), "after {polls} polls");
        assert_eq!(self.gate.0.available_permits(), 1, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_queue_is_given_up_wherever_it_is_dropped() {
    let door = Door::new();
    let both = || join(door.passes_twice(), door.passes_twice());
    let passed = drop_at_every_poll(both, |polls| door.is_empty(polls)).await;
    assert!(passed.0.is_ok() && passed.1.is_ok());
    // Alone against one that stays: who is dropped holds nobody up.
    for leaver_first in [true, false] {
        for polls in 0.. {
            let door = Door::new();
            let leaving = drop_after_polls(door.passes_twice(), polls);
            let (left, stayed) = if leaver_first {
                join(leaving, door.passes_twice()).await
            } else {
                let (stayed, left) = join(door.passes_twice(), leaving).await;
                (left, stayed)
            };
            assert!(stayed.is_ok(), "after {polls} polls");
            door.is_empty(polls);
            if left.is_some() {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_refuses_nobody() {
    for polls in 0.. {
        let door = Door::new();
        let draining = async {
            tokio::task::yield_now().await;
            let drain = async {
                let refused = door.queue.drain(now() + 60 * SECOND).await;
                door.queue.drained().await;
                refused
            };
            drop_after_polls(drain, polls).await
        };
        let ((first, second), drained) =
            join(join(door.passes_twice(), door.passes_twice()), draining).await;
        assert!(first.is_ok() && second.is_ok(), "after {polls} polls");
        assert_eq!(door.queue.is_closed(), polls > 0);
        door.is_empty(polls);
        if let Some(refused) = drained {
            assert_eq!(refused, 0);
            break;
        }
    }
}
