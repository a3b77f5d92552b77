//! The weighted schedule: which member the `n`-th pick goes to. Pure.
//!
//! Smooth and exact: with weights divided by their greatest common divisor to a sum `W`, every
//! member is served exactly its weight in any `W` consecutive picks, and at no point is it a whole
//! pick ahead of or behind its fair share. The order comes from scheduling each member's picks as
//! unit jobs, earliest deadline first, in the windows that Tijdeman's chairman assignment problem
//! (1980) allows; it is computed once, when a snapshot is built, and then walked by a counter.
//!
//! Above [`TABLE_LIMIT`] a table would be large and slow to build. The picks then follow a rotation
//! `n * step mod W` with `step` near `W` over the golden ratio: still exactly the weight in every
//! `W` picks, but up to about seven picks ahead or behind in between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The largest reduced weight sum that gets a table.
const TABLE_LIMIT: u64 = 4096;

/// Instants below this distance are the same: they are multiples of 1/4096 at the least, computed
/// with errors around 1e-12.
const ROUNDING: f64 = 1e-9;

/// How far a member's credit may carry over a change of the schedule, in picks.
const CREDIT_LIMIT: f64 = 2.0;

/// An order of picks over members `0..n`.
pub(crate) struct Schedule {
    order: Order,
    /// What each member was owed when the schedule began, in picks.
    credits: Box<[f64]>,
    /// Reduced weights.
    weights: Box<[u64]>,
    /// Their sum.
    sum: u64,
}

enum Order {
    /// A first pass that pays the credits, then the steady pass, repeated.
    Table { first: Box<[u16]>, steady: Box<[u16]> },
    /// `ends[i]` is one past the last position of member `i`.
    Rotation { step: u64, ends: Box<[u64]> },
}

impl Schedule {
    /// A schedule that starts from `credits`: what each member is owed (positive) or has been given
    /// too much (negative), in picks. `None` where no weight is above zero.
    pub(crate) fn new(weights: &[u64], credits: &[f64]) -> Option<Self> {
        let weights = reduced(weights)?;
        let sum = weights.iter().sum();
        let credits = balanced(&weights, sum, credits);
        let order = match u16::try_from(weights.len()) {
            Ok(_) if sum <= TABLE_LIMIT => Order::table(&weights, sum, &credits),
            _ => Order::rotation(&weights, sum),
        };
        Some(Self { order, credits, weights, sum })
    }

    /// The member that pick number `ticket` goes to.
    #[inline]
    pub(crate) fn member(&self, ticket: u64) -> usize {
        match &self.order {
            Order::Table { first, steady } => usize::from(match first.get(ticket as usize) {
                Some(&member) => member,
                None => steady[((ticket - first.len() as u64) % steady.len() as u64) as usize],
            }),
            Order::Rotation { step, ends } => {
                let at = u128::from(ticket) * u128::from(*step) % u128::from(self.sum);
                ends.partition_point(|&end| u128::from(end) <= at)
            }
        }
    }

    /// The members that pick number `ticket` and the next one go to.
    #[inline]
    pub(crate) fn two_members(&self, ticket: u64) -> [usize; 2] {
        match &self.order {
            // One division for both.
            Order::Table { first, steady } if ticket >= first.len() as u64 => {
                let at = ((ticket - first.len() as u64) % steady.len() as u64) as usize;
                let next = steady.get(at + 1).unwrap_or(&steady[0]);
                [steady[at], *next].map(usize::from)
            }
            _ => [ticket, ticket.wrapping_add(1)].map(|ticket| self.member(ticket)),
        }
    }

    /// Whether it starts from credits. A rotation does not: it goes on where another one stopped.
    pub(crate) const fn keeps_credits(&self) -> bool {
        matches!(self.order, Order::Table { .. })
    }

    /// What each member is owed after `tickets` picks; nothing where no credits are kept. Linear in
    /// the sum of the weights.
    pub(crate) fn credits_after(&self, tickets: u64) -> Vec<f64> {
        if !self.keeps_credits() {
            return vec![0.0; self.weights.len()];
        }
        let whole = tickets / self.sum;
        // A whole steady pass gives everyone exactly its weight and leaves the credits alone.
        let settled = whole.saturating_sub(1) * self.sum;
        let mut credits = self.credits.to_vec();
        for ticket in settled..tickets {
            credits[self.member(ticket - settled)] -= 1.0;
        }
        let share = (tickets - settled) as f64 / self.sum as f64;
        for (credit, &weight) in credits.iter_mut().zip(&self.weights) {
            *credit += weight as f64 * share;
        }
        credits
    }
}

