//! The law of limits by rate, checked over every window.
//!
//! A store admits a call somewhere between the moment it asks and the moment it is let in. So of the
//! calls that lie wholly within a window, no more may have been used than the limit gives in it. Every
//! window that begins with some call's question and ends with some call's admission is looked at: the
//! calls are gone through in the order they were let in, and a tree keeps for each beginning what was
//! used since, less what came in.

use crate::records::Done;

/// Less than any sum, far from the end of the numbers.
const NONE: i64 = i64::MIN / 4;

const MICROS: u64 = 1_000_000;

/// What was used in the fullest window beyond what came in during it: the burst there must have been.
/// `rate` is in tokens a second.
pub(crate) fn burst_needed(calls: &[Done], rate: u64) -> f64 {
    let Some(epoch) = calls.iter().map(|call| call.asked).min() else { return 0.0 };
    // In millionths of a token, so that a microsecond of the rate is a whole number.
    let came_in = |at: u64| ((at - epoch) * rate) as i64;
    let mut beginnings: Vec<u64> = calls.iter().map(|call| call.asked).collect();
    beginnings.sort_unstable();
    beginnings.dedup();
    let mut calls = calls.to_vec();
    calls.sort_unstable_by_key(|call| call.let_in);
    let (mut tree, mut most) = (Tree::new(beginnings.len()), 0);
    for call in &calls {
        let at = beginnings.partition_point(|beginning| *beginning < call.asked);
        tree.open(at, came_in(call.asked));
        tree.add_up_to(at, (call.used * MICROS) as i64);
        most = most.max(tree.most() - came_in(call.let_in));
    }
    most as f64 / MICROS as f64
}

/// Numbers that are raised together from the first up to one, and their maximum.
struct Tree {
    /// The maximum of each part, beside what its ancestors add.
    most: Vec<i64>,
    /// What is added to all of a part.
    added: Vec<i64>,
    opened: Vec<bool>,
    leaves: usize,
}

impl Tree {
    fn new(leaves: usize) -> Self {
        let leaves = leaves.next_power_of_two();
        Self {
            most: vec![NONE; 2 * leaves],
            added: vec![0; 2 * leaves],
            opened: vec![false; leaves],
            leaves,
        }
    }

    /// A number counts from now on, with `value` beside what was added to it already: which is what
    /// was used by calls that asked later and were let in earlier.
    fn open(&mut self, at: usize, value: i64) {
        if std::mem::replace(&mut self.opened[at], true) {
            return;
        }
        let leaf = self.leaves + at;
        self.most[leaf] = self.added[leaf] + value;
        self.mend(leaf);
    }

    fn add_up_to(&mut self, at: usize, amount: i64) {
        let mut node = self.leaves + at;
        self.add(node, amount);
        while node > 1 {
            if node % 2 == 1 {
                self.add(node - 1, amount);
            }
            node /= 2;
            self.join(node);
        }
    }

    fn most(&self) -> i64 {
        self.most[1]
    }

    fn add(&mut self, node: usize, amount: i64) {
        self.most[node] += amount;
        self.added[node] += amount;
    }

    fn mend(&mut self, mut node: usize) {
        while node > 1 {
            node /= 2;
            self.join(node);
        }
    }

    fn join(&mut self, node: usize) {
        self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]) + self.added[node];
    }
}

mod the_checker {
    use evenkeel::rng::Rng;

    use super::*;

    fn call(asked: u64, let_in: u64, used: u64) -> Done {
        Done { asked, let_in, used, alone: false }
    }

    /// Every window, one by one.
    fn by_hand(calls: &[Done], rate: u64) -> f64 {
        let windows =
            calls.iter().flat_map(|from| calls.iter().map(move |to| (from.asked, to.let_in)));
        let over = |(from, to): (u64, u64)| {
            let within = calls.iter().filter(|call| call.asked >= from && call.let_in <= to);
            let used: u64 = within.map(|call| call.used).sum();
            used as f64 - (to as f64 - from as f64) * rate as f64 / MICROS as f64
        };
        windows.filter(|(from, to)| from <= to).map(over).fold(0.0, f64::max)
    }

    #[test]
    fn agrees_with_a_look_at_every_window() {
        let rng = Rng::from_seed(5);
        for _ in 0..300 {
            let calls: Vec<Done> = (0..1 + rng.below(30))
                .map(|_| {
                    let asked = 1_000 + rng.below(2_000_000);
                    call(asked, asked + rng.below(300_000), rng.below(200))
                })
                .collect();
            let rate = rng.below(2_000);
            let (found, right) = (burst_needed(&calls, rate), by_hand(&calls, rate));
            assert!((found - right).abs() < 1e-3, "{found} for {right}: {calls:?} at {rate}");
        }
    }

    #[test]
    fn one_token_too_many_in_the_middle_of_a_long_run_is_found() {
        // A call of ten every ten milliseconds is what comes in at a thousand a second.
        let mut calls: Vec<Done> = (0..5_000).map(|i| call(i * 10_000, i * 10_000, 10)).collect();
        assert_eq!(burst_needed(&calls, 1_000), 10.0);
        calls[2_500].used += 1;
        assert_eq!(burst_needed(&calls, 1_000), 11.0);
    }
}
