//! What flights promise, each promise a test with its name. Polled by hand where the order matters.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{FutureExt as _, join_all};
use futures::stream::{FusedStream as _, Stream, StreamExt as _};

use super::script::{Act, Bell, Note, Tap};
use super::{Boarded, Failure, FlightBounds, FlightError, Flights, Follower, Joined, Leader};
use crate::cache::flight::Participant;
use crate::time::{after, now, sleep_until, until};

type Item = Result<Note, FlightError<&'static str>>;

fn flights() -> Flights<u128, Note> {
    Flights::default()
}

fn lead(flights: &Flights<u128, Note>) -> Leader<u128, Note> {
    match flights.join(1, now()) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("somebody leads"),
    }
}

fn follow(flights: &Flights<u128, Note>) -> Follower<u128, Note> {
    match flights.join(1, now()) {
        Joined::Lead(_) => panic!("nobody leads"),
        Joined::Follow(follower) => follower,
    }
}

fn ride(follower: Follower<u128, Note>) -> Participant<u128, Note> {
    match follower.now_or_never() {
        Some(Boarded::Ride(participant)) => participant,
        other => panic!("{other:?}"),
    }
}

fn take_over(follower: Follower<u128, Note>) -> Leader<u128, Note> {
    match follower.now_or_never() {
        Some(Boarded::Lead(leader)) => leader,
        other => panic!("{other:?}"),
    }
}

fn poll(participant: &mut Participant<u128, Note>, bell: &Bell) -> Poll<Option<Item>> {
    Pin::new(participant).poll_next(&mut Context::from_waker(&bell.waker()))
}

fn is_pending(follower: &mut Follower<u128, Note>, bell: &Bell) -> bool {
    follower.poll_unpin(&mut Context::from_waker(&bell.waker())).is_pending()
}

/// The numbers it receives now, and how it ended if it did.
fn read(
    participant: &mut Participant<u128, Note>,
) -> (Vec<u32>, Option<FlightError<&'static str>>) {
    let mut numbers = Vec::new();
    while let Some(Some(item)) = participant.next().now_or_never() {
        match item {
            Ok(note) => numbers.push(note.number),
            Err(error) => return (numbers, Some(error)),
        }
    }
    (numbers, None)
}

fn answer(notes: u32) -> Vec<Act> {
    let notes = (0..notes).map(Note::new).chain([Note::last(notes)]);
    notes.map(Act::Give).collect()
}

// --- sharing --------------------------------------------------------------------------------------

#[test]
fn a_hundred_thousand_identical_calls_make_one_upstream_call() {
    let (flights, tap) = (flights(), Tap::with(answer(2)));
    let mut launches = 0;
    let mut followers = Vec::new();
    let mut participants = Vec::new();
    for _ in 0..100_000 {
        match flights.join(1, now()) {
            Joined::Lead(leader) => {
                launches += 1;
                participants.push(leader.launch(tap.work()));
            }
            Joined::Follow(follower) => followers.push(follower),
        }
    }
    participants.extend(followers.into_iter().map(ride));
    for mut participant in participants {
        assert_eq!(read(&mut participant), (vec![0, 1, 2], None));
    }
    assert_eq!((launches, tap.polls()), (1, 3));
    assert!(flights.is_empty());
}

