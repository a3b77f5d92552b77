//! Reserving from limits that instances share: one line a tenant, as with limits of one process.
//!
//! Whoever is at the head of its tenant's line asks again when the store said that its call would fit,
//! a little later than that, so that instances that were told the same do not come together; and when
//! this instance has told the store of something that was given back. What other instances give back
//! nobody is told: for that, running calls of others, the head asks now and then. One of a line asks at
//! a time.

use std::sync::Arc;
use std::time::Duration;

use super::link::{Link, State};
use super::ticket::{Refused, Ticket};
use crate::quota::amounts::Amounts;
use crate::quota::denied::{Denied, Level, Reason};
use crate::quota::key::ScopeKey;
use crate::quota::limiter::{QuotaLimiter, Whose};
use crate::quota::limits::OnLimit;
use crate::quota::reservation::Reservation;
use crate::quota::store::StoredScope;
use crate::quota::turnstile::{Line, Standing, may_wait};
use crate::time::{FAR_FUTURE, Instant, after, now, until};

/// How often the head of a line asks whether a running call of another instance has ended: from the
/// first to the second, twice as long each time.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_millis(800);

/// Instances that were told the same come within a tenth of the wait, or this at the most.
const MOST_JITTER: Duration = Duration::from_millis(100);

pub(crate) async fn reserve(
    limiter: &QuotaLimiter,
    link: &Arc<Link>,
    whose: &Whose<'_>,
    amounts: &Amounts,
    deadline: Instant,
) -> Result<Reservation, Denied> {
    link.keep_working();
    let asker = Asker::new(limiter, link, whose, amounts);
    // A call that waits for no limit comes with a deadline that has passed. It has the store's.
    let by = if deadline <= now() { after(now(), FAR_FUTURE) } else { deadline };
    let turnstiles = &limiter.inner().shared.turnstiles;
    let mut refused = None;
    if !turnstiles.is_taken(asker.line) {
        match asker.ask_until(by).await? {
            Err(one) if may_wait(&one.denied, now(), deadline) => refused = Some((one, now())),
            result => return result.map_err(|refused| refused.denied),
        }
    }
    let standing = Standing::enter(turnstiles, asker.line);
    match until(deadline, standing.head()).await {
        Some(_head) => asker.at_the_head(refused, deadline, standing.line()).await,
        None => Err(Denied::new(Level::Tenant, Reason::InLine).of(whose.tenant)),
    }
}

/// A call that is to be let in.
struct Asker<'a> {
    link: &'a Arc<Link>,
    whose: &'a Whose<'a>,
    amounts: &'a Amounts,
    line: ScopeKey,
    taken: Amounts,
    scopes: Vec<StoredScope>,
}

impl<'a> Asker<'a> {
    fn new(
        limiter: &QuotaLimiter,
        link: &'a Arc<Link>,
        whose: &'a Whose<'a>,
        amounts: &'a Amounts,
    ) -> Self {
        let inner = limiter.inner();
        let line = inner.line(whose);
        let plans = inner.plans_of(line, whose);
        let scopes = plans.into_iter().map(|(plan, value)| {
            let name = link.names.name(&plan.level, whose, value);
            StoredScope::new(name, plan.level.clone(), Arc::clone(&plan.limits))
        });
        let scopes = scopes.collect();
        let taken = inner.estimator.taken_of(amounts);
        Self { link, whose, amounts, line, taken, scopes }
    }

    async fn ask(&self) -> Result<Reservation, Refused> {
        let ticket = Ticket::take(self.link, self.line, self.scopes.clone(), self.taken).await;
        let ticket = ticket.map_err(|refused| Refused {
            denied: self.in_full(refused.denied),
            alone: refused.alone,
        })?;
        Ok(Reservation::of_ticket(self.line, *self.amounts, &self.taken, ticket))
    }

    /// Asks until `by`; a store that has not answered then is left, which undoes itself.
    async fn ask_until(&self, by: Instant) -> Result<Result<Reservation, Refused>, Denied> {
        let answer = until(by, self.ask()).await;
        answer.ok_or_else(|| Denied::new(Level::Tenant, Reason::InLine).of(self.whose.tenant))
    }

    async fn at_the_head(
        &self,
        mut refused: Option<(Refused, Instant)>,
        deadline: Instant,
        line: &Line,
    ) -> Result<Reservation, Denied> {
        let mut looks = FIRST_LOOK;
        loop {
            if let Some((refused, at)) = refused {
                let again = again(self.link, &refused, at, &mut looks).min(deadline);
                until(again, line.given_back.notified()).await;
            }
            match self.ask_until(deadline).await? {
                Err(one) if may_wait(&one.denied, now(), deadline) => refused = Some((one, now())),
                result => return result.map_err(|refused| refused.denied),
            }
        }
    }

    /// With whose it is, and whether it may be waited out: a store need not know that of its limits;
    /// where all of them let calls wait, it is clear.
    fn in_full(&self, denied: Denied) -> Denied {
        let waits = |scope: &StoredScope| {
            let rates = scope.limits.rates.iter().all(|limit| limit.on_limit == OnLimit::Wait);
            let limits_calls = scope.limits.concurrency.is_some();
            rates && (!limits_calls || scope.limits.on_concurrency == OnLimit::Wait)
        };
        let kind = matches!(denied.reason, Reason::Rate { .. } | Reason::Concurrency { .. });
        let denied = denied.of(self.whose.tenant);
        let all_wait = kind && self.scopes.iter().all(waits);
        if all_wait { denied.waiting(OnLimit::Wait) } else { denied }
    }
}

/// When the store is asked again that refused at `at`.
fn again(link: &State, refused: &Refused, at: Instant, looks: &mut Duration) -> Instant {
    let wait = refused.denied.retry_after().unwrap_or_else(|| {
        let look = *looks;
        *looks = LAST_LOOK.min(look * 2);
        look
    });
    // What this instance's share says is of no matter once the store is back.
    let back = link.guarded.rest().unwrap_or_default().max(LAST_LOOK);
    let wait = if refused.alone { wait.min(back) } else { wait };
    let jitter = link.rng.jitter(MOST_JITTER.min(wait / 10));
    after(after(at, wait), jitter)
}
