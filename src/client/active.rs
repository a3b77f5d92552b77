//! The calls that are running, and how a client stops taking more.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::time::{Instant, until};

/// Counts running calls and closes the door behind the last one.
#[derive(Debug, Default)]
pub(super) struct ActiveCalls {
    /// Twice the running calls, plus one once the door is closed: entering and closing agree on
    /// one word, so no call slips in behind a drain that saw none.
    state: AtomicUsize,
    /// Whether the running calls must end now.
    cut: AtomicBool,
    /// Told when the last call ends behind a closed door.
    idle: Notify,
    /// Told when `cut` is set.
    cutting: Arc<Notify>,
}

const CLOSED: usize = 1;
const CALL: usize = 2;

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Calls that were still running at the deadline and were ended with
    /// [`Error::Closed`](crate::Error::Closed).
    pub cut_off: usize,
}

impl ActiveCalls {
    /// A place for a call; `None` once the door is closed.
    pub(super) fn enter(self: &Arc<Self>) -> Option<ActiveCall> {
        // Relaxed: the word alone decides, and it publishes nothing else.
        if self.state.fetch_add(CALL, Ordering::Relaxed) & CLOSED == 0 {
            return Some(ActiveCall { calls: Arc::clone(self), held: true });
        }
        self.leave();
        None
    }

    fn leave(&self) {
        // AcqRel pairs with itself: the drain that sees no calls left sees what they did.
        if self.state.fetch_sub(CALL, Ordering::AcqRel) == CALL | CLOSED {
            self.idle.notify_waiters();
        }
    }

    pub(super) fn running(&self) -> usize {
        self.state.load(Ordering::Relaxed) / CALL
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        // Acquire pairs with the AcqRel in `leave`.
        self.state.load(Ordering::Acquire) / CALL == 0
    }

    /// Closes the door, and waits for the running calls until `deadline`; then ends the rest.
    pub(super) async fn drain(&self, deadline: Instant) -> Drained {
        self.close();
        if until(deadline, self.until_idle()).await.is_some() {
            return Drained { cut_off: 0 };
        }
        let cut_off = self.running();
        // Release pairs with the Acquire in `Cutoff::is_cut`.
        self.cut.store(true, Ordering::Release);
        self.cutting.notify_waiters();
        Drained { cut_off }
    }

    async fn until_idle(&self) {
        loop {
            // Registered before the count is read: an end in between is not missed.
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }
}

/// One running call's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct ActiveCall {
    calls: Arc<ActiveCalls>,
    held: bool,
}

impl ActiveCall {
    /// Whether running calls must end now.
    pub(super) fn is_cut(&self) -> bool {
        // Acquire pairs with the Release in `drain`.
        self.calls.cut.load(Ordering::Acquire)
    }

    /// Ready when running calls must end. It has to be asked for before [`is_cut`](Self::is_cut).
    pub(super) fn cutting(&self) -> OwnedNotified {
        Arc::clone(&self.calls.cutting).notified_owned()
    }
}

impl ActiveCall {
    /// A place that does not count, for work that calls share who have places of their own.
    pub(super) fn shadow(&self) -> Self {
        Self { calls: Arc::clone(&self.calls), held: false }
    }

    /// Gives the place back: the call has ended, though its stream may live on.
    pub(super) fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.calls.leave();
        }
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_running_and_refuses_the_new() {
        let calls = Arc::new(ActiveCalls::default());
        let call = calls.enter().unwrap();
        let start = now();
        let drain = calls.drain(start + Duration::from_secs(5));
        let end = async {
            crate::time::sleep_until(start + Duration::from_secs(1)).await;
            assert!(calls.enter().is_none());
            drop(call);
        };
        let (drained, ()) = futures::future::join(drain, end).await;
        assert_eq!(drained, Drained { cut_off: 0 });
        assert_eq!(now(), start + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_past_the_deadline_is_cut_off() {
        let calls = Arc::new(ActiveCalls::default());
        let call = calls.enter().unwrap();
        let cutting = call.cutting();
        assert!(!call.is_cut());
        assert_eq!(calls.drain(now() + Duration::from_secs(5)).await, Drained { cut_off: 1 });
        cutting.await;
        assert!(call.is_cut());
    }

    #[tokio::test]
    async fn an_idle_client_drains_at_once() {
        let calls = Arc::new(ActiveCalls::default());
        assert_eq!(calls.drain(now()).await, Drained { cut_off: 0 });
        assert!(calls.is_closed());
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use loom::thread;

    #[test]
    fn loom_a_door_that_closed_on_an_empty_room_lets_nobody_in_and_hides_nothing() {
        loom::model(|| {
            let calls = Arc::new(ActiveCalls::default());
            let done = Arc::new(AtomicUsize::new(0));
            let call = {
                let (calls, done) = (Arc::clone(&calls), Arc::clone(&done));
                thread::spawn(move || {
                    let entered = calls.enter();
                    if entered.is_some() {
                        done.store(1, Ordering::Relaxed);
                    }
                    usize::from(entered.is_some())
                })
            };
            calls.close();
            let seen = calls.is_idle().then(|| done.load(Ordering::Relaxed));
            let entered = call.join().unwrap();
            assert!(seen.is_none_or(|seen| seen == entered), "{seen:?}, {entered} in the end");
            assert!(calls.is_idle() && calls.enter().is_none());
        });
    }
}
