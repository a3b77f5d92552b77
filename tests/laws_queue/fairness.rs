//! What tenants get of what there is, measured in the tokens they used.

use std::sync::Arc;
use std::task::Poll;

use evenkeel::queue::{RequestQueue, Slot};
use proptest::prelude::*;

use crate::gates::{Caller, Passed, Places, Taken, caller, place, queue};

/// A tenant that has always some calls waiting, of which each takes so many tokens.
struct Tenant {
    name: &'static str,
    expected: u64,
    actual: u64,
    backlog: usize,
    waiting: Vec<Caller<Passed>>,
    served: u64,
}

impl Tenant {
    fn new(name: &'static str, expected: u64, actual: u64, backlog: usize) -> Self {
        Self { name, expected, actual, backlog, waiting: Vec::new(), served: 0 }
    }

    fn line_up(&mut self, queue: &RequestQueue, gate: &Arc<Places>) {
        while self.waiting.len() < self.backlog {
            let place = place().tenant(self.name).cost(self.expected);
            self.waiting.push(caller(queue, gate, place).waiting());
        }
    }

    /// One of its calls, if it has passed.
    fn passed(&mut self) -> Option<(Taken, Slot)> {
        for index in 0..self.waiting.len() {
            if let Poll::Ready(passed) = self.waiting[index].poll() {
                self.waiting.remove(index);
                self.served += self.actual;
                return passed.ok();
            }
        }
        None
    }
}

/// Serves `calls` calls, one after the other; what each tenant got.
fn served<const N: usize>(
    queue: &RequestQueue,
    calls: usize,
    mut tenants: [Tenant; N],
) -> [u64; N] {
    let gate = Places::new(1);
    let (mut taken, mut slot) = caller(queue, &gate, place()).done().unwrap();
    let mut actual = 0;
    for _ in 0..calls {
        tenants.iter_mut().for_each(|tenant| tenant.line_up(queue, &gate));
        drop(taken);
        slot.settle(actual);
        let mut next = tenants.iter_mut().filter_map(|t| Some((t.passed()?, t.actual)));
        ((taken, slot), actual) = next.next().expect("somebody waits");
    }
    tenants.map(|tenant| tenant.served)
}

#[tokio::test(start_paused = true)]
async fn the_backlogged_get_the_same_in_tokens_whatever_they_said_they_would_use() {
    let queue = queue(|queue| queue.aging(crate::gates::SECOND * 100));
    let got = served(
        &queue,
        3_000,
        [
            Tenant::new("honest", 100, 100, 5),
            Tenant::new("says little", 1, 100, 5),
            Tenant::new("says much", 1_000, 100, 5),
            Tenant::new("large", 400, 400, 5),
        ],
    );
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(most - least <= 2_000, "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_one_call_at_a_time_gets_no_more_than_those_with_many() {
    let got = served(
        &queue(|queue| queue),
        2_000,
        [Tenant::new("many", 100, 100, 10), Tenant::new("one", 1_000, 1_000, 1)],
    );
    assert!(got[0].abs_diff(got[1]) <= 2_000, "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_leaves_and_comes_back_gains_nothing() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let mut steady = Tenant::new("steady", 100, 100, 5);
    let (mut taken, mut slot) = caller(&queue, &gate, place()).done().unwrap();
    let (mut actual, mut comes, mut visitor) = (0, 0, None);
    for _ in 0..1_000 {
        steady.line_up(&queue, &gate);
        // Gone entirely between its calls, of which each takes ten times what it said.
        let visit = || caller(&queue, &gate, place().tenant("visitor").cost(100)).waiting();
        let waiting = visitor.get_or_insert_with(visit);
        drop(taken);
        slot.settle(actual);
        if let Poll::Ready(passed) = waiting.poll() {
            ((taken, slot), actual, comes) = (passed.unwrap(), 1_000, comes + 1);
            visitor = None;
        } else {
            ((taken, slot), actual) = (steady.passed().unwrap(), 100);
        }
    }
    let got = [steady.served, comes * 1_000];
    assert!(got[0].abs_diff(got[1]) <= 2_000, "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn costs_and_weights_at_their_limits_give_nobody_a_free_ride() {
    let queue = queue(|queue| queue.weight("heavy", u32::MAX));
    let got = served(
        &queue,
        600,
        [
            Tenant::new("boundless", u64::MAX, u64::MAX / 1_000_000, 3),
            Tenant::new("large", i64::MAX as u64 + 1, i64::MAX as u64 / 1_000_000, 3),
            Tenant::new("heavy", 1, 1, 3),
        ],
    );
    assert!(
        got[0] / (u64::MAX / 1_000_000) < 10 && got[1] / (u64::MAX / 2_000_000) < 10,
        "{got:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The bound of the virtual token counter: what two backlogged tenants got, for their weights,
    /// is never further apart than twice the largest call.
    #[test]
    fn the_gap_between_the_backlogged_is_bounded(
        expected in prop::array::uniform3(1u64..2_000),
        actual in prop::array::uniform3(1u64..2_000),
        weights in prop::array::uniform3(1u32..6),
        calls in 1usize..300,
    ) {
        let queue = queue(|q| q.weight("a", weights[0]).weight("b", weights[1]).weight("c", weights[2]));
        let [a, b, c] = [0, 1, 2].map(|i| (expected[i], actual[i]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let got = served(&queue, calls, [
            Tenant::new("a", a.0, a.1, 2),
            Tenant::new("b", b.0, b.1, 2),
            Tenant::new("c", c.0, c.1, 2),
        ]);
        let largest = expected.into_iter().chain(actual).max().unwrap() as f64;
        let least = f64::from(weights.into_iter().min().unwrap());
        let shares = [0, 1, 2].map(|i| got[i] as f64 / f64::from(weights[i]));
        let gap = shares.iter().fold(0f64, |m, &s| m.max(s)) - shares.iter().fold(f64::MAX, |m, &s| m.min(s));
        prop_assert!(gap <= 2.0 * largest / least, "{got:?} {gap}");
    }
}
