//! What the crate tells an application about its decisions.
//!
//! The core calls one [`Observer`] with borrowed, typed [`Event`]s and nothing else: no logging
//! facade, no metrics crate. Without an observer an event costs one branch. Events carry names the
//! operator chose (endpoints, models), names a call chose (its model), static labels and counts;
//! never a prompt, an answer or a key. Who pays goes with the beginning and the end of a call, as a
//! [`TenantId`] whose `Debug` hides the name.
//!
//! **Joining.** Every call has a number, and each of its attempts one within the call; what is told
//! of them carries both. An attempt may outlive its call: calls that ask the same at the same time
//! share attempts, which carry the number of the call that had them made, and that call may leave
//! before the others do.
//!
//! **Order.** `CallStarted` is the first of a call's events and comes exactly once, and so does
//! `CallEnded`, however the call ends: with an answer, an error, or because its future or stream was
//! dropped. The same holds for `AttemptStarted` and `AttemptEnded`, and an attempt that is not shared
//! ends before its call. A call that is refused for a field of its own is not told of at all.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::options::{Priority, TenantId};
use crate::rate_limits::RateLimits;
use crate::report::EndpointId;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::usage::{Cost, Usage};

/// Receives every decision the crate takes.
///
/// It is called on the path of a call, so it should count or hand over, not work, and not call back
/// into the client or its parts. A panic inside
/// it is caught; the observer is then switched off and the panic counted, and the call goes on.
pub trait Observer: Send + Sync + 'static {
    /// Called once per event, from whichever thread took the decision.
    fn on_event(&self, event: &Event<'_>);

    /// Whether [`Event::ChunkReceived`] is wanted, which comes with every chunk of content. Asked
    /// once, when the observer is handed over. Default: no.
    fn wants_chunks(&self) -> bool {
        false
    }
}

/// One that the application keeps a handle to.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_event(&self, event: &Event<'_>) {
        (**self).on_event(event);
    }

    fn wants_chunks(&self) -> bool {
        (**self).wants_chunks()
    }
}

/// Tells several observers, one after the other.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_event(&self, event: &Event<'_>) {
        self.0.on_event(event);
        self.1.on_event(event);
    }

    fn wants_chunks(&self) -> bool {
        self.0.wants_chunks() || self.1.wants_chunks()
    }
}

