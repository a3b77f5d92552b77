//! Gates that say when they open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::queue::{Passage, Refused};
use evenkeel::time::now;

use crate::gates::{MILLI, SECOND, gate, pass, place, queue, within};

#[tokio::test(start_paused = true)]
async fn a_wait_that_outlasts_the_call_is_refused_at_once() {
    let (start, queue) = (now(), queue(|queue| queue));
    let gate = gate(move |_, _| Passage::NotBefore(Some(start + 30 * SECOND)));
    let refused =
        |outcome| matches!(outcome, Err(Refused::WouldMissDeadline { eta }) if eta == 30 * SECOND);
    assert!(refused(queue.acquire(&gate, 0, within(30 * SECOND)).await.map(|_| ())));
    let _waits = tokio::spawn({
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move { queue.acquire(&gate, 0, within(31 * SECOND)).await.is_ok() }
    });
    tokio::task::yield_now().await;
    assert!(refused(queue.acquire(&gate, 0, within(20 * SECOND)).await.map(|_| ())));
    assert_eq!(now(), start);
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_window_do_not_all_pass_at_once() {
    let opens = now() + 10 * SECOND;
    let queue = queue(|queue| queue);
    let passed = Arc::new(AtomicUsize::new(0));
    let gate = {
        let passed = Arc::clone(&passed);
        gate(move |_, now| match now < opens {
            true => Passage::NotBefore(Some(opens)),
            false => {
                passed.fetch_add(1, Ordering::SeqCst);
                Passage::Pass(())
            }
        })
    };
    for _ in 0..500 {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        tokio::spawn(async move { queue.acquire(&gate, 0, place()).await.map(|_| ()) });
    }
    pass(10 * SECOND + 5 * MILLI).await;
    assert_eq!(passed.load(Ordering::SeqCst), 1);
    pass(50 * MILLI).await;
    assert!((3..=7).contains(&passed.load(Ordering::SeqCst)), "{passed:?}");
    pass(350 * MILLI).await;
    assert_eq!(passed.load(Ordering::SeqCst), 500, "and it is open in less than half a second");
}

/// A bucket that drips every ten milliseconds and keeps nothing.
#[tokio::test(start_paused = true)]
async fn a_gate_that_opens_often_is_used_whenever_it_opens() {
    let queue = queue(|queue| queue);
    let next = Arc::new(drip::Drip::new(now()));
    let gate = gate(move |_, now| next.take(now, 10 * MILLI));
    let start = now();
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let (queue, gate) = (queue.clone(), Arc::clone(&gate));
            tokio::spawn(async move { queue.acquire(&gate, 0, place()).await.map(|_| ()) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // A timer is a millisecond late at the most.
    assert!(now() - start <= 300 * 11 * MILLI, "{:?}", now() - start);
}

mod drip {
    //! The next drip, in milliseconds since the first.

    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use evenkeel::queue::Passage;
    use evenkeel::time::Instant;

    pub(super) struct Drip {
        start: Instant,
        next: AtomicU64,
    }

    impl Drip {
        pub(super) const fn new(start: Instant) -> Self {
            Self { start, next: AtomicU64::new(0) }
        }

        pub(super) fn take(&self, now: Instant, every: Duration) -> Passage<(), ()> {
            let next = Duration::from_nanos(self.next.load(Ordering::SeqCst));
            if now < self.start + next {
                return Passage::NotBefore(Some(self.start + next));
            }
            let after = (now - self.start) + every;
            self.next.store(after.as_nanos() as u64, Ordering::SeqCst);
            Passage::Pass(())
        }
    }
}
