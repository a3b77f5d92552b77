//! Waiting for a limit: one line a tenant, first come, first served.
//!
//! Whoever is at the head of its tenant's line sleeps until exactly when its call fits, or until
//! something is given back; the others wait behind it. Nobody polls. A line exists only while
//! somebody stands in it.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::limiter::{QuotaLimiter, Whose};
use crate::quota::limits::OnLimit;
use crate::quota::reservation::Reservation;
use crate::quota::scopes::{ByScope, ScopeKey};
use crate::sync::{AtomicUsize, Ordering};
use crate::time::{Instant, after, now, until};

/// The lines of a limiter.
#[derive(Debug, Default)]
pub(crate) struct Turnstiles {
    lines: ByScope<Arc<Mutex<()>>>,
    standing: AtomicUsize,
    given_back: Notify,
}

impl Turnstiles {
    /// Something was given back: whoever is at the head of a line looks again.
    pub(crate) fn opened(&self) {
        if self.standing.load(Ordering::Relaxed) > 0 {
            self.given_back.notify_waiters();
        }
    }

    /// Whether somebody of that tenant waits already, and goes first.
    fn is_taken(&self, key: ScopeKey) -> bool {
        self.standing.load(Ordering::Relaxed) > 0 && self.lines.contains_key(&key)
    }
}

/// A place in a line. The last one to leave takes the line down.
struct Standing<'a> {
    turnstiles: &'a Turnstiles,
    key: ScopeKey,
    line: Arc<Mutex<()>>,
}

impl<'a> Standing<'a> {
    fn enter(turnstiles: &'a Turnstiles, key: ScopeKey) -> Self {
        turnstiles.standing.fetch_add(1, Ordering::Relaxed);
        let line = Arc::clone(&turnstiles.lines.entry(key).or_default());
        Self { turnstiles, key, line }
    }

    /// Waits to be first.
    async fn head(&self) -> MutexGuard<'_, ()> {
        self.line.lock().await
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.turnstiles.standing.fetch_sub(1, Ordering::Relaxed);
        // The map's reference and this one: nobody else stands here, and nobody can join meanwhile.
        self.turnstiles.lines.remove_if(&self.key, |_, line| Arc::strong_count(line) == 2);
    }
}

pub(crate) async fn reserve(
    limiter: &QuotaLimiter,
    whose: &Whose<'_>,
    amounts: &Amounts,
    deadline: Instant,
) -> Result<Reservation, Denied> {
    let turnstiles = &limiter.inner().turnstiles;
    let key = limiter.inner().line(whose);
    if !turnstiles.is_taken(key) {
        match limiter.try_reserve(whose, amounts) {
            Err(denied) if may_wait(&denied, deadline) => {}
            result => return result,
        }
    }
    let standing = Standing::enter(turnstiles, key);
    let Some(_head) = until(deadline, standing.head()).await else {
        return limiter.try_reserve(whose, amounts);
    };
    at_the_head(limiter, whose, amounts, deadline).await
}

async fn at_the_head(
    limiter: &QuotaLimiter,
    whose: &Whose<'_>,
    amounts: &Amounts,
    deadline: Instant,
) -> Result<Reservation, Denied> {
    loop {
        // Registered before the limits are looked at: what is given back in between is not missed.
        let mut given_back = std::pin::pin!(limiter.inner().turnstiles.given_back.notified());
        given_back.as_mut().enable();
        match limiter.try_reserve(whose, amounts) {
            Err(denied) if may_wait(&denied, deadline) => {
                let fits = denied.retry_after().map_or(deadline, |wait| after(now(), wait));
                until(fits, given_back).await;
            }
            result => return result,
        }
    }
}

/// A wait that would outlast the deadline is over before it begins.
fn may_wait(denied: &Denied, deadline: Instant) -> bool {
    denied.on_limit == OnLimit::Wait
        && denied.retry_after().is_some_and(|wait| after(now(), wait) <= deadline)
}