impl Order {
    fn table(weights: &[u64], sum: u64, credits: &[f64]) -> Self {
        let steady = earliest_deadline_first(weights, sum, &vec![0.0; weights.len()]);
        let first = if credits.iter().all(|&credit| credit == 0.0) {
            Box::default()
        } else {
            earliest_deadline_first(weights, sum, credits)
        };
        Self::Table { first, steady }
    }

    fn rotation(weights: &[u64], sum: u64) -> Self {
        let mut end = 0;
        let ends = weights
            .iter()
            .map(|&weight| {
                end += weight;
                end
            })
            .collect();
        Self::Rotation { step: rotation_step(sum), ends }
    }
}

/// One pass of `sum` picks.
///
/// The `k`-th pick of a member with weight `w` and credit `c` may not come before its share has
/// grown past `k - 1`, and should come before it grows to `k`. Credits sum to zero, so there is
/// always a member whose window is open.
fn earliest_deadline_first(weights: &[u64], sum: u64, credits: &[f64]) -> Box<[u16]> {
    let job = |member: usize, k: u64| Job::new(member, k, weights[member], sum, credits[member]);
    let members = (0..weights.len()).filter(|&member| weights[member] > 0);
    let mut closed: BinaryHeap<_> =
        members.map(|member| Reverse((job(member, 1).opens, member, 1))).collect();
    let mut open: BinaryHeap<Reverse<Job>> = BinaryHeap::new();
    (0..sum)
        .map(|slot| {
            while let Some(&Reverse((opens, member, k))) = closed.peek()
                && (opens <= slot || open.is_empty())
            {
                closed.pop();
                open.push(Reverse(job(member, k)));
            }
            let Some(Reverse(next)) = open.pop() else { return 0 };
            let k = next.k + 1;
            closed.push(Reverse((job(next.member, k).opens, next.member, k)));
            next.member as u16
        })
        .collect()
}

/// One pick that has to be placed. Ordered by deadline, ties by member.
#[derive(Debug, PartialEq)]
struct Job {
    deadline: f64,
    member: usize,
    opens: u64,
    k: u64,
}

impl Job {
    fn new(member: usize, k: u64, weight: u64, sum: u64, credit: f64) -> Self {
        let per_pick = sum as f64 / weight as f64;
        let opens = ((k - 1) as f64 - credit) * per_pick;
        let deadline = (k as f64 - credit) * per_pick;
        Self { deadline, member, opens: (opens - ROUNDING).max(0.0).ceil() as u64, k }
    }
}