#[test]
fn other_keys_share_nothing() {
    let flights = flights();
    let leaders: Vec<_> = (0..100).map(|key| flights.join(key, now())).collect();
    assert!(leaders.iter().all(|joined| matches!(joined, Joined::Lead(_))));
    assert_eq!(flights.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn two_thousand_followers_each_get_every_item_in_order_the_late_ones_too() {
    const ITEMS: u32 = 50;
    let (flights, pause) = (flights(), Duration::from_millis(10));
    let upstream = futures::stream::iter(0..=ITEMS).then(move |number| async move {
        sleep_until(after(now(), pause)).await;
        Ok(if number == ITEMS { Note::last(number) } else { Note::new(number) })
    });
    let leading = lead(&flights).launch(upstream.boxed());
    let following = (0..2_000u32).map(|index| {
        let flights = &flights;
        async move {
            // They come over the whole of the answer's time.
            sleep_until(after(now(), pause * ITEMS * index / 2_000)).await;
            let Boarded::Ride(participant) = follow(flights).await else {
                panic!("it was launched")
            };
            participant.map(|item| item.unwrap().number).collect::<Vec<_>>().await
        }
    });
    let leading = leading.map(|item| item.unwrap().number).collect::<Vec<_>>();
    let (all, first) = futures::future::join(join_all(following), leading).await;
    let expected: Vec<_> = (0..=ITEMS).collect();
    assert_eq!(first, expected);
    assert!(all.iter().all(|received| *received == expected));
    assert!(flights.is_empty());
}

#[test]
fn a_late_follower_gets_the_start_and_then_lives_along() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    tap.give(0);
    tap.give(1);
    assert_eq!(read(&mut leading), (vec![0, 1], None));
    let mut late = ride(follow(&flights));
    assert_eq!(read(&mut late), (vec![0, 1], None));
    tap.give(2);
    assert_eq!(read(&mut late), (vec![2], None));
    assert_eq!(read(&mut leading), (vec![2], None));
}

#[test]
fn an_answer_that_is_complete_is_not_joined_and_is_still_read_by_those_on_board() {
    let (flights, tap) = (flights(), Tap::with(answer(1)));
    let mut leading = lead(&flights).launch(tap.work());
    let behind = follow(&flights);
    assert_eq!(read(&mut leading), (vec![0, 1], None));
    assert!(leading.is_terminated());
    assert!(flights.is_empty(), "nobody can find it");
    assert_eq!(tap.running(), 0);
    let _another = lead(&flights);
    assert_eq!(read(&mut ride(behind)), (vec![0, 1], None));
}

// --- who polls ------------------------------------------------------------------------------------

#[test]
fn any_participant_may_poll_and_the_others_are_woken_with_the_item() {
    let (flights, tap) = (flights(), Tap::default());
    let leading = lead(&flights).launch(tap.work());
    let (mut follower, bell) = (follow(&flights), Bell::default());
    // The leader is never polled.
    assert!(is_pending(&mut follower, &bell));
    tap.give(7);
    assert!(bell.has_rung());
    assert_eq!(read(&mut ride(follower)), (vec![7], None));
    drop(leading);
}

#[test]
fn work_that_was_not_woken_is_not_polled() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    let bell = Bell::default();
    for _ in 0..10 {
        assert!(poll(&mut leading, &bell).is_pending());
    }
    assert_eq!(tap.polls(), 1);
}

#[test]
fn a_wake_up_of_the_work_wakes_two_and_an_item_wakes_all() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    let mut followers: Vec<_> = (0..100).map(|_| (follow(&flights), Bell::default())).collect();
    assert!(poll(&mut leading, &Bell::default()).is_pending());
    for (follower, bell) in &mut followers {
        assert!(is_pending(follower, bell));
    }
    tap.disturb();
    let rung =
        |followers: &[(_, Bell)]| followers.iter().filter(|(_, bell)| bell.has_rung()).count();
    assert_eq!(rung(&followers), 2);
    for (follower, bell) in &mut followers {
        assert!(is_pending(follower, bell));
    }
    tap.give(0);
    assert_eq!(read(&mut leading), (vec![0], None));
    assert_eq!(rung(&followers), 100);
}

#[test]
fn whoever_was_served_is_not_woken_for_what_others_wait_for() {
    let flights = flights();
    let leader = lead(&flights);
    let mut followers: Vec<_> = (0..3).map(|_| (follow(&flights), Bell::default())).collect();
    for (follower, bell) in &mut followers {
        assert!(is_pending(follower, bell));
    }
    drop(leader);
    // The one that was not told comes first.
    let (first, bell) = followers.swap_remove(0);
    assert!(!bell.has_rung());
    let tap = Tap::default();
    let _leading = take_over(first).launch(tap.work());
    for (follower, bell) in &mut followers {
        assert!(is_pending(follower, bell));
    }
    drop(followers.pop());
    tap.disturb();
    assert!(followers[0].1.has_rung());
    assert!(!bell.has_rung());
}

#[test]
fn a_participant_that_is_not_polled_holds_nobody_up() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    let (mut follower, bell) = (follow(&flights), Bell::default());
    assert!(is_pending(&mut follower, &bell));
    // The last to be polled, and then never again.
    assert!(poll(&mut leading, &Bell::default()).is_pending());
    tap.give(0);
    assert!(bell.has_rung());
    assert_eq!(read(&mut ride(follower)), (vec![0], None));
}

