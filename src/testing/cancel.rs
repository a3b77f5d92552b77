//! Cancellation "at every poll": dropping a future at each point at which a caller could drop it.
//!
//! A future can only be dropped between two polls. Dropping it after no poll, after one, after two,
//! and so on until it completes first therefore tries every cancellation there is on one schedule.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use std::time::Duration;
//! use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
//! use evenkeel::{CallContext, Provider};
//!
//! let words = Answer::text("one two three").pace(Duration::from_millis(50));
//! let provider = ScriptedProvider::new("main").forever(words);
//! let cx = CallContext::new(evenkeel::time::now());
//! let request = "hi".into();
//!
//! let answer = drop_at_every_poll(
//!     || provider.complete(&request, &cx),
//!     |polls| assert_eq!(provider.counts().open, 0, "leaked when dropped after {polls} polls"),
//! )
//! .await;
//! assert_eq!(answer?.text(), "one two three");
//! # Ok::<_, evenkeel::ProviderError>(()) }).unwrap();
//! ```

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls `future` at most `polls` times and drops it; its output if it completed by then.
///
/// It is polled on the current task, once whenever the task is woken. Between two polls the task
/// waits, so that timers fire, a paused clock advances and other tasks run: the polls are those the
/// future would have had if it had been awaited. With `polls == 0` it is dropped unpolled.
///
/// A future that waits for something that never happens is not dropped: it has not had its polls.
/// Bound such a test by a deadline.
pub async fn drop_after_polls<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    if polls == 0 {
        return None;
    }
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Makes a future and drops it after no poll, makes another and drops it after one, and so on until
/// one completes; returns what that one returned.
///
/// `after_each` is called after each of them is gone, with the number of polls it was given: the
/// place to assert that nothing is left behind. Costs a number of polls quadratic in those that one
/// future needs.
pub async fn drop_at_every_poll<F: Future>(
    mut make: impl FnMut() -> F,
    mut after_each: impl FnMut(usize),
) -> F::Output {
    let mut polls = 0;
    loop {
        let output = drop_after_polls(make(), polls).await;
        after_each(polls);
        if let Some(output) = output {
            return output;
        }
        polls += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{after, now, sleep_until};
    use std::cell::Cell;
    use std::time::Duration;

    async fn three_polls() -> u8 {
        for _ in 0..2 {
            sleep_until(after(now(), Duration::from_secs(1))).await;
        }
        3
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_gets_its_polls_and_the_time_between_them() {
        let start = now();
        assert_eq!(drop_after_polls(three_polls(), 0).await, None);
        assert_eq!(drop_after_polls(three_polls(), 1).await, None);
        assert_eq!(now(), start, "a single poll waits for nothing");
        assert_eq!(drop_after_polls(three_polls(), 2).await, None);
        assert_eq!(drop_after_polls(three_polls(), 3).await, Some(3));
        assert!(now() >= start + Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_future_is_gone_when_the_drop_is_reported() {
        struct Alive<'a>(&'a Cell<u32>);
        impl Drop for Alive<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let alive = Cell::new(0);
        let make = || {
            alive.set(alive.get() + 1);
            let guard = Alive(&alive);
            async move {
                let _guard = guard;
                three_polls().await
            }
        };
        let mut reported = Vec::new();
        let output = drop_at_every_poll(make, |polls| {
            assert_eq!(alive.get(), 0);
            reported.push(polls);
        });
        assert_eq!(output.await, 3);
        assert_eq!(reported, [0, 1, 2, 3]);
    }
}
