//! What the crate tells an application about its decisions.
//!
//! The core calls one [`Observer`] with borrowed, typed [`Event`]s and nothing else: no logging
//! facade, no metrics crate. Without an observer an event costs one branch. Events carry names the
//! operator chose (endpoints, models of configured chains) and static labels; never a prompt, an
//! answer, a key or a tenant.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Receives every decision the crate takes.
///
/// It is called on the path of a call, so it should count or hand over, not work, and not call back
/// into the client or its parts. A panic inside
/// it is caught; the observer is then switched off and the panic counted, and the call goes on.
pub trait Observer: Send + Sync + 'static {
    /// Called once per event, from whichever thread took the decision.
    fn on_event(&self, event: &Event<'_>);
}

/// One decision. Labels are static and of low cardinality.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An attempt was started on an endpoint.
    AttemptStarted {
        /// The endpoint's id.
        endpoint: &'a str,
        /// 1 for the first attempt of a call.
        number: u32,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The endpoint's id.
        endpoint: &'a str,
        /// 1 for the first attempt of a call.
        number: u32,
        /// `"success"`, an error kind's label, or `"cancelled"`.
        outcome: &'static str,
        /// From the attempt's start to its end.
        elapsed: Duration,
        /// From the attempt's start to its first content; `None` when there was none to see.
        ttft: Option<Duration>,
    },
    /// A failed attempt will be followed by another one.
    Retry {
        /// The endpoint that failed.
        endpoint: &'a str,
        /// The error kind's label.
        reason: &'static str,
        /// How long the call waits before it tries again.
        delay: Duration,
    },
    /// A retry or a hedge was due but the client's retry budget was empty.
    RetryBudgetExhausted {
        /// The endpoint that failed, or was slow.
        endpoint: &'a str,
    },
    /// An attempt will be started beside one that is slow to show content.
    Hedge {
        /// The endpoint of the attempt that will be started.
        endpoint: &'a str,
        /// For how long the other attempt has shown no content.
        after: Duration,
    },
    /// What became of a hedge; exactly once for each.
    HedgeEnded {
        /// The endpoint of the attempt that was started beside the other one.
        endpoint: &'a str,
        /// `"won"` where the call is committed to it, `"lost"` where it is to the other attempt,
        /// `"failed"`, or `"cancelled"` where the call ended before.
        outcome: &'static str,
    },
    /// What the cache did for a call.
    Cache {
        /// `"exact_hit"`, `"semantic_hit"`, `"shared_hit"`, `"shared_semantic_hit"`, `"coalesced"`,
        /// `"miss"` or `"bypass"`.
        outcome: &'static str,
        /// Why it was bypassed.
        why: Option<&'static str>,
    },
    /// A quota stood against a call.
    QuotaDenied {
        /// `"global"`, `"tenant"`, `"tenant and model"`, or the name of a key.
        level: &'a str,
        /// What the limit counts, such as `"tokens"` or `"concurrency"`.
        limit: &'static str,
        /// When the call would have fitted, where that is known.
        retry_after: Option<Duration>,
    },
    /// A call, or an attempt that follows a failed one, was let through by the queue after it had
    /// to wait.
    Queued {
        /// How long it waited.
        waited: Duration,
    },
    /// The queue did not let a call wait, or no longer.
    QueueRefused {
        /// `"queue_full"`, `"would_miss_deadline"` or `"queue_timeout"`.
        why: &'static str,
    },
    /// The call goes on with another model.
    Fallback {
        /// The model that could not serve it.
        from: &'a str,
        /// The model that takes over.
        to: &'a str,
        /// `"context_length"`, `"content_filter"` or `"unavailable"`.
        why: &'static str,
    },
    /// An endpoint, or one of its models, entered a state or returned to being eligible.
    ///
    /// No task watches the clock: what ends by itself is reported by the first pick or change of
    /// the balancer after it.
    EndpointState {
        /// The endpoint's id.
        endpoint: &'a str,
        /// `"eligible"`, `"trial"`, `"unhealthy"`, `"cooling"`, `"disabled"`, `"draining"` or
        /// `"removed"`.
        state: &'static str,
        /// What led to it: the error kind's label, `"success"`, `"probe"`, `"expired"` where the
        /// state before ended by itself, or `"configuration"`.
        why: &'static str,
        /// How long the state lasts at the most; `None` when only a change ends it.
        lasts: Option<Duration>,
    },
    /// A store that instances share did not answer, or not what it was given.
    StoreFailed {
        /// Which one: `"quota"`, `"cache"`, `"index"` or `"facts"`; `"cache_writes"` and
        /// `"index_writes"` for what no call waits for.
        store: &'static str,
        /// `"unreachable"`, `"late"`, `"refused"` or `"garbled"`.
        why: &'static str,
    },
    /// A store that instances share is no longer asked, or is asked again.
    StoreState {
        /// As in [`StoreFailed`](Self::StoreFailed).
        store: &'static str,
        /// `"open"` where it is not asked, `"closed"` where it is.
        state: &'static str,
    },
    /// A call ended, whichever way.
    CallEnded {
        /// `"success"`, an error's label, or `"cancelled"`.
        outcome: &'static str,
        /// How many attempts were started.
        attempts: u32,
        /// From the application's call to the first content it received.
        ttft: Option<Duration>,
        /// From the application's call to its end.
        total: Duration,
    },
}

/// The shared handle through which the mechanisms reach the observer, if there is one.
#[derive(Clone, Default)]
pub struct Emitter {
    sink: Option<Arc<Sink>>,
}

struct Sink {
    observer: Box<dyn Observer>,
    off: AtomicBool,
    panics: AtomicU64,
}

impl Emitter {
    /// An emitter whose events go to `observer`.
    pub fn to(observer: impl Observer) -> Self {
        let sink = Sink {
            observer: Box::new(observer),
            off: AtomicBool::new(false),
            panics: AtomicU64::new(0),
        };
        Self { sink: Some(Arc::new(sink)) }
    }

    /// Builds the event and delivers it, when somebody listens; otherwise does neither.
    #[inline]
    pub fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(sink) = &self.sink {
            sink.deliver(&event());
        }
    }

    /// Whether somebody listens.
    #[must_use]
    pub const fn is_observed(&self) -> bool {
        self.sink.is_some()
    }

    /// How often the observer panicked: 0 or 1, for it is not called again.
    #[must_use]
    pub fn observer_panics(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.panics.load(Ordering::Relaxed))
    }
}

impl Sink {
    fn deliver(&self, event: &Event<'_>) {
        // Relaxed: an event more or less after the switch-off harms nobody.
        if self.off.load(Ordering::Relaxed) {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| self.observer.on_event(event))).is_err() {
            self.off.store(true, Ordering::Relaxed);
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("observed", &self.sink.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panicking;

    impl Observer for Panicking {
        fn on_event(&self, _: &Event<'_>) {
            panic!("an observer's own bug");
        }
    }

    #[test]
    fn a_panicking_observer_is_switched_off_and_counted() {
        let emitter = Emitter::to(Panicking);
        for _ in 0..3 {
            emitter.emit(|| Event::RetryBudgetExhausted { endpoint: "a" });
        }
        assert_eq!(emitter.observer_panics(), 1);
    }

    #[test]
    fn without_an_observer_no_event_is_built() {
        Emitter::default().emit(|| unreachable!("nobody listens"));
    }
}
