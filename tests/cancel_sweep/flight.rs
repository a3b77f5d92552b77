//! Who flies and who follows.

use std::sync::Arc;

use evenkeel::cache::flight::{Boarded, FlightBounds, Flights, Joined, Participant, Upstream};
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::{Chunk, FinishReason, time};
use futures::future::join;
use futures::{StreamExt as _, stream};

use crate::{SECOND, pass};

type Sky = Flights<u128, Arc<Chunk>>;

fn sky() -> Sky {
    Flights::new(FlightBounds::default())
}

/// Three chunks, one a second, of a work that holds `alive` until it is dropped.
fn work(alive: &Arc<()>) -> Upstream<Arc<Chunk>> {
    let chunks = [Chunk::text(0, "a"), Chunk::text(0, "b"), Chunk::done(FinishReason::Stop)];
    let alive = Arc::clone(alive);
    let paced = stream::iter(chunks).then(move |chunk| {
        let _alive = &alive;
        async move {
            pass(SECOND).await;
            Ok(Arc::new(chunk))
        }
    });
    paced.boxed()
}

async fn ride(participant: Participant<u128, Arc<Chunk>>) -> usize {
    participant.filter(|item| std::future::ready(item.is_ok())).count().await
}

/// Leads after a second, or follows, whichever falls to it.
async fn fly(sky: &Sky, alive: &Arc<()>) -> usize {
    let leader = match sky.join(7, time::now() + 60 * SECOND) {
        Joined::Lead(leader) => leader,
        Joined::Follow(follower) => match follower.await {
            Boarded::Ride(participant) => return ride(participant).await,
            Boarded::Lead(leader) => leader,
        },
    };
    pass(SECOND).await;
    ride(leader.launch(work(alive))).await
}

#[tokio::test(start_paused = true)]
async fn a_flight_ends_with_its_last_passenger_wherever_that_is_dropped() {
    let (sky, alive) = (sky(), Arc::new(()));
    let flown = drop_at_every_poll(
        || fly(&sky, &alive),
        |polls| {
            assert!(sky.is_empty(), "after {polls} polls");
            assert_eq!(Arc::strong_count(&alive), 1, "its work goes on after {polls} polls");
        },
    );
    assert_eq!(flown.await, 3);
}

/// Either of two leaves: the other one has the whole answer.
#[tokio::test(start_paused = true)]
async fn a_follower_disturbs_nobody_wherever_it_is_dropped() {
    for the_first_leaves in [false, true] {
        for polls in 0.. {
            let (sky, alive) = (sky(), Arc::new(()));
            let leaving = drop_after_polls(fly(&sky, &alive), polls);
            let (left, stayed) = if the_first_leaves {
                join(leaving, fly(&sky, &alive)).await
            } else {
                let (stayed, left) = join(fly(&sky, &alive), leaving).await;
                (left, stayed)
            };
            assert_eq!(stayed, 3, "after {polls} polls");
            assert!(sky.is_empty() && Arc::strong_count(&alive) == 1, "after {polls} polls");
            if left.is_some() {
                break;
            }
        }
    }
}
