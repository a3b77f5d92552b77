//! The only door to the clock, and to what runs beside the calls.
//!
//! Every duration the crate measures or waits for goes through here, and from here to tokio's
//! clock. Under `#[tokio::test(start_paused = true)]` the whole crate therefore runs on virtual
//! time, and a test of a thirty second window takes microseconds. Clippy refuses the other doors.

use std::future::Future;
use std::time::{Duration, SystemTime};

pub use tokio::time::{Instant, Sleep};

/// About thirty years: longer than any process lives, short enough that adding it to the present
/// cannot overflow an [`Instant`] on any platform.
pub const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The present, on tokio's clock. Costs one clock read.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
pub fn now() -> Instant {
    Instant::now()
}

/// The present as calendar time, for dates that servers send. Follows no paused clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// A future that is ready at `at`, or at once when `at` has passed.
///
/// # Panics
/// When polled outside a tokio runtime that has its timer enabled.
pub fn sleep_until(at: Instant) -> Sleep {
    tokio::time::sleep_until(at)
}

/// Waits for `future` until `at`; `None` when the instant came first.
///
/// The future is polled before the clock is looked at, so work that is ready at the deadline counts.
pub async fn until<F: Future>(at: Instant, future: F) -> Option<F::Output> {
    tokio::time::timeout_at(at, future).await.ok()
}

/// Runs `task` beside everything else, on the runtime of whoever calls; `None` where there is none.
/// Dropping the handle leaves it running.
///
/// For work that outlives the call it comes from: what a call owes a store that others share. Nothing
/// that a caller waits for may run so, for dropping a future has to be a complete cancellation. The
/// task has to end by itself, or be ended through its handle.
#[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
pub(crate) fn run_beside(
    task: impl Future<Output = ()> + Send + 'static,
) -> Option<tokio::task::JoinHandle<()>> {
    tokio::runtime::Handle::try_current().ok().map(|runtime| runtime.spawn(task))
}

/// `at + by`, or the [far future](FAR_FUTURE) where the sum cannot be represented.
///
/// Durations reach the crate from callers, configuration and servers' headers: none of them may
/// be able to make an addition panic.
#[must_use]
pub fn after(at: Instant, by: Duration) -> Instant {
    at.checked_add(by.min(FAR_FUTURE)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_the_longest_duration_does_not_panic() {
        let start = now();
        assert_eq!(after(start, Duration::MAX), after(start, FAR_FUTURE));
        assert!(after(start, Duration::MAX) > start);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_ready_at_the_deadline_counts() {
        let at = now();
        assert_eq!(until(at, async { 7 }).await, Some(7));
        assert_eq!(until(at, std::future::pending::<()>()).await, None);
    }
}