#[test]
fn work_that_wakes_itself_while_it_is_polled_is_polled_again() {
    let (flights, tap) = (flights(), Tap::with([Act::Yield, Act::Give(Note::last(0))]));
    let mut leading = lead(&flights).launch(tap.work());
    let bell = Bell::default();
    assert!(poll(&mut leading, &bell).is_pending(), "others get their turn in between");
    assert!(bell.has_rung());
    assert_eq!(poll(&mut leading, &bell), Poll::Ready(Some(Ok(Note::last(0)))));
    assert_eq!(poll(&mut leading, &bell), Poll::Ready(None));
}

// --- leaving --------------------------------------------------------------------------------------

#[test]
fn a_leader_that_does_not_launch_hands_its_role_on() {
    let flights = flights();
    let leader = lead(&flights);
    let (mut follower, bell) = (follow(&flights), Bell::default());
    assert!(is_pending(&mut follower, &bell));
    drop(leader);
    assert!(bell.has_rung());
    let tap = Tap::with(answer(1));
    let mut leading = take_over(follower).launch(tap.work());
    assert_eq!(read(&mut leading), (vec![0, 1], None));
}

#[test]
fn whoever_comes_while_nobody_leads_leads() {
    let flights = flights();
    let leader = lead(&flights);
    let mut waiting = follow(&flights);
    drop(leader);
    let _leader = lead(&flights);
    assert!(is_pending(&mut waiting, &Bell::default()));
    assert_eq!(flights.len(), 1);
}

#[test]
fn a_role_offered_to_one_who_leaves_goes_to_the_next() {
    let flights = flights();
    let leader = lead(&flights);
    let mut followers: Vec<_> = (0..10).map(|_| (follow(&flights), Bell::default())).collect();
    for (follower, bell) in &mut followers {
        assert!(is_pending(follower, bell));
    }
    drop(leader);
    for _ in 0..9 {
        let woken = followers.iter().position(|(_, bell)| bell.has_rung()).unwrap();
        drop(followers.swap_remove(woken));
    }
    let (last, bell) = followers.pop().unwrap();
    assert!(bell.rings() > 0);
    drop(take_over(last));
    assert!(flights.is_empty());
}

#[test]
fn whoever_leaves_hands_on_the_work_where_it_stands() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    tap.give(0);
    assert_eq!(read(&mut leading), (vec![0], None));
    let (mut following, bell) = (ride(follow(&flights)), Bell::default());
    assert_eq!(read(&mut following), (vec![0], None));
    assert!(poll(&mut following, &bell).is_pending());
    let other = Bell::default();
    assert!(poll(&mut leading, &other).is_pending());
    // Both are told, and the one that was polled last leaves with what it was told.
    tap.give(1);
    assert!(other.has_rung());
    drop(leading);
    assert!(bell.has_rung());
    assert_eq!(read(&mut following), (vec![1], None));
    assert_eq!(tap.running(), 1, "the same work goes on");
}

#[test]
fn the_work_is_dropped_at_once_when_the_last_one_leaves() {
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    let follower = follow(&flights);
    assert!(poll(&mut leading, &Bell::default()).is_pending());
    drop(leading);
    assert_eq!(tap.running(), 1);
    drop(follower);
    assert_eq!(tap.running(), 0);
    assert!(flights.is_empty());
}

#[test]
fn work_that_was_never_polled_is_dropped_too() {
    let (flights, tap) = (flights(), Tap::default());
    drop(lead(&flights).launch(tap.work()));
    assert_eq!((tap.running(), tap.polls()), (0, 0));
    assert!(flights.is_empty());
}

#[test]
fn a_million_calls_that_come_and_go_leave_nothing() {
    let flights = flights();
    let tap = Tap::default();
    let leading = lead(&flights).launch(tap.work());
    for _ in 0..1_000_000 {
        drop(follow(&flights));
    }
    assert!(format!("{leading:?}").contains("participants: 1"));
    drop(leading);
    assert!(flights.is_empty());
}

