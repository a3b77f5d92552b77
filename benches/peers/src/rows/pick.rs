//! Choosing an endpoint, against the weighted round robin that scans every provider.

use std::hint::black_box;

use super::Row;
use crate::measure::{self, Effort};
use crate::seed_select::{LoadBalancer, ProviderState};

/// The balancer's rows: `pick_3`, `pick_10`, `pick_100`, `pick_1000`, each as
/// `Row { name: "pick_3", goal: Goal::AtLeast(1.5), run: |effort| pick(3, effort) }`, where `pick`
/// calls [`against_seed`] with one pick of our balancer over the weights of [`weights`].
pub(crate) const ROWS: &[Row] = &[];

/// How many times as long the scan takes as `ours`, over `endpoints` healthy endpoints.
#[cfg_attr(not(test), expect(dead_code, reason = "the balancer's side is not written yet"))]
fn against_seed(endpoints: usize, effort: Effort, ours: impl FnMut()) -> f64 {
    measure::ratio(effort, seed_pick(endpoints), ours)
}

/// The scan against itself: how far from 1 a value can be by chance.
pub(crate) fn noise(effort: Effort) -> f64 {
    measure::ratio(effort, seed_pick(10), seed_pick(10))
}

fn seed_pick(endpoints: usize) -> impl FnMut() {
    let states = weights(endpoints).enumerate();
    let states = states.map(|(i, weight)| ProviderState::new(&format!("endpoint-{i}"), weight));
    let balancer = LoadBalancer::new(states.collect());
    move || {
        black_box(black_box(&balancer).select());
    }
}

/// 3, 1, 1, 3, 1, 1, ...: one provider carries most of the traffic and two stand beside it.
fn weights(endpoints: usize) -> impl Iterator<Item = u32> {
    [3, 1, 1].into_iter().cycle().take(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_allocates_and_a_pick_that_does_nothing_is_far_ahead() {
        assert!(crate::alloc::allocations_of(seed_pick(10)) > 0);
        let ours = || {
            black_box(());
        };
        assert!(against_seed(1_000, Effort::QUICK, ours) > 10.0);
    }
}