/// One decision. Labels are static and of low cardinality.
///
/// Fields are added as the crate learns to tell more: a pattern ends with `..`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call was made.
    #[non_exhaustive]
    CallStarted {
        /// The call's number, unique among those this observer is told of.
        call: u64,
        /// `"complete"` or `"stream"`.
        operation: &'static str,
        /// The model it names.
        model: Option<&'a str>,
        /// How urgent it is.
        priority: Priority,
        /// Who pays.
        tenant: Option<&'a TenantId>,
        /// The most output tokens it asks for.
        max_output_tokens: Option<u64>,
        /// The temperature it asks for.
        temperature: Option<f64>,
        /// The nucleus it asks for.
        top_p: Option<f64>,
    },
    /// An attempt was started on an endpoint.
    #[non_exhaustive]
    AttemptStarted {
        /// The call it is made for.
        call: u64,
        /// The endpoint's id.
        endpoint: &'a str,
        /// 1 for the first attempt of a call.
        number: u32,
        /// The provider's own id.
        provider: &'a str,
        /// The model that is asked for: the call's, or the fallback it has come to.
        model: Option<&'a str>,
        /// The backend's name for it, where the endpoint has one.
        upstream_model: Option<&'a str>,
        /// Whether it is made beside another one.
        hedge: bool,
        /// Whether it finds out if the endpoint works again.
        trial: bool,
    },
    /// A further chunk of content has arrived. Only told to an observer that
    /// [wants it](Observer::wants_chunks).
    #[non_exhaustive]
    ChunkReceived {
        /// The call it belongs to.
        call: u64,
        /// The attempt's number.
        number: u32,
        /// The endpoint's id.
        endpoint: &'a str,
        /// The provider's own id.
        provider: &'a str,
        /// As in [`AttemptStarted`](Self::AttemptStarted).
        model: Option<&'a str>,
        /// From the arrival of the chunk of content before it.
        gap: Duration,
    },
    /// An attempt ended.
    #[non_exhaustive]
    AttemptEnded {
        /// The call it was made for.
        call: u64,
        /// The endpoint's id.
        endpoint: &'a str,
        /// 1 for the first attempt of a call.
        number: u32,
        /// The provider's own id.
        provider: &'a str,
        /// As in [`AttemptStarted`](Self::AttemptStarted).
        model: Option<&'a str>,
        /// The model that answered, as the server names it.
        response_model: Option<&'a str>,
        /// `"success"`, an error kind's label, or `"cancelled"`.
        outcome: &'static str,
        /// The HTTP status of a failure.
        status: Option<u16>,
        /// From the attempt's start to its end.
        elapsed: Duration,
        /// From the attempt's start to its first chunk of any kind; `None` where it did not stream,
        /// or ended before the call was committed to it.
        first_chunk: Option<Duration>,
        /// From the attempt's start to its first content; `None` when there was none to see.
        ttft: Option<Duration>,
        /// Chunks of content that arrived.
        chunks: u32,
        /// The longest time between two chunks of content; `None` where there were no two.
        longest_gap: Option<Duration>,
        /// What it is charged for: as the server counted, marked as an estimate where it did not.
        usage: Usage,
        /// What that cost; `None` where no price is known.
        cost: Option<Cost>,
        /// What the response's headers say of the backend's limits.
        rate_limits: Option<&'a RateLimits>,
    },
    /// A failed attempt will be followed by another one.
    #[non_exhaustive]
    Retry {
        /// The call.
        call: u64,
        /// The endpoint that failed.
        endpoint: &'a str,
        /// The error kind's label.
        reason: &'static str,
        /// How long the call waits before it tries again.
        delay: Duration,
    },
    /// A retry or a hedge was due but the client's retry budget was empty.
    #[non_exhaustive]
    RetryBudgetExhausted {
        /// The call.
        call: u64,
        /// The endpoint that failed, or was slow.
        endpoint: &'a str,
    },
    /// An attempt will be started beside one that is slow to show content.
    #[non_exhaustive]
    Hedge {
        /// The call.
        call: u64,
        /// The endpoint of the attempt that will be started.
        endpoint: &'a str,
        /// For how long the other attempt has shown no content.
        after: Duration,
    },
    /// What became of a hedge; exactly once for each.
    #[non_exhaustive]
    HedgeEnded {
        /// The call.
        call: u64,
        /// The endpoint of the attempt that was started beside the other one.
        endpoint: &'a str,
        /// `"won"` where the call is committed to it, `"lost"` where it is to the other attempt,
        /// `"failed"`, or `"cancelled"` where the call ended before.
        outcome: &'static str,
    },
    /// What the cache did for a call.
    #[non_exhaustive]
    Cache {
        /// The call; for a semantic hit or a miss that several share, the one that had it looked for.
        call: u64,
        /// `"exact_hit"`, `"semantic_hit"`, `"shared_hit"`, `"shared_semantic_hit"`, `"coalesced"`,
        /// `"miss"` or `"bypass"`.
        outcome: &'static str,
        /// Why it was bypassed.
        why: Option<&'static str>,
        /// How alike the question of a hit was: 1 where it was the same.
        similarity: Option<f32>,
        /// What the answer of a hit took when it was fetched.
        saved: Usage,
        /// What that cost, where a price was known.
        saved_cost: Option<Cost>,
    },
    /// A call has its part of its tenant's quota.
    #[non_exhaustive]
    QuotaGranted {
        /// The call.
        call: u64,
        /// The tokens that were reserved.
        tokens: u64,
        /// The money that was reserved.
        cost: Cost,
        /// How long the call waited for it.
        waited: Duration,
    },
    /// A call's reservation was settled.
    #[non_exhaustive]
    QuotaSettled {
        /// The call.
        call: u64,
        /// The tokens that were reserved.
        reserved: u64,
        /// The tokens that are charged.
        charged: u64,
    },
    /// A quota stood against a call.
    #[non_exhaustive]
    QuotaDenied {
        /// The call.
        call: u64,
        /// `"global"`, `"tenant"`, `"tenant and model"`, or the name of a key.
        level: &'a str,
        /// What the limit counts, such as `"tokens"` or `"concurrency"`.
        limit: &'static str,
        /// When the call would have fitted, where that is known.
        retry_after: Option<Duration>,
    },
    /// A call, or an attempt that follows a failed one, was let through by the queue after it had
    /// to wait.
    #[non_exhaustive]
    Queued {
        /// The call.
        call: u64,
        /// Its urgency.
        priority: Priority,
        /// How long it waited.
        waited: Duration,
    },
    /// The queue did not let a call wait, or no longer.
    #[non_exhaustive]
    QueueRefused {
        /// The call.
        call: u64,
        /// Its urgency.
        priority: Priority,
        /// `"queue_full"`, `"would_miss_deadline"` or `"queue_timeout"`.
        why: &'static str,
    },
    /// The call goes on with another model.
    #[non_exhaustive]
    Fallback {
        /// The call.
        call: u64,
        /// The model that could not serve it.
        from: &'a str,
        /// The model that takes over.
        to: &'a str,
        /// `"context_length"`, `"content_filter"` or `"unavailable"`.
        why: &'static str,
    },
    /// An endpoint is configured to serve a model: told of each when the observer is handed over,
    /// and when an endpoint is added or replaced.
    #[non_exhaustive]
    EndpointConfigured {
        /// The endpoint's id.
        endpoint: &'a str,
        /// The provider's own id.
        provider: &'a str,
        /// The model's name; `None` where the endpoint serves any.
        model: Option<&'a str>,
    },
    /// An endpoint, or one of its models, entered a state or returned to being eligible.
    ///
    /// No task watches the clock: what ends by itself is reported by the first pick or change of
    /// the balancer after it.
    #[non_exhaustive]
    EndpointState {
        /// The endpoint's id.
        endpoint: &'a str,
        /// `"eligible"`, `"trial"`, `"unhealthy"`, `"cooling"`, `"disabled"`, `"draining"` or
        /// `"removed"`.
        state: &'static str,
        /// What led to it: the error kind's label, `"success"`, `"probe"`, `"expired"` where the
        /// state before ended by itself, `"shared"` where another instance told of it, or
        /// `"configuration"`.
        why: &'static str,
        /// How long the state lasts at the most; `None` when only a change ends it.
        lasts: Option<Duration>,
    },
    /// A store that instances share did not answer, or not what it was given.
    #[non_exhaustive]
    StoreFailed {
        /// Which one: `"quota"`, `"cache"`, `"index"` or `"facts"`; `"cache_writes"` and
        /// `"index_writes"` for what no call waits for.
        store: &'static str,
        /// `"unreachable"`, `"late"`, `"refused"`, `"too_large"` or `"garbled"`.
        why: &'static str,
    },
    /// A store that instances share is no longer asked, or is asked again.
    #[non_exhaustive]
    StoreState {
        /// As in [`StoreFailed`](Self::StoreFailed).
        store: &'static str,
        /// `"open"` where it is not asked, `"closed"` where it is.
        state: &'static str,
    },
    /// A call ended, whichever way.
    #[non_exhaustive]
    CallEnded {
        /// The call.
        call: u64,
        /// As in [`CallStarted`](Self::CallStarted).
        operation: &'static str,
        /// The model it names.
        model: Option<&'a str>,
        /// How urgent it was.
        priority: Priority,
        /// Who pays.
        tenant: Option<&'a TenantId>,
        /// `"success"`, an error's label, or `"cancelled"`.
        outcome: &'static str,
        /// Where the answer came from: [`ServedBy::label`](crate::report::ServedBy::label), or
        /// `"none"` where there is none.
        source: &'static str,
        /// The endpoint that answered.
        endpoint: Option<&'a EndpointId>,
        /// The model that answered, as the server names it.
        response_model: Option<&'a str>,
        /// The server's id of the response.
        response_id: Option<&'a str>,
        /// How many attempts were started.
        attempts: u32,
        /// What the answer took, as the server counted; where there is none, what the call is charged
        /// for. Nothing where another call paid for it.
        usage: Usage,
        /// What the call cost, attempts that failed included; `None` where no price is known.
        cost: Option<Cost>,
        /// From the application's call to the first content it received.
        ttft: Option<Duration>,
        /// How long the call waited for its quota and for an endpoint, pauses between attempts included.
        queued: Duration,
        /// From the application's call to its end.
        total: Duration,
        /// What of that was neither spent waiting nor with a provider. `None` where the call shared in
        /// what another one fetched, or received from the cache.
        overhead: Option<Duration>,
    },
}

