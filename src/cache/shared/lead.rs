//! Who asks upstream, where several instances are asked the same at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::answer::SharedKey;
use super::tiers::Tiers;
use super::writes::Job;
use crate::remote::StoreError;
use crate::rng::Rng;
use crate::time::{after, now, run_beside, until};

/// How instances find out that another one is fetching the same answer, and how long they wait for it.
///
/// The first takes a lead in the shared store and keeps it while it fetches. The others look into the
/// store again and again until the answer is there, the lead is free, or they have waited long enough;
/// then they fetch it themselves. So one answer is fetched at most once, and once more for each lead
/// that ended before its answer was there. A store that fails makes everybody fetch at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetFlight {
    /// How long a lead lasts that is not renewed: as long as others wait in vain for an instance that
    /// has died. It is renewed at every third of it. Default 10 s.
    pub lease: Duration,
    /// How long others wait at the most; never more than half of the time that the call has left.
    /// Default 30 s.
    pub most_wait: Duration,
}

impl Default for FleetFlight {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), most_wait: Duration::from_secs(30) }
    }
}

impl FleetFlight {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With how long a lead lasts that is not renewed.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// With how long others wait at the most.
    #[must_use]
    pub const fn most_wait(mut self, wait: Duration) -> Self {
        self.most_wait = wait;
        self
    }
}

/// When the others look again: a fast answer soon, a slow one not too often.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// How long to wait before the look of this number, half as long again or less at random: those who
/// wait for the same do not look all at once.
pub(crate) fn pause(number: usize, rng: &Rng) -> Duration {
    LOOKS[number.min(LOOKS.len() - 1)].mul_f64(0.5 + rng.unit())
}

/// A try for the lead, and the lead where it was had. Dropped, it gives back what it has or may have.
pub(crate) struct Lead {
    tiers: Arc<Tiers>,
    key: SharedKey,
    token: u128,
    lease: Duration,
    /// Whether the store may take it for the leader.
    held: bool,
    /// Ends the renewal when it is dropped.
    renewal: Option<oneshot::Sender<()>>,
}

impl Lead {
    pub(crate) fn new(tiers: &Arc<Tiers>, key: SharedKey, flight: FleetFlight) -> Self {
        let (token, tiers) = (tiers.token(), Arc::clone(tiers));
        Self { tiers, key, token, lease: flight.lease, held: false, renewal: None }
    }

    /// Whether it leads now.
    pub(crate) async fn attempt(&mut self) -> Result<bool, StoreError> {
        // Before it is asked: dropped in between, or failing, the store may have said yes.
        self.held = true;
        let Self { tiers, key, token, lease, .. } = self;
        self.held = tiers.try_lead(key, *token, *lease).await?;
        Ok(self.held)
    }

    /// Keeps the lead until it is dropped. That has to go on while nobody polls the call: its answer
    /// may be streaming to somebody who reads slowly.
    pub(crate) fn keep(&mut self) {
        let (guard, mut dropped) = oneshot::channel();
        self.renewal = Some(guard);
        let (tiers, key, token) = (Arc::clone(&self.tiers), self.key, self.token);
        let lease = self.lease;
        // Outside of a runtime nothing could have been waited for.
        let _ = run_beside(async move {
            while until(after(now(), lease / 3), &mut dropped).await.is_none() {
                // What failed is tried again: the lease may outlast the failure.
                if let Ok(false) = tiers.renew(&key, token, lease).await {
                    return;
                }
            }
        });
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.held {
            self.tiers.write_later(Job::Release(self.key, self.token));
        }
    }
}
