//! Single flight: identical calls share one upstream call, and nobody's leaving disturbs the others.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::cache::flight::{Boarded, Flights, Joined, Leader, Participant};
use evenkeel::testing::drop_after_polls;
use evenkeel::time::{Instant, after, now, sleep_until};
use evenkeel::{Chunk, FinishReason};
use futures::future::join;
use futures::stream::{self, StreamExt as _};
use tokio::task::JoinSet;

type Answers = Flights<u128, Arc<Chunk>>;
type Calls = Arc<AtomicUsize>;

const WORDS: [&str; 4] = ["one", "two", "three", "four"];

fn in_a_while(millis: u64) -> Instant {
    after(now(), Duration::from_millis(millis))
}

/// Prepares itself for a while, as a call does that waits for its quota, and launches.
async fn launch(leader: Leader<u128, Arc<Chunk>>, calls: &Calls) -> Participant<u128, Arc<Chunk>> {
    sleep_until(in_a_while(10)).await;
    calls.fetch_add(1, Ordering::Relaxed);
    let words = stream::iter(WORDS).map(|word| Chunk::text(0, word));
    let chunks = words.chain(stream::iter([Chunk::done(FinishReason::Stop)]));
    let paced = chunks.then(|chunk| async {
        sleep_until(in_a_while(10)).await;
        Ok(Arc::new(chunk))
    });
    leader.launch(paced.boxed())
}

/// A call, in whichever role, to its end.
async fn call(flights: &Answers, calls: &Calls) -> String {
    let participant = match flights.join(1, in_a_while(60_000)) {
        Joined::Lead(leader) => launch(leader, calls).await,
        Joined::Follow(follower) => match follower.await {
            Boarded::Lead(leader) => launch(leader, calls).await,
            Boarded::Ride(participant) => participant,
        },
    };
    let words = participant.filter_map(async |chunk| chunk.unwrap().as_text().map(str::to_owned));
    words.collect::<Vec<_>>().await.join(" ")
}

/// Drops one of two identical calls after every number of polls; returns how many there were.
async fn with_one_that_leaves(the_first_leaves: bool) -> usize {
    let mut polls = 0;
    loop {
        let (flights, calls) = (Answers::default(), Calls::default());
        let stays = call(&flights, &calls);
        let leaves = drop_after_polls(call(&flights, &calls), polls);
        let (stayed, left) = if the_first_leaves {
            let (left, stayed) = join(leaves, stays).await;
            (stayed, left)
        } else {
            join(stays, leaves).await
        };
        assert_eq!(stayed, WORDS.join(" "), "the other left after {polls} polls");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "the other left after {polls} polls");
        assert!(flights.is_empty());
        if left.is_some() {
            return polls;
        }
        polls += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_dropped_at_any_poll_restarts_nothing() {
    assert!(with_one_that_leaves(true).await > WORDS.len());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_dropped_at_any_poll_disturbs_nobody() {
    assert!(with_one_that_leaves(false).await > WORDS.len());
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_on_for_a_call_that_was_dropped_at_any_poll() {
    let (flights, calls) = (Answers::default(), Calls::default());
    let ended = Rc::new(Cell::new(0));
    let done = evenkeel::testing::drop_at_every_poll(
        || call(&flights, &calls),
        |polls| {
            assert!(flights.is_empty(), "something is left of a call dropped after {polls} polls");
            ended.set(polls);
        },
    );
    assert_eq!(done.await, WORDS.join(" "));
    assert!(ended.get() > WORDS.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_on_many_threads_that_come_and_go_share_and_leave_nothing() {
    let (flights, calls) = (Answers::default(), Calls::default());
    let mut tasks = JoinSet::new();
    for index in 0..400 {
        let (flights, calls) = (flights.clone(), Arc::clone(&calls));
        // Every third one is dropped somewhere on its way.
        let polls = if index % 3 == 0 { index % 8 } else { usize::MAX };
        tasks.spawn(async move { drop_after_polls(call(&flights, &calls), polls).await });
    }
    for received in tasks.join_all().await {
        assert!(received.is_none_or(|words| words == WORDS.join(" ")));
    }
    assert!(flights.is_empty());
    assert!(calls.load(Ordering::Relaxed) < 400);
}
