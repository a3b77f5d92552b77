//! A balancer's part in what instances tell one another.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::balance::balancer::Shared;
use crate::balance::facts::accounts::Accounts;
use crate::balance::facts::contract::{AccountFact, FactKind, FactStore};
use crate::balance::facts::heard::Heard;
use crate::balance::facts::outbox::{Letter, Outbox};
use crate::balance::registry::Entry;
use crate::balance::state::News;
use crate::event::Emitter;
use crate::remote::{BreakerState, Guarded, StoreError};
use crate::rng::Rng;
use crate::sync::Mutex;
use crate::time::{Instant, after, now, run_beside, sleep_until, until};

/// What an operation of the store may take. No call waits for it.
const DEADLINE: Duration = Duration::from_millis(250);

/// How often the store is read, a quarter more or less, lest instances that started together read
/// together.
const POLL_EVERY: Duration = Duration::from_secs(1);
const POLL_SPREAD: f64 = 0.25;

/// The pause between two deliveries: refusals come in bursts.
const DELIVERY_PAUSE: Duration = Duration::from_millis(50);

/// How soon a task is started again that could not be, for want of a runtime.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What is shared and the task that does it. The task holds none of it alive, and is ended when this
/// is dropped, wherever it stands.
pub(crate) struct Sharing {
    accounts: Accounts,
    talk: Arc<Talk>,
    balancer: Weak<Shared>,
    task: Mutex<Task>,
}

#[derive(Default)]
struct Task {
    running: Option<AbortHandle>,
    tried: bool,
}

/// What the task needs.
struct Talk {
    store: Arc<dyn FactStore>,
    guarded: Guarded,
    outbox: Outbox,
    rng: Rng,
}

impl Sharing {
    pub(crate) fn new(store: Arc<dyn FactStore>, secret: [u8; 32], balancer: Weak<Shared>) -> Self {
        let guarded = Guarded::new("facts", DEADLINE);
        let talk = Talk { store, guarded, outbox: Outbox::default(), rng: Rng::from_entropy() };
        Self {
            accounts: Accounts::new(secret),
            talk: Arc::new(talk),
            balancer,
            task: Mutex::default(),
        }
    }

    pub(crate) fn observe(&self, emitter: &Emitter) {
        self.talk.guarded.observe(emitter);
    }

    /// The store, as far as its name and its breaker go.
    pub(crate) fn store(&self) -> (&'static str, BreakerState) {
        (self.talk.guarded.name(), self.talk.guarded.state())
    }

    pub(crate) const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Leaves what an outcome told of the endpoint's account to be told to others. Never waits.
    pub(crate) fn tell(&self, entry: &Entry, news: News) {
        let account = || self.accounts.account(entry.config.account_name());
        let (account, letter) = match news {
            News::Cooling(slot, told) => {
                (entry.account_of(slot, &self.accounts), Letter::Told(told))
            }
            News::Disabled(told) => (account(), Letter::Told(told)),
            News::Restored => (account(), Letter::Restored),
        };
        self.talk.outbox.post(account, letter);
    }

    /// Sees to it that the task runs. When to see to it again, where that could not be done: a
    /// balancer may be built before there is a runtime, and outlive one.
    pub(crate) fn keep_running(&self, now: Instant) -> Option<Instant> {
        let mut task = self.task.lock();
        if task.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return None;
        }
        let (talk, balancer) = (Arc::clone(&self.talk), Weak::clone(&self.balancer));
        let Some(running) = run_beside(async move { talk.go_on(&balancer).await }) else {
            let again = if task.tried { after(now, START_AGAIN) } else { now };
            task.tried = true;
            return Some(again);
        };
        task.running = Some(running.abort_handle());
        None
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        if let Some(running) = self.task.lock().running.take() {
            running.abort();
        }
    }
}

impl Talk {
    /// Reads and delivers for as long as there is a balancer to do it for.
    async fn go_on(&self, balancer: &Weak<Shared>) {
        let (mut poll_at, mut heard_before) = (now(), false);
        loop {
            if until(poll_at, self.outbox.filled()).await.is_some() {
                self.deliver().await;
                sleep_until(after(now(), DELIVERY_PAUSE)).await;
            }
            if now() < poll_at {
                continue;
            }
            // What could not be delivered when it came.
            self.deliver().await;
            if let Some(heard) = self.listen().await {
                let Some(balancer) = balancer.upgrade() else { return };
                let nothing = heard.is_empty();
                if !nothing || heard_before {
                    balancer.hear(&heard, now());
                }
                heard_before = !nothing;
            }
            let share = 1.0 - POLL_SPREAD + 2.0 * POLL_SPREAD * self.rng.unit();
            poll_at = after(now(), POLL_EVERY.mul_f64(share));
        }
    }

    async fn deliver(&self) {
        for (account, letter) in self.outbox.take() {
            if self.send(account, letter).await.is_err() {
                self.outbox.put_back(account, letter);
            }
        }
    }

    async fn send(&self, account: u128, letter: Letter) -> Result<(), StoreError> {
        let told = match letter {
            Letter::Restored => return self.guarded.ask(self.store.lift(account)).await,
            Letter::Told(told) => told,
        };
        let lasts = told.ends.saturating_duration_since(now());
        match FactKind::of(told.why) {
            Some(kind) if !lasts.is_zero() => {
                let fact = AccountFact::new(account, kind, lasts).clamped();
                self.guarded.ask(self.store.publish(&fact)).await
            }
            _ => Ok(()),
        }
    }

    /// What the store says, but for what was found to be over while it answered.
    async fn listen(&self) -> Option<Heard> {
        let facts = self.guarded.ask(self.store.all()).await.ok()?;
        let heard = Heard::new(&facts, now());
        Some(heard.without(|account| self.outbox.says_restored(account)))
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("store", &self.talk.guarded.state()).finish_non_exhaustive()
    }
}
