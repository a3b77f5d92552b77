//! Waiting for a limit: one line a tenant, first come, first served.
//!
//! Whoever is at the head of its tenant's line sleeps until exactly when its call fits, or until
//! something is given back that it may be waiting for; the others wait behind it. Nobody polls. A
//! line exists only while somebody stands in it.
//!
//! What a tenant's own limits give back wakes the head of its line. What a limit gives back that
//! tenants share wakes the head of every line, and the first to look gets it.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::quota::amounts::Amounts;
use crate::quota::denied::{Denied, Level, Reason};
use crate::quota::key::ScopeKey;
use crate::quota::limiter::{QuotaLimiter, Whose};
use crate::quota::limits::OnLimit;
use crate::quota::reservation::Reservation;
use crate::quota::scopes::ByScope;
use crate::sync::{AtomicUsize, Ordering, fence};
use crate::time::{Instant, after, now, until};

/// The lines of a limiter.
#[derive(Debug, Default)]
pub(crate) struct Turnstiles {
    lines: ByScope<Joined>,
    standing: AtomicUsize,
}

/// A line, and how many stand in it: counted under the map's lock, so that the last to leave is one.
#[derive(Debug, Default)]
struct Joined {
    line: Arc<Line>,
    standing: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    head: Mutex<()>,
    /// Keeps one notice until the head asks, so that none is missed while it looks at its limits.
    pub(crate) given_back: Notify,
}

/// Who may want to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freed {
    Nothing,
    /// The tenant whose call it was.
    Own,
    /// Every tenant.
    Shared,
}

impl Turnstiles {
    /// Something was given back.
    pub(crate) fn opened(&self, freed: Freed, key: ScopeKey) {
        if freed == Freed::Nothing {
            return;
        }
        // Pairs with the fence in `enter`: either the one who waits sees what was given back, or it
        // is seen standing here.
        fence(Ordering::SeqCst);
        if self.standing.load(Ordering::Relaxed) > 0 {
            self.wake(freed, key);
        }
    }

    #[cold]
    fn wake(&self, freed: Freed, key: ScopeKey) {
        if freed == Freed::Own {
            let line = self.lines.get(&key).map(|joined| Arc::clone(&joined.line));
            line.inspect(|line| line.given_back.notify_one());
            return;
        }
        // Woken outside of the map's locks: a waker may run whatever it likes.
        let lines: Vec<_> = self.lines.iter().map(|joined| Arc::clone(&joined.line)).collect();
        lines.iter().for_each(|line| line.given_back.notify_one());
    }

    /// Whether somebody of that tenant waits already, and goes first.
    pub(crate) fn is_taken(&self, key: ScopeKey) -> bool {
        self.standing.load(Ordering::Relaxed) > 0 && self.lines.contains_key(&key)
    }
}

/// A place in a line. The last one to leave takes the line down.
pub(crate) struct Standing<'a> {
    turnstiles: &'a Turnstiles,
    key: ScopeKey,
    line: Arc<Line>,
}

impl<'a> Standing<'a> {
    pub(crate) fn enter(turnstiles: &'a Turnstiles, key: ScopeKey) -> Self {
        let mut joined = turnstiles.lines.entry(key).or_default();
        joined.standing += 1;
        let line = Arc::clone(&joined.line);
        drop(joined);
        turnstiles.standing.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `opened`.
        fence(Ordering::SeqCst);
        Self { turnstiles, key, line }
    }

    /// Waits to be first.
    pub(crate) async fn head(&self) -> MutexGuard<'_, ()> {
        self.line.head.lock().await
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.turnstiles.standing.fetch_sub(1, Ordering::Relaxed);
        self.turnstiles.lines.remove_if_mut(&self.key, |_, joined| {
            joined.standing -= 1;
            joined.standing == 0
        });
    }
}

pub(crate) async fn reserve(
    limiter: &QuotaLimiter,
    whose: &Whose<'_>,
    amounts: &Amounts,
    deadline: Instant,
) -> Result<Reservation, Denied> {
    let turnstiles = &limiter.inner().shared.turnstiles;
    let key = limiter.inner().line(whose);
    if !turnstiles.is_taken(key) {
        let now = now();
        match limiter.try_reserve_at(whose, amounts, now) {
            Err(denied) if may_wait(&denied, now, deadline) => {}
            result => return result,
        }
    }
    let standing = Standing::enter(turnstiles, key);
    match until(deadline, standing.head()).await {
        Some(_head) => at_the_head(limiter, whose, amounts, deadline, &standing.line).await,
        None => Err(Denied::new(Level::Tenant, Reason::InLine).of(whose.tenant)),
    }
}

async fn at_the_head(
    limiter: &QuotaLimiter,
    whose: &Whose<'_>,
    amounts: &Amounts,
    deadline: Instant,
    line: &Line,
) -> Result<Reservation, Denied> {
    loop {
        let now = now();
        // Looks before it takes: two that wait would wake each other for ever by what they take from
        // a limit that has room and give back when the next one refuses.
        let reserved = match limiter.objection(whose, amounts, now)? {
            Some(denied) => Err(denied),
            None => limiter.try_reserve_at(whose, amounts, now),
        };
        match reserved {
            Err(denied) if may_wait(&denied, now, deadline) => {
                let fits = denied.retry_after().map_or(deadline, |wait| after(now, wait));
                until(fits, line.given_back.notified()).await;
            }
            result => return result,
        }
    }
}

/// A wait that would outlast the deadline is over before it begins. How long calls run that hold
/// places nobody knows.
pub(crate) fn may_wait(denied: &Denied, now: Instant, deadline: Instant) -> bool {
    let in_time = match denied.reason {
        Reason::Concurrency { .. } => now < deadline,
        _ => denied.retry_after().is_some_and(|wait| after(now, wait) <= deadline),
    };
    denied.on_limit == OnLimit::Wait && in_time
}