// --- deadlines ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn every_participant_leaves_at_its_own_deadline_and_the_work_outlives_the_leader() {
    let flights = flights();
    let start = now();
    let at = move |seconds| after(start, Duration::from_secs(seconds));
    let Joined::Lead(leader) = flights.join(1, at(1)) else { panic!("nobody leads") };
    let horizon = leader.horizon();
    assert_eq!(horizon.latest(), at(1));
    let slow = async move {
        sleep_until(at(5)).await;
        Ok(Note::last(0))
    };
    let leading = leader.launch(futures::stream::once(slow).boxed());
    let Joined::Follow(patient) = flights.join(1, at(9)) else { panic!("one leads") };
    let Joined::Follow(hasty) = flights.join(1, at(3)) else { panic!("one leads") };
    assert_eq!(horizon.latest(), at(9));
    let leading = until(at(1), leading.into_future());
    let hasty = until(at(3), hasty);
    let patient = async {
        let Some(Boarded::Ride(participant)) = until(at(9), patient).await else { panic!("late") };
        participant.count().await
    };
    let (leading, hasty, patient) = futures::future::join3(leading, hasty, patient).await;
    assert!(leading.is_none() && hasty.is_none());
    assert_eq!(patient, 1);
    assert_eq!(now(), at(5));
}

// --- failures -------------------------------------------------------------------------------------

#[test]
fn a_failure_reaches_everybody_behind_what_was_received() {
    let acts = [Act::Give(Note::new(0)), Act::Fail(Failure::Shared("broken"))];
    let (flights, tap) = (flights(), Tap::with(acts));
    let mut leading = lead(&flights).launch(tap.work());
    let follower = follow(&flights);
    let all = (vec![0], Some(FlightError::Upstream("broken")));
    assert_eq!(read(&mut leading), all);
    assert_eq!(tap.running(), 0);
    assert!(flights.is_empty());
    assert_eq!(read(&mut ride(follower)), all);
}

#[test]
fn a_leaders_own_failure_is_its_own_and_a_follower_starts_anew() {
    let (flights, own) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(own.work());
    let (mut follower, bell) = (follow(&flights), Bell::default());
    let (mut other, leaders_bell) = (follow(&flights), Bell::default());
    assert!(is_pending(&mut follower, &bell));
    assert!(poll(&mut leading, &leaders_bell).is_pending());
    own.then(Act::Fail(Failure::Own("out of time")));
    // Polled by another one: the failure is kept for the leader.
    assert!(bell.has_rung() && leaders_bell.has_rung());
    let leader = take_over(follower);
    assert!(is_pending(&mut other, &Bell::default()));
    assert_eq!(own.running(), 0);
    let tap = Tap::with(answer(0));
    let mut anew = leader.launch(tap.work());
    assert_eq!(read(&mut leading), (vec![], Some(FlightError::Upstream("out of time"))));
    assert_eq!(read(&mut anew), (vec![0], None));
    assert_eq!(read(&mut ride(other)), (vec![0], None));
    assert!(flights.is_empty());
}

#[test]
fn a_leader_that_waits_hears_of_its_own_failure() {
    let (flights, own) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(own.work());
    let bell = Bell::default();
    let mut followers = [(); 3].map(|()| follow(&flights));
    assert!(poll(&mut leading, &bell).is_pending());
    for follower in &mut followers {
        assert!(is_pending(follower, &Bell::default()));
    }
    own.then(Act::Fail(Failure::Own("out of time")));
    assert!(!bell.has_rung(), "two others were told");
    let [.., newest] = followers;
    drop(take_over(newest));
    assert!(bell.has_rung());
    assert_eq!(read(&mut leading), (vec![], Some(FlightError::Upstream("out of time"))));
}

#[test]
fn the_failure_of_a_leader_that_has_left_reaches_nobody() {
    let (flights, own) = (flights(), Tap::default());
    let leading = lead(&flights).launch(own.work());
    let mut follower = follow(&flights);
    assert!(is_pending(&mut follower, &Bell::default()));
    drop(leading);
    // Sits where the leader sat.
    let successor = follow(&flights);
    own.then(Act::Fail(Failure::Own("out of time")));
    drop(take_over(successor));
    drop(take_over(follower));
}

#[test]
fn once_something_was_received_a_leaders_failure_is_everybodys() {
    let acts = [Act::Give(Note::new(0)), Act::Fail(Failure::Own("out of time"))];
    let (flights, tap) = (flights(), Tap::with(acts));
    let mut leading = lead(&flights).launch(tap.work());
    let follower = follow(&flights);
    let all = (vec![0], Some(FlightError::Upstream("out of time")));
    assert_eq!(read(&mut leading), all);
    assert_eq!(read(&mut ride(follower)), all);
}

