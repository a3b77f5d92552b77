//! The queue, as its callers see it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::options::TenantId;
use crate::queue::adaptive::AdaptiveLimit;
use crate::queue::builder::QueueBuilder;
use crate::queue::gate::Gate;
use crate::queue::inner::Inner;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::settings::QueueSettings;
use crate::queue::slot::Slot;
use crate::queue::waiter::Waiter;
use crate::time::{Instant, now, until};

/// Lets calls wait for a [`Gate`] in fair order.
///
/// Cheap to clone; clones share everything. Without waiters a call asks the gate and nobody else.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use evenkeel::queue::{Gate, Passage, Place, RequestQueue};
/// use evenkeel::time::{Instant, now};
/// use tokio::sync::{OwnedSemaphorePermit, Semaphore};
///
/// /// Four at once.
/// struct Four(Arc<Semaphore>);
///
/// impl Gate for Four {
///     type Demand = ();
///     type Pass = OwnedSemaphorePermit;
///     type Never = ();
///
///     fn try_pass(&self, (): &(), _now: Instant) -> Passage<OwnedSemaphorePermit, ()> {
///         match Arc::clone(&self.0).try_acquire_owned() {
///             Ok(permit) => Passage::Pass(permit),
///             Err(_) => Passage::NotBefore(None),
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let queue = RequestQueue::builder().max_depth(100).build()?;
/// let gate = Arc::new(Four(Arc::new(Semaphore::new(4))));
/// let place = Place::new(now() + Duration::from_secs(5)).tenant("acme").cost(500);
///
/// let (slot, permit) = queue.acquire(&gate, (), place).await.expect("nobody is in front");
/// // ... work ...
/// drop(permit);
/// slot.settle(420);
/// # Ok::<(), evenkeel::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RequestQueue {
    pub(super) inner: Arc<Inner>,
}

/// What a queue looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Calls that wait.
    pub depth: usize,
    /// Calls that passed and have not ended.
    pub running: usize,
    /// How long the call that waits longest has waited.
    pub oldest_wait: Option<Duration>,
    /// Calls that wait: batch, normal, interactive.
    pub by_class: [usize; 3],
    /// Tenants with most waiting calls, most first; at most ten.
    pub top_tenants: Vec<(Option<TenantId>, usize)>,
    /// How many calls may run at once, where that adapts itself.
    pub concurrency_limit: Option<usize>,
}

impl RequestQueue {
    /// Starts a configuration.
    pub fn builder() -> QueueBuilder {
        QueueBuilder::default()
    }

    pub(crate) fn from_parts(settings: QueueSettings, limit: Option<AdaptiveLimit>) -> Self {
        Self { inner: Arc::new(Inner::new(settings, limit)) }
    }

    /// Waits until `gate` lets `demand` pass.
    ///
    /// Returns the call's [`Slot`], to be held until the call ends, and the gate's pass.
    ///
    /// # Errors
    /// [`Refused`] says why; `WouldMissDeadline` and `Full` at once, not after waiting.
    ///
    /// # Cancellation
    /// Dropping the future gives up the place; what was granted meanwhile goes to the next.
    ///
    /// # Panics
    /// When polled outside a tokio runtime with its timer enabled and there is something to wait for,
    /// and when the gate panics while it is asked for this call.
    pub async fn acquire<G: Gate>(
        &self,
        gate: &Arc<G>,
        demand: G::Demand,
        place: Place,
    ) -> Result<(Slot, G::Pass), Refused<G::Never>> {
        self.acquire_at(gate, demand, place, now()).await
    }

    /// As [`acquire`](Self::acquire), at an instant the caller has read already: where nobody waits
    /// the clock is not read again.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_at<G: Gate>(
        &self,
        gate: &Arc<G>,
        demand: G::Demand,
        place: Place,
        now: Instant,
    ) -> Result<(Slot, G::Pass), Refused<G::Never>> {
        if let Some(pass) = self.inner.pass_by(&**gate, &demand, &place, now)? {
            return Ok((Slot::new(&self.inner, place, now, None), pass));
        }
        let waiter = Arc::new(Waiter::new(Arc::clone(gate), demand));
        let (account, pass) = Inner::line_up(&self.inner, waiter, &place, now)?.wait().await?;
        Ok((Slot::new(&self.inner, place, now, account), pass))
    }

    /// The gate may have opened: whoever's turn it is asks it. Costs next to nothing while nobody
    /// waits.
    ///
    /// May be called from within a gate, a pass's destructor, or anywhere else.
    pub fn reopen(&self) {
        self.inner.freed();
    }

    /// Takes no more calls. Those that wait go on waiting.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Takes no more calls, serves those that wait until `deadline`, and refuses the rest. Returns
    /// how many were refused. Calls that run may wait again until then, and not after.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue closed, and the waiting calls waiting.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.close();
        let _ = until(deadline, self.inner.until(|inner| inner.waiting() == 0)).await;
        self.inner.over_at(deadline)
    }

    /// Waits until no call waits and none is running.
    pub async fn drained(&self) {
        self.inner.until(Inner::is_idle).await;
    }

    /// How many calls wait. One atomic load.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.inner.waiting()
    }

    /// Whether it takes no more calls.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// What it looks like right now. Takes the lock, and looks at every waiter.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.inner.stats(now())
    }
}

impl fmt::Debug for RequestQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("waiting", &self.inner.waiting())
            .field("running", &self.inner.running())
            .finish_non_exhaustive()
    }
}
