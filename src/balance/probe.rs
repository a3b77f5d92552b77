//! Finding out without a call whether an endpoint is back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::balance::balancer::Balancer;
use crate::balance::cell::EndpointCell;
use crate::provider::Provider;
use crate::report::EndpointId;
use crate::time::{after, now, sleep_until, until};

impl Balancer {
    /// Asks every endpoint that is unhealthy or disabled whether it answers, through
    /// [`Provider::probe`], and lets those back in that do. Returns their ids.
    ///
    /// Without it endpoints return all the same, when a trial call succeeds; probing spares that
    /// call the risk. An endpoint whose provider does not implement `probe` counts as answering.
    ///
    /// # Cancellation
    /// Dropping the future abandons the probes that have not answered.
    pub async fn probe(&self, timeout: Duration) -> Vec<EndpointId> {
        let deadline = after(now(), timeout);
        let probes: FuturesUnordered<_> = self
            .sick(now())
            .into_iter()
            .map(|(cell, provider)| async move {
                let answered = until(deadline, answers(provider)).await == Some(true);
                answered.then_some(cell)
            })
            .collect();
        probes.filter_map(async |cell| cell.map(|cell| self.let_in(&cell))).collect().await
    }

    fn let_in(&self, cell: &Arc<EndpointCell>) -> EndpointId {
        self.revive(cell, now());
        cell.id.clone()
    }

    /// Probes every so often, for ever: to be spawned by the application, which ends it by dropping
    /// it. The balancer probes nothing by itself.
    pub async fn keep_probing(&self, every: Duration, timeout: Duration) {
        loop {
            sleep_until(after(now(), every)).await;
            self.probe(timeout).await;
        }
    }
}

async fn answers(provider: Arc<dyn Provider>) -> bool {
    matches!(AssertUnwindSafe(provider.probe()).catch_unwind().await, Ok(Ok(())))
}