/// The shared handle through which the mechanisms reach the observer, if there is one.
#[derive(Clone, Default)]
pub struct Emitter {
    sink: Option<Arc<Sink>>,
}

struct Sink {
    observer: Box<dyn Observer>,
    wants_chunks: bool,
    off: AtomicBool,
    panics: AtomicU64,
    /// The number of the call that was made last.
    calls: AtomicU64,
}

impl Emitter {
    /// An emitter whose events go to `observer`.
    pub fn to(observer: impl Observer) -> Self {
        // It is the application's code: one that panics already is not asked for more.
        let wants_chunks = catch_unwind(AssertUnwindSafe(|| observer.wants_chunks()));
        let sink = Sink {
            wants_chunks: wants_chunks.unwrap_or(false),
            observer: Box::new(observer),
            off: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            calls: AtomicU64::new(0),
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

    /// Whether whoever listens wants to be told of every chunk.
    #[must_use]
    pub fn wants_chunks(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.wants_chunks)
    }

    /// A number for a call, from 1 on; 0 where nobody listens.
    #[must_use]
    pub fn next_call(&self) -> u64 {
        // Relaxed: each needs a number of its own, in no order.
        self.sink.as_ref().map_or(0, |sink| sink.calls.fetch_add(1, Ordering::Relaxed) + 1)
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
            emitter.emit(|| Event::RetryBudgetExhausted { call: 1, endpoint: "a" });
        }
        assert_eq!(emitter.observer_panics(), 1);
    }

    #[test]
    fn without_an_observer_no_event_is_built() {
        Emitter::default().emit(|| unreachable!("nobody listens"));
    }
}
