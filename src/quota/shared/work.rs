//! What is done beside the calls: telling the store what they used, saying that this instance lives,
//! asking for leases, and paying debts. One task for all clones of a limiter.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::config::LIVES_FOR;
use super::debts::Debt;
use super::link::State;
use super::outbox::{Letter, What};
use crate::quota::amounts::Amounts;
use crate::quota::store::{StoredScope, Verdict};
use crate::remote::StoreError;
use crate::sync::Ordering;
use crate::time::{Instant, after, now, until};

/// How often an instance says that it lives, and when it did not come through.
const BEAT: Duration = Duration::from_secs(3);
const BEAT_AGAIN: Duration = Duration::from_millis(250);

/// After the last limiter is gone, so long is spent on what the store is still to be told.
const FAREWELL: Duration = Duration::from_secs(2);

/// Between attempts that fail while the breaker is closed.
const BREATH: Duration = Duration::from_millis(20);

/// Works until the last limiter and the last reservation are gone, and what they left is told.
pub(super) fn run(state: Arc<State>) -> impl Future<Output = ()> {
    // Made here, so that it is missed also where the future is dropped before its first poll.
    let worker = Worker { state, next_beat: now() };
    worker.work()
}

struct Worker {
    state: Arc<State>,
    next_beat: Instant,
}

impl Worker {
    async fn work(mut self) {
        let mut farewell = None;
        self.state.leases.lock().ask_anew();
        loop {
            // Acquire pairs with the Release where the last one lets go.
            if self.state.closed.load(Ordering::Acquire) {
                let until = *farewell.get_or_insert_with(|| after(now(), FAREWELL));
                let settlements = self.state.leases.lock().close_all();
                self.state.tell_settled(settlements);
                if now() >= until || self.has_nothing_left() {
                    return self.state.outbox.give_up();
                }
            }
            let next = match self.state.guarded.rest() {
                Some(rest) => self.probe(rest).await,
                None => self.do_all().await,
            };
            let next = farewell.map_or(next, |farewell| next.min(farewell));
            until(next, self.state.work.notified()).await;
        }
    }

    fn has_nothing_left(&self) -> bool {
        self.state.outbox.len() == 0 && self.state.debts.lock().len() == 0
    }

    /// The store is away. Finds out whether it is back once the breaker allows it; when to look again.
    async fn probe(&mut self, rest: Duration) -> Instant {
        if rest.is_zero() {
            self.beat().await;
            return now();
        }
        after(now(), rest)
    }

    /// Does what there is to do; when there will be more.
    async fn do_all(&mut self) -> Instant {
        if now() >= self.next_beat {
            self.beat().await;
        }
        let arrived = self.tell().await;
        let settlements = self.state.leases.lock().close(now());
        self.state.tell_settled(settlements);
        self.lease().await;
        self.pay().await;
        self.state.done.notify_waiters();
        let at = now();
        if self.state.outbox.has_letters() {
            return if arrived { at } else { after(at, BREATH) };
        }
        let closing = self.state.leases.lock().next_close();
        let paying = self.state.debts.lock().next();
        [closing, paying].into_iter().flatten().fold(self.next_beat, Instant::min)
    }

    async fn beat(&mut self) {
        let State { guarded, config, .. } = &*self.state;
        let beat = guarded.ask(config.store.beat(config.instance, LIVES_FOR)).await;
        let next = if beat.is_ok() { BEAT } else { BEAT_AGAIN };
        if let Ok(instances) = beat {
            self.state.count_instances(instances);
        }
        self.next_beat = after(now(), next);
    }

    /// Tells a batch of what is to be told. Whether all of it arrived.
    async fn tell(&self) -> bool {
        let letters = self.state.outbox.take().into_iter();
        let out = letters.map(|letter| Out { state: &self.state, letter: Some(letter) }.tell());
        join_all(out).await.into_iter().all(|arrived| arrived)
    }

    async fn lease(&self) {
        let wanted = self.state.leases.lock().wanted();
        join_all(wanted.into_iter().map(|(scope, amounts)| self.ask_lease(scope, amounts))).await;
    }

    async fn ask_lease(&self, scope: StoredScope, amounts: Amounts) {
        let key = Arc::clone(&scope.key);
        let verdict = self.state.ask(&self.state.demand(amounts, vec![scope])).await;
        let mut leases = self.state.leases.lock();
        let stray = match verdict {
            Ok(Verdict::Granted(grant)) => leases.granted(&key, grant, now()),
            Ok(Verdict::Denied(_)) | Err(_) => {
                leases.refused(&key, now());
                None
            }
        };
        drop(leases);
        self.state.tell_settled(stray);
    }

    /// Pays a batch of debts.
    async fn pay(&self) {
        let due = self.state.debts.lock().due(now(), &self.state.rng);
        join_all(due.into_iter().map(|debt| Owed { state: &self.state, debt: Some(debt) }.pay()))
            .await;
    }
}

/// A letter that is out. Dropped before it is told, it goes back.
struct Out<'a> {
    state: &'a State,
    letter: Option<Letter>,
}

impl Out<'_> {
    /// Whether it arrived.
    async fn tell(mut self) -> bool {
        let told = self.tell_once().await;
        let Some(letter) = self.letter.take() else { return true };
        match told {
            Ok(()) => {
                self.state.outbox.told();
                letter.line.inspect(|line| self.state.opened(*line));
                true
            }
            Err(error) => {
                let answered = matches!(error, StoreError::Refused(_) | StoreError::Garbled(_));
                self.state.outbox.back(letter, answered);
                false
            }
        }
    }

    async fn tell_once(&mut self) -> Result<(), StoreError> {
        let State { guarded, config, .. } = self.state;
        let Some(Letter { what, .. }) = &mut self.letter else { return Ok(()) };
        if let What::Undo(demand) = what {
            // Asked again, it answers as before; what it grants only now is given back as well.
            match guarded.ask(config.store.reserve(demand)).await? {
                Verdict::Granted(grant) => *what = What::Settle(grant, Amounts::NONE),
                Verdict::Denied(_) => return Ok(()),
            }
        }
        match what {
            What::Settle(grant, actual) => guarded.ask(config.store.settle(grant, actual)).await,
            What::Undo(_) => Ok(()),
        }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Some(letter) = self.letter.take() {
            self.state.outbox.back(letter, false);
        }
    }
}

/// A debt that is being paid. Dropped before it is, it is owed again.
struct Owed<'a> {
    state: &'a State,
    debt: Option<Debt>,
}

impl Owed<'_> {
    /// A debt is a call that took nothing and used more. It waits for its turn like any other where the
    /// scope is full, and then nobody else is let in either.
    async fn pay(mut self) {
        let Some(debt) = &self.debt else { return };
        let demand = self.state.demand(Amounts::NONE, vec![debt.scope.clone()]);
        if let Ok(Verdict::Granted(grant)) = self.state.ask(&demand).await
            && let Some(debt) = self.debt.take()
        {
            self.state.tell(What::Settle(grant, debt.amounts), None);
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(debt) = self.debt.take() {
            self.state.debts.lock().add(&debt.scope, &debt.amounts);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.state.at_work.store(false, Ordering::Relaxed);
    }
}
