//! What no event tells.

use crate::client::ClientStats;
use crate::observe::metrics::endpoints::state;
use crate::observe::metrics::observer::Metrics;
use crate::observe::metrics::records::fixed;
use crate::observe::names;
use crate::options::Priority;

impl Metrics {
    /// Sets the gauges that follow no event: the depth of the queue, attempts that run, what quotas and
    /// cache hold, and the state of each endpoint. To be called whenever the metrics are scraped, or
    /// every few seconds.
    pub fn sample(&self, stats: &ClientStats) {
        for endpoint in &stats.endpoints {
            let id = endpoint.id.as_str();
            state(self, id, endpoint.state.state);
            let labels = [("endpoint", self.endpoint(id))];
            self.set(names::ENDPOINT_INFLIGHT, &labels, f64::from(endpoint.in_flight));
        }
        if let Some(queue) = &stats.queue {
            let classes = [Priority::Batch, Priority::Normal, Priority::Interactive];
            for (priority, depth) in classes.into_iter().zip(queue.by_class) {
                self.set(names::QUEUE_DEPTH, &[("class", fixed(priority.label()))], depth as f64);
            }
        }
        if let Some(quota) = &stats.quota {
            self.set(names::QUOTA_SCOPES, &[], quota.scopes as f64);
        }
        if let Some(cache) = &stats.cache {
            self.set(names::CACHE_ENTRIES, &[], cache.entries as f64);
            self.set(names::CACHE_BYTES, &[], cache.bytes as f64);
        }
    }
}
