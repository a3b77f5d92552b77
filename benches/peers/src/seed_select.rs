//! What the picks are compared with: the textbook weighted round robin with a health filter.
//!
//! Every selection asks each provider for its health, collects the healthy ones, sums their
//! weights, and walks to the position that a shared counter points at. Linear in the number of
//! providers, with one allocation. Its habits are kept as they are: a lock around the time of the
//! last error, a clock read for each provider that had one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A provider with errors is left out until it had none for so long.
const RECOVERY: Duration = Duration::from_secs(30);

/// A provider, its share and its errors.
#[derive(Debug, Clone)]
pub(crate) struct ProviderState {
    /// Carried because it makes the element as large as it really is.
    #[expect(dead_code, reason = "the size of an element is part of what is measured")]
    name: String,
    weight: u32,
    error_count: Arc<AtomicUsize>,
    last_error: Arc<Mutex<Option<Instant>>>,
}

impl ProviderState {
    pub(crate) fn new(name: &str, weight: u32) -> Self {
        Self {
            name: name.to_owned(),
            weight,
            error_count: Arc::default(),
            last_error: Arc::default(),
        }
    }

    /// Notes a failure, now.
    #[cfg_attr(not(test), expect(dead_code, reason = "for rows with sick providers"))]
    pub(crate) fn record_error(&self) {
        self.error_count.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().expect("no holder of the lock panics") = Some(Instant::now());
    }

    fn is_healthy(&self) -> bool {
        if self.error_count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let last_error = self.last_error.lock().expect("no holder of the lock panics");
        last_error.is_none_or(|at| at.elapsed() > RECOVERY)
    }
}

/// The providers and the counter that walks over them.
pub(crate) struct LoadBalancer {
    providers: Vec<ProviderState>,
    round_robin: AtomicUsize,
}

impl LoadBalancer {
    /// # Panics
    /// Later, in [`select`](Self::select), when every healthy provider has weight 0.
    pub(crate) fn new(providers: Vec<ProviderState>) -> Self {
        Self { providers, round_robin: AtomicUsize::new(0) }
    }

    /// The provider whose turn it is; `None` when none is healthy.
    pub(crate) fn select(&self) -> Option<&ProviderState> {
        let healthy: Vec<&ProviderState> =
            self.providers.iter().filter(|provider| provider.is_healthy()).collect();
        if healthy.is_empty() {
            return None;
        }
        let total: u32 = healthy.iter().map(|provider| provider.weight).sum();
        let turn = self.round_robin.fetch_add(1, Ordering::Relaxed) as u32;
        let mut place = turn % total + 1;
        for provider in &healthy {
            if place <= provider.weight {
                return Some(provider);
            }
            place -= provider.weight;
        }
        healthy.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer() -> LoadBalancer {
        let states = [("a", 3), ("b", 1), ("c", 1)].map(|(name, w)| ProviderState::new(name, w));
        LoadBalancer::new(states.to_vec())
    }

    /// The places of the next `count` providers picked.
    fn picks(balancer: &LoadBalancer, count: usize) -> Vec<usize> {
        let place = |picked: &ProviderState| {
            balancer.providers.iter().position(|provider| std::ptr::eq(provider, picked))
        };
        (0..count).filter_map(|_| balancer.select().and_then(place)).collect()
    }

    #[test]
    fn shares_follow_the_weights_in_blocks() {
        assert_eq!(picks(&balancer(), 10), [0, 0, 0, 1, 2, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn one_recent_error_takes_a_provider_out() {
        let balancer = balancer();
        balancer.providers[0].record_error();
        assert_eq!(picks(&balancer, 4), [1, 2, 1, 2]);
    }

    #[test]
    fn without_a_healthy_provider_there_is_nothing_to_pick() {
        let balancer = balancer();
        balancer.providers.iter().for_each(ProviderState::record_error);
        assert!(balancer.select().is_none());
    }
}
