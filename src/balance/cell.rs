//! The part of an endpoint that its attempts share.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::balance::balancer::Shared;
use crate::balance::calls::Calls;
use crate::balance::chooser::Chooser;
use crate::balance::demand::{EndpointKey, seed_of};
use crate::balance::endpoint::Endpoint;
use crate::balance::load::Load;
use crate::balance::state::Trouble;
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// An endpoint at run time. What changes with every lease lies on cache lines of its own (the align
/// attributes of its parts), so that leases do not slow down the picks that read the rest.
pub(crate) struct EndpointCell {
    pub(crate) key: EndpointKey,
    pub(crate) id: EndpointId,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) provider_id: Arc<str>,
    pub(crate) capabilities: Capabilities,
    /// What its scores for keys depend on: its name, so that instances agree.
    pub(crate) seed: u64,
    pub(crate) balancer: Weak<Shared>,
    pub(crate) chooser: Arc<Chooser>,
    pub(crate) calls: Calls,
    pub(crate) load: Load,
    trouble: AtomicU64,
    trial: Trial,
}

impl EndpointCell {
    pub(crate) fn new(
        key: EndpointKey,
        endpoint: &Endpoint,
        balancer: Weak<Shared>,
        chooser: Arc<Chooser>,
    ) -> Self {
        Self {
            key,
            id: endpoint.id().clone(),
            provider: Arc::clone(endpoint.provider()),
            provider_id: Arc::clone(endpoint.provider_id()),
            capabilities: endpoint.capabilities(),
            seed: seed_of(endpoint.id().as_str()),
            balancer,
            calls: Calls::default(),
            load: Load::default(),
            trouble: AtomicU64::new(0),
            trial: Trial::default(),
            chooser,
        }
    }

    pub(crate) fn trial(&self) -> &Trial {
        &self.trial
    }

    /// What a success would clear. Spares successes the lock; written under it. A success that reads
    /// a stale value overlapped the failure it would have cleared, and the next success clears it.
    pub(crate) fn trouble(&self) -> Trouble {
        Trouble(self.trouble.load(Ordering::Relaxed))
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.trouble.store(trouble.0, Ordering::Relaxed);
    }
}

/// At most one attempt at a time finds out whether an endpoint works again.
#[derive(Debug, Default)]
pub(crate) struct Trial(AtomicBool);

impl Trial {
    /// Claims the trial; whether nobody else has.
    pub(crate) fn begin(&self) -> bool {
        // Acquire pairs with the Release in `end`: the next trial sees what the last one learnt.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn end(&self) {
        // Release pairs with the Acquire in `begin`.
        self.0.store(false, Ordering::Release);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for EndpointCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointCell")
            .field("id", &self.id)
            .field("calls", &self.calls.running())
            .field("trial", &self.trial)
            .finish_non_exhaustive()
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use crate::sync::AtomicU32;
    use loom::thread;

    #[test]
    fn loom_one_trial_at_a_time_and_the_next_knows_what_it_taught() {
        loom::model(|| {
            let trial = Arc::new(Trial::default());
            let (taught, running) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let attempt = || {
                let trial = Arc::clone(&trial);
                let (taught, running) = (Arc::clone(&taught), Arc::clone(&running));
                move || {
                    if !trial.begin() {
                        return 0;
                    }
                    assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0);
                    // A load and a store: only the trial's own order makes them add up.
                    taught.store(taught.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    running.fetch_sub(1, Ordering::Relaxed);
                    trial.end();
                    1
                }
            };
            let others = [thread::spawn(attempt()), thread::spawn(attempt())];
            let own = attempt()();
            let begun = own + others.map(|other| other.join().unwrap()).iter().sum::<u32>();
            assert!(begun >= 1 && !trial.is_running());
            assert_eq!(taught.load(Ordering::Relaxed), begun);
        });
    }
}
