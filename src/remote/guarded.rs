//! A store behind its deadline and its breaker.

use std::future::Future;
use std::time::Duration;

use super::breaker::{Breaker, BreakerState, Permit};
use super::error::StoreError;
use crate::event::{Emitter, Event};
use crate::rng::Rng;
use crate::sync::Mutex;
use crate::time::{after, now, until};

/// One store, asked with a deadline for each operation, and not asked while it keeps failing.
///
/// An operation costs its caller the deadline at the most; while the breaker is open it costs
/// nothing. See [`Breaker`] for when it opens.
#[derive(Debug)]
pub struct Guarded {
    name: &'static str,
    deadline: Duration,
    rng: Rng,
    state: Mutex<(Breaker, Emitter)>,
}

impl Guarded {
    /// Guards the store with this name (a label of low cardinality, such as `"quota"`), each of whose
    /// operations may take as long as `deadline`.
    #[must_use]
    pub fn new(name: &'static str, deadline: Duration) -> Self {
        Self { name, deadline, rng: Rng::from_entropy(), state: Mutex::default() }
    }

    /// Tells `emitter` from now on of failures and of the breaker's changes, unless there is one.
    pub fn observe(&self, emitter: &Emitter) {
        let mut state = self.state.lock();
        if !state.1.is_observed() {
            state.1 = emitter.clone();
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How the breaker stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state.lock().0.state()
    }

    /// How long the store is not to be asked: nothing where a trial is due, `None` while it is asked
    /// as a matter of course. For those who leave trials to others.
    #[must_use]
    pub fn rest(&self) -> Option<Duration> {
        self.state.lock().0.rest(now())
    }

    /// Asks the store, with the deadline.
    ///
    /// # Errors
    /// What the operation fails with, [`StoreError::Late`] at the deadline, and at once
    /// [`StoreError::Resting`] while the breaker is open.
    ///
    /// # Cancellation
    /// Dropping the future drops the operation. A trial that is dropped lets another one in.
    pub async fn ask<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let asking = self.admit()?;
        let answer = until(after(now(), self.deadline), operation).await;
        let answer = answer.unwrap_or(Err(StoreError::Late(self.deadline)));
        asking.end(answer.as_ref().err());
        answer
    }

    fn admit(&self) -> Result<Asking<'_>, StoreError> {
        let permit = self.state.lock().0.admit(now()).map_err(StoreError::Resting)?;
        Ok(Asking { store: self, permit: Some(permit) })
    }

    /// Counts what became of an operation, and says so where somebody listens: outside the lock.
    fn count(&self, permit: &Permit, error: Option<&StoreError>) {
        let at = now();
        let (changed, state, emitter) = {
            let mut state = self.state.lock();
            let changed = match error {
                Some(StoreError::TooLarge { .. }) => {
                    state.0.abandoned(permit, at);
                    false
                }
                Some(error) if error.is_failure() => state.0.failed(permit, at, &self.rng),
                _ => state.0.succeeded(permit, at),
            };
            (changed, state.0.state(), state.1.clone())
        };
        if let Some(error) = error {
            emitter.emit(|| Event::StoreFailed { store: self.name, why: error.label() });
        }
        if changed {
            emitter.emit(|| Event::StoreState { store: self.name, state: state.label() });
        }
    }
}

/// An operation that is out.
struct Asking<'a> {
    store: &'a Guarded,
    permit: Option<Permit>,
}

impl Asking<'_> {
    fn end(mut self, error: Option<&StoreError>) {
        if let Some(permit) = self.permit.take() {
            self.store.count(&permit, error);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(permit) = &self.permit {
            self.store.state.lock().0.abandoned(permit, now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(25);

    async fn unreachable() -> Result<(), StoreError> {
        Err(StoreError::Unreachable("refused".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn five_calls_pay_for_a_store_that_hangs_and_the_sixth_does_not() {
        let store = Guarded::new("quota", DEADLINE);
        let start = now();
        for _ in 0..5 {
            let answer = store.ask(pending::<Result<(), StoreError>>()).await;
            assert!(matches!(answer, Err(StoreError::Late(DEADLINE))));
        }
        assert_eq!(now() - start, DEADLINE * 5);
        let answer = store.ask(pending::<Result<(), StoreError>>()).await;
        assert!(matches!(answer, Err(StoreError::Resting(_))));
        assert_eq!(now() - start, DEADLINE * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_dropped_at_its_first_wait_is_followed_by_another() {
        let store = Guarded::new("quota", DEADLINE);
        for _ in 0..5 {
            let _ = store.ask(unreachable()).await;
        }
        assert_eq!(store.state(), BreakerState::Open);
        crate::time::sleep_until(after(now(), Duration::from_millis(500))).await;
        {
            let mut trial = Box::pin(store.ask(pending::<Result<(), StoreError>>()));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(trial.as_mut().poll(&mut context).is_pending());
            assert_eq!(store.state(), BreakerState::HalfOpen);
        }
        assert!(store.ask(async { Ok(7) }).await.is_ok_and(|it| it == 7));
        assert_eq!(store.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_is_too_large_neither_opens_nor_closes_it() {
        let store = Guarded::new("cache", DEADLINE);
        let too_large = || async { Err::<(), _>(StoreError::TooLarge { most: 7 }) };
        for _ in 0..20 {
            assert!(store.ask(too_large()).await.is_err());
        }
        assert_eq!(store.state(), BreakerState::Closed);
        for _ in 0..5 {
            let _ = store.ask(unreachable()).await;
        }
        crate::time::sleep_until(after(now(), Duration::from_millis(500))).await;
        assert!(store.ask(too_large()).await.is_err());
        assert_eq!(store.state(), BreakerState::Open, "nobody was asked whether it is back");
        assert!(store.ask(async { Ok(7) }).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_makes_no_sense_does_not_open_it() {
        let store = Guarded::new("cache", DEADLINE);
        for _ in 0..100 {
            let garbled = async { Err::<(), _>(StoreError::Garbled("truncated".into())) };
            assert!(matches!(store.ask(garbled).await, Err(StoreError::Garbled(_))));
        }
        assert_eq!(store.state(), BreakerState::Closed);
    }
}