impl Eq for Job {}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.deadline.total_cmp(&other.deadline).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The weights divided by their greatest common divisor; `None` where they are all zero.
fn reduced(weights: &[u64]) -> Option<Box<[u64]>> {
    let divisor = weights.iter().copied().fold(0, gcd);
    (divisor > 0).then(|| weights.iter().map(|&weight| weight / divisor).collect())
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Credits within their limit that sum to zero: what members owe one another. Whoever left the set
/// took its part along; the rest share the difference by weight.
fn balanced(weights: &[u64], sum: u64, credits: &[f64]) -> Box<[f64]> {
    let kept: Vec<f64> =
        credits.iter().map(|credit| credit.clamp(-CREDIT_LIMIT, CREDIT_LIMIT)).collect();
    let excess: f64 = kept.iter().sum::<f64>() / sum as f64;
    kept.iter().zip(weights).map(|(credit, &weight)| credit - excess * weight as f64).collect()
}

/// The number closest to `sum` over the golden ratio that shares no divisor with it, so that the
/// rotation visits every position once.
fn rotation_step(sum: u64) -> u64 {
    const INVERSE_GOLDEN_RATIO: f64 = 0.618_033_988_749_894_8;
    let near = (sum as f64 * INVERSE_GOLDEN_RATIO) as u64;
    (near..sum).chain((1..near).rev()).find(|&step| coprime(step, sum)).unwrap_or(1)
}

const fn coprime(mut a: u64, mut b: u64) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fresh(weights: &[u64]) -> Schedule {
        Schedule::new(weights, &vec![0.0; weights.len()]).unwrap()
    }

    /// Worst distance between what a member was served and its fair share, over a walk.
    fn worst(schedule: &Schedule, picks: u64) -> f64 {
        let mut served = vec![0.0; schedule.weights.len()];
        let mut worst: f64 = 0.0;
        for ticket in 0..picks {
            served[schedule.member(ticket)] += 1.0;
            for (member, &weight) in schedule.weights.iter().enumerate() {
                let fair = weight as f64 * (ticket + 1) as f64 / schedule.sum as f64;
                worst = worst.max((served[member] - fair - schedule.credits[member]).abs());
            }
        }
        worst
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn weights_are_exact_over_every_cycle_and_never_a_pick_off(weights in prop::collection::vec(0u64..40, 1..12)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let schedule = fresh(&weights);
            prop_assert!(worst(&schedule, 2 * schedule.sum) < 1.0);
            for start in 0..schedule.sum {
                let mut served = vec![0u64; weights.len()];
                (start..start + schedule.sum).for_each(|ticket| served[schedule.member(ticket)] += 1);
                prop_assert_eq!(&served[..], &schedule.weights[..]);
            }
        }

        #[test]
        fn large_weights_are_exact_over_a_cycle(weights in prop::collection::vec(0u64..90_000, 2..6)) {
            let Some(schedule) = Schedule::new(&weights, &vec![0.0; weights.len()]) else { return Ok(()) };
            prop_assume!(schedule.sum > TABLE_LIMIT);
            let mut served = vec![0u64; weights.len()];
            (0..schedule.sum).for_each(|ticket| served[schedule.member(ticket)] += 1);
            prop_assert_eq!(&served[..], &schedule.weights[..]);
        }

        #[test]
        fn rebuilding_all_the_time_starves_nobody(weights in prop::collection::vec(1u64..20, 2..8), every in 1u64..9) {
            let total: u64 = weights.iter().sum();
            let mut credits = vec![0.0; weights.len()];
            let mut served = vec![0.0; weights.len()];
            let mut picks = 0.0;
            for _ in 0..400 {
                let schedule = Schedule::new(&weights, &credits).unwrap();
                (0..every).for_each(|ticket| served[schedule.member(ticket)] += 1.0);
                picks += every as f64;
                credits = schedule.credits_after(every);
                for (member, &weight) in weights.iter().enumerate() {
                    let fair = picks * weight as f64 / total as f64;
                    prop_assert!((served[member] - fair).abs() <= 2.0, "{} of {fair}", served[member]);
                }
            }
        }
    }

    #[test]
    fn the_order_is_smooth() {
        let schedule = fresh(&[3, 1, 1]);
        let order: Vec<_> = (0..5).map(|ticket| schedule.member(ticket)).collect();
        assert_eq!(order, [0, 1, 0, 2, 0]);
    }

    #[test]
    fn common_divisors_do_not_matter() {
        assert_eq!(fresh(&[u64::from(u32::MAX), u64::from(u32::MAX)]).sum, 2);
        assert_eq!(fresh(&[300, 100, 0]).sum, 4);
    }

    #[test]
    fn no_weight_no_schedule() {
        assert!(Schedule::new(&[0, 0], &[0.0, 0.0]).is_none());
        assert!(Schedule::new(&[], &[]).is_none());
    }

    #[test]
    fn whole_cycles_leave_the_credits_alone() {
        let schedule = Schedule::new(&[5, 3, 2], &[0.5, -0.25, -0.25]).unwrap();
        let early = schedule.credits_after(17);
        let late = schedule.credits_after(17 + 1_000 * schedule.sum);
        for (early, late) in early.iter().zip(&late) {
            assert!((early - late).abs() < 1e-9, "{early} {late}");
        }
    }

    #[test]
    fn absurd_weights_spread_within_a_few_picks() {
        let schedule = fresh(&[1_000_003, 999_983, 7]);
        assert!(worst(&schedule, 100_000) < 16.0);
    }
}