#[test]
fn work_that_panics_is_an_error_for_everybody() {
    let (flights, tap) = (flights(), Tap::with([Act::Give(Note::new(0)), Act::Panic]));
    let mut leading = lead(&flights).launch(tap.work());
    let follower = follow(&flights);
    let all = (vec![0], Some(FlightError::Panicked));
    assert_eq!(read(&mut leading), all);
    assert_eq!(tap.running(), 0);
    assert_eq!(read(&mut ride(follower)), all);
    assert!(flights.is_empty());
}

#[test]
fn work_that_panics_when_dropped_takes_nobody_along() {
    struct Grenade(Tap);
    impl Drop for Grenade {
        fn drop(&mut self) {
            drop(std::mem::take(&mut self.0));
            std::panic::resume_unwind(Box::new("told to"));
        }
    }
    let flights = flights();
    let grenade = Grenade(Tap::default());
    let work = futures::stream::poll_fn(move |_| {
        let _ = &grenade;
        Poll::Pending
    });
    drop(lead(&flights).launch(work.boxed()));
    assert!(flights.is_empty());
}

#[test]
fn an_answer_without_its_last_item_is_an_error() {
    let (flights, tap) = (flights(), Tap::with([Act::Give(Note::new(0)), Act::End]));
    let mut leading = lead(&flights).launch(tap.work());
    assert_eq!(read(&mut leading), (vec![0], Some(FlightError::Unfinished)));
    assert!(leading.is_terminated());
}

// --- memory ---------------------------------------------------------------------------------------

#[test]
fn beyond_the_bound_nobody_joins_and_whoever_is_too_far_behind_is_left_behind() {
    let room = size_of::<Note>();
    let flights = Flights::new(FlightBounds::of_bytes(3 * room));
    let tap = Tap::default();
    let mut leading = lead(&flights).launch(tap.work());
    (0..3).for_each(|number| tap.give(number));
    assert_eq!(read(&mut leading), (vec![0, 1, 2], None));
    let (mut slow, mut slower) = (ride(follow(&flights)), ride(follow(&flights)));
    assert_eq!(slow.next().now_or_never(), Some(Some(Ok(Note::new(0)))));
    tap.give(3);
    assert_eq!(read(&mut leading), (vec![3], None));
    assert!(flights.is_empty());
    let _own_flight = lead(&flights);
    assert_eq!(read(&mut slower), (vec![], Some(FlightError::Lagged)));
    assert_eq!(read(&mut slow), (vec![1, 2, 3], None), "still within the bound");
    for number in 4..1_000 {
        tap.give(number);
        assert_eq!(read(&mut leading), (vec![number], None));
        assert!(format!("{leading:?}").contains(&format!("bytes: {}", 3 * room)));
    }
    assert_eq!(read(&mut slow), (vec![], Some(FlightError::Lagged)));
    drop(leading);
    assert_eq!(flights.len(), 1, "the flight that took its place was not taken for it");
}

#[test]
fn nothing_is_left_of_flights_that_have_ended() {
    let flights = flights();
    for key in 0..10_000 {
        let Joined::Lead(leader) = flights.join(key, now()) else { panic!("nobody leads") };
        let mut leading = leader.launch(Tap::with(answer(1)).work());
        assert_eq!(read(&mut leading), (vec![0, 1], None));
    }
    assert!(flights.is_empty());
}

#[test]
fn wakers_run_and_die_outside_the_lock() {
    /// A task that owns a follower, as executors keep them: by its wakers alone.
    struct Task(parking_lot::Mutex<Option<Follower<u128, Note>>>);
    impl std::task::Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {
            drop(self.0.lock().take());
        }
    }
    let (flights, tap) = (flights(), Tap::default());
    let mut leading = lead(&flights).launch(tap.work());
    for wake in [true, false] {
        let task = std::sync::Arc::new(Task(parking_lot::Mutex::new(Some(follow(&flights)))));
        let waker = std::task::Waker::from(std::sync::Arc::clone(&task));
        let mut mine = follow(&flights);
        // The waker of `mine` alone keeps the task, and the task is on board itself.
        assert!(pin!(&mut mine).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((task, waker));
        match wake {
            true => tap.disturb(),
            false => drop(mine),
        }
    }
    assert!(poll(&mut leading, &Bell::default()).is_pending());
    assert!(format!("{leading:?}").contains("participants: 1"));
}
