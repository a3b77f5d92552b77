//! What a call has taken from limits that instances share.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Place;
use super::link::Link;
use super::outbox::What;
use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::key::ScopeKey;
use crate::quota::store::{Grant, StoredScope, Verdict};
use crate::remote::StoreError;
use crate::sync::Ordering;
use crate::time::{Instant, now};

/// What a call has taken. Dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Ticket {
    link: Arc<Link>,
    line: ScopeKey,
    taken: Amounts,
    /// Whether calls may wait for a limit it was taken from.
    waits: bool,
    /// From leases that were paid for before.
    leased: Vec<Place>,
    /// From the store.
    granted: Option<Grant>,
    /// From this instance's share, while the store is away; with the scopes that owe it.
    alone: Option<(Grant, Vec<StoredScope>)>,
    ended: bool,
}

/// Why nothing was taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) denied: Denied,
    /// This instance's share refused it, not the store.
    pub(super) alone: bool,
}

impl Ticket {
    /// Takes `taken` from each of `scopes`, or from none: from leases, from the store, and where that
    /// does not answer from this instance's share.
    pub(super) async fn take(
        link: &Arc<Link>,
        line: ScopeKey,
        mut scopes: Vec<StoredScope>,
        taken: Amounts,
    ) -> Result<Self, Refused> {
        let waits = scopes.iter().any(|scope| scope.limits.may_wait());
        let leased = lease(link, &mut scopes, &taken);
        let link = Arc::clone(link);
        let mut ticket =
            Self { link, line, taken, waits, leased, granted: None, alone: None, ended: false };
        if !scopes.is_empty()
            && let Err(refused) = ticket.ask(scopes).await
        {
            // What was leased goes back without a word: who waits for it is this one, and would ask
            // again at once, for ever.
            ticket.waits = false;
            return Err(refused);
        }
        Ok(ticket)
    }

    async fn ask(&mut self, scopes: Vec<StoredScope>) -> Result<(), Refused> {
        let demand = self.link.demand(self.taken, scopes);
        match self.link.ask(&demand).await {
            Ok(Verdict::Granted(grant)) => {
                self.granted = Some(grant);
                Ok(())
            }
            Ok(Verdict::Denied(denied)) => Err(Refused { denied, alone: false }),
            Err(away) => {
                let taken = self.take_alone(&demand.scopes, rest_of(&self.link, &away));
                taken.map_err(|denied| Refused { denied, alone: true })
            }
        }
    }

    /// Takes from this instance's share.
    fn take_alone(&mut self, scopes: &[StoredScope], rest: Duration) -> Result<(), Denied> {
        let alone = self.link.alone(rest);
        let shares = scopes.iter().map(|scope| {
            let share = alone.share(&scope.limits, &self.taken);
            let share = share.map_err(|reason| Denied::new(scope.level.clone(), reason))?;
            Ok(StoredScope::new(Arc::clone(&scope.key), scope.level.clone(), share))
        });
        let shares = shares.collect::<Result<_, Denied>>()?;
        let demand = self.link.demand(self.taken, shares);
        let grant = self.link.alone.try_reserve(&demand, now())?;
        self.link.alone_calls.fetch_add(1, Ordering::Relaxed);
        self.alone = Some((grant, scopes.to_vec()));
        Ok(())
    }

    /// Ends the call, which has used `actual`.
    pub(crate) fn end(mut self, actual: &Amounts, at: Instant) {
        self.settle(actual, at);
    }

    fn settle(&mut self, actual: &Amounts, at: Instant) {
        self.ended = true;
        self.settle_leased(actual);
        if let Some(grant) = self.granted.take() {
            let line = self.waits.then_some(self.line);
            self.link.tell(What::Settle(grant, *actual), line);
        }
        if let Some((grant, scopes)) = self.alone.take() {
            self.link.alone.settle_at(&grant, actual, at);
            let mut debts = self.link.debts.lock();
            scopes.iter().for_each(|scope| debts.add(scope, actual));
            drop(debts);
            self.link.work.notify_one();
            self.opened();
        }
    }

    fn settle_leased(&mut self, actual: &Amounts) {
        if self.leased.is_empty() {
            return;
        }
        let mut leases = self.link.leases.lock();
        let over = self.leased.iter().filter_map(|it| leases.end(it, &self.taken, actual));
        let over: Vec<_> = over.collect();
        drop(leases);
        self.link.tell_settled(over);
        self.opened();
    }

    fn opened(&self) {
        if self.waits {
            self.link.opened(self.line);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.settle(&Amounts::NONE, now());
        }
    }
}

/// Takes from the leases there are; `scopes` are those that are left.
fn lease(link: &Link, scopes: &mut Vec<StoredScope>, taken: &Amounts) -> Vec<Place> {
    if !link.config.leases {
        return Vec::new();
    }
    let (places, wanting) = link.leases.lock().take(scopes, taken, link.instances(), now());
    if wanting {
        link.work.notify_one();
    }
    places
}

/// The least time after which it is worth coming back to a store that is away.
const LEAST_REST: Duration = Duration::from_millis(100);

fn rest_of(link: &Link, away: &StoreError) -> Duration {
    let rest = match away {
        StoreError::Resting(rest) => Some(*rest),
        _ => link.guarded.rest(),
    };
    rest.unwrap_or_default().max(LEAST_REST)
}
