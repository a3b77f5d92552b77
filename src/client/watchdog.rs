//! The one timer of a call.
//!
//! Deadline, first content and idle limits are all "not later than", so one timer serves them. It
//! exists only once something was not ready at once, and it is not moved with every chunk: it rings
//! at an instant that was right when it was set, looks whether the limit has moved on meanwhile,
//! and sets itself again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::futures::OwnedNotified;

use crate::client::active::ActiveCall;
use crate::time::{Instant, Sleep, sleep_until};

/// Rings at a limit, or when the client cuts running calls off.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    armed: Option<Pin<Box<Armed>>>,
}

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    cutting: Pin<Box<OwnedNotified>>,
}

/// What rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The limit has passed.
    Limit,
    /// The client ends its running calls.
    CutOff,
}

impl Watchdog {
    /// Ready when `limit` has passed or running calls are cut off. To be asked whenever the work
    /// itself is pending; `limit` may differ from call to call.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: &ActiveCall,
        limit: Instant,
    ) -> Poll<Alarm> {
        let armed = self.armed.get_or_insert_with(|| Box::pin(Armed::new(call, limit)));
        if armed.cutting.as_mut().poll(cx).is_ready() || call.is_cut() {
            return Poll::Ready(Alarm::CutOff);
        }
        // An earlier limit must not wait for a later alarm; a later one is looked at when it rings.
        if limit < armed.sleep.deadline() {
            armed.sleep.as_mut().reset(limit);
        }
        loop {
            ready!(armed.sleep.as_mut().poll(cx));
            if limit <= armed.sleep.deadline() {
                return Poll::Ready(Alarm::Limit);
            }
            armed.sleep.as_mut().reset(limit);
        }
    }
}

impl Watchdog {
    /// Whether anything had to be waited for.
    pub(super) const fn is_armed(&self) -> bool {
        self.armed.is_some()
    }
}

impl Armed {
    fn new(call: &ActiveCall, limit: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(limit)), cutting: Box::pin(call.cutting()) }
    }
}

/// Polls `work`, and `watchdog` where it is pending.
///
/// The work stays where the caller has pinned it: a future that is handed to an async function is
/// copied into it, and its room is taken twice.
pub(super) fn guarded<'a, F: Future>(
    watchdog: &'a mut Watchdog,
    call: &'a ActiveCall,
    limit: Instant,
    mut work: Pin<&'a mut F>,
) -> impl Future<Output = Result<F::Output, Alarm>> + use<'a, F> {
    std::future::poll_fn(move |cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => watchdog.poll(cx, call, limit).map(Err),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::active::ActiveCalls;
    use crate::time::now;
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_rings_exactly_at_the_limit_also_when_the_limit_moves() {
        let call = Arc::new(ActiveCalls::default()).enter().unwrap();
        let mut watchdog = Watchdog::default();
        let start = now();
        for seconds in [5, 7, 8] {
            let limit = start + Duration::from_secs(seconds);
            let alarm = guarded(&mut watchdog, &call, limit, pin!(pending::<()>())).await;
            assert_eq!((alarm, now()), (Err(Alarm::Limit), limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_moves_forward_is_not_slept_through() {
        let call = Arc::new(ActiveCalls::default()).enter().unwrap();
        let mut watchdog = Watchdog::default();
        let start = now();
        let (late, soon) = (start + Duration::from_secs(60), start + Duration::from_secs(1));
        poll_fn(|cx| {
            assert!(watchdog.poll(cx, &call, late).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(
            guarded(&mut watchdog, &call, soon, pin!(pending::<()>())).await,
            Err(Alarm::Limit)
        );
        assert_eq!(now(), soon);
    }
}
