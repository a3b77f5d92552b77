//! Who the tenants are that wait, and how much of the room each takes. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::options::TenantId;
use crate::queue::by_number::ByNumber;
use crate::queue::fair::TenantNo;
use crate::queue::seats::WaiterId;

/// Tenants without a call keep their number, and with it what they were served, but no more than
/// this; those that left first are forgotten first.
const MOST_IDLE: usize = 4096;

/// Tenants that wait, whose calls run, or that have just left, as numbers.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    numbers: HashMap<TenantId, TenantNo>,
    known: ByNumber<Known>,
    /// By waiting calls for their weight.
    crowd: BTreeSet<(u64, TenantNo)>,
    /// Those that left, in order, with when. Some have come back since.
    idle: VecDeque<(TenantNo, u64)>,
    idle_count: usize,
    departures: u64,
    next: TenantNo,
}

#[derive(Debug)]
struct Known {
    name: Option<TenantId>,
    /// Its calls that wait or run.
    calls: usize,
    /// Its calls that wait.
    depth: usize,
    weight: u32,
    /// Those that may lose their place.
    waiting: BTreeSet<WaiterId>,
    /// When it left.
    left: u64,
}

/// The number of those without a name.
const ANONYMOUS: TenantNo = 0;

impl Tenants {
    /// The number of a tenant of which there is a call more.
    pub(crate) fn hold(&mut self, name: Option<&TenantId>, weight: u32) -> TenantNo {
        let number = name.map_or(ANONYMOUS, |name| self.number(name));
        let known = self.known.entry(number).or_insert_with(|| Known::new(name.cloned(), weight));
        if known.calls == 0 && known.left > 0 {
            (known.left, self.idle_count) = (0, self.idle_count - 1);
        }
        known.calls += 1;
        number
    }

    fn number(&mut self, name: &TenantId) -> TenantNo {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        self.next += 1;
        self.numbers.insert(name.clone(), self.next);
        self.next
    }

    /// A call of the tenant less.
    pub(crate) fn release(&mut self, number: TenantNo) {
        let Some(known) = self.known.get_mut(&number) else { return };
        known.calls -= 1;
        if known.calls == 0 {
            self.departures += 1;
            known.left = self.departures;
            self.idle.push_back((number, known.left));
            self.idle_count += 1;
            self.forget();
        }
    }

    fn forget(&mut self) {
        while let Some(&(number, left)) = self.idle.front() {
            let is_idle = self.known.get(&number).is_some_and(|known| known.left == left);
            if is_idle && self.idle_count <= MOST_IDLE {
                break;
            }
            self.idle.pop_front();
            if is_idle {
                self.forget_one(number);
            }
        }
        // One that never leaves stands at the front of those that come and go all the time.
        if self.idle.len() > 2 * self.idle_count + 64 {
            let known = &self.known;
            self.idle.retain(|(no, left)| known.get(no).is_some_and(|known| known.left == *left));
        }
    }

    fn forget_one(&mut self, number: TenantNo) {
        self.idle_count -= 1;
        if let Some(Known { name: Some(name), .. }) = self.known.remove(&number) {
            self.numbers.remove(&name);
        }
    }

    /// A call of the tenant begins to wait, or, where it has a place already, waits again.
    pub(crate) fn line_up(&mut self, number: TenantNo, id: Option<WaiterId>) {
        self.change(number, |known| {
            known.depth += 1;
            known.waiting.extend(id);
        });
    }

    /// A call of the tenant waits no longer.
    pub(crate) fn line_down(&mut self, number: TenantNo, id: WaiterId) {
        self.change(number, |known| {
            known.depth -= 1;
            known.waiting.remove(&id);
        });
    }

    fn change(&mut self, number: TenantNo, change: impl FnOnce(&mut Known)) {
        let Some(known) = self.known.get_mut(&number) else { return };
        let before = (known.depth, known.weight);
        change(known);
        self.crowd.remove(&(pressure(before.0, before.1), number));
        if known.depth > 0 {
            self.crowd.insert((pressure(known.depth, known.weight), number));
        }
    }

    /// The tenant that takes most of the room for its weight, if that is more than `tenant` would
    /// with one call more.
    pub(crate) fn greedier_than(&self, tenant: TenantNo) -> Option<TenantNo> {
        let own = self.known.get(&tenant)?;
        let &(most, greediest) = self.crowd.last()?;
        (most > pressure(own.depth + 1, own.weight)).then_some(greediest)
    }

    /// The newest waiter of a tenant that may lose its place.
    pub(crate) fn newest_of(&self, tenant: TenantNo) -> Option<WaiterId> {
        self.known.get(&tenant)?.waiting.last().copied()
    }

    /// One that will probably wait for long.
    pub(crate) fn a_patient_one(&self) -> impl Iterator<Item = WaiterId> {
        let crowd = self.crowd.iter().rev().filter_map(|(_, number)| self.known.get(number));
        crowd.flat_map(|known| known.waiting.iter().rev().copied())
    }

    pub(crate) fn depth(&self, number: TenantNo) -> usize {
        self.known.get(&number).map_or(0, |known| known.depth)
    }

    pub(crate) fn top(&self, most: usize) -> Vec<(Option<TenantId>, usize)> {
        let mut depths: Vec<_> = self.known.values().filter(|known| known.depth > 0).collect();
        depths.sort_by(|a, b| (b.depth, &a.name).cmp(&(a.depth, &b.name)));
        depths.into_iter().take(most).map(|known| (known.name.clone(), known.depth)).collect()
    }
}

impl Known {
    const fn new(name: Option<TenantId>, weight: u32) -> Self {
        Self { name, calls: 0, depth: 0, weight, waiting: BTreeSet::new(), left: 0 }
    }
}

/// Waiting calls for the weight, in parts fine enough for the largest weight.
fn pressure(depth: usize, weight: u32) -> u64 {
    (depth.min(u32::MAX as usize) as u64) * (1 << 32) / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_that_left_are_forgotten_in_that_order_and_never_one_with_a_call() {
        let mut tenants = Tenants::default();
        let name = |number: usize| TenantId::new(number.to_string());
        let stays = tenants.hold(Some(&name(usize::MAX)), 1);
        let mut numbers = Vec::new();
        for i in 0..3 * MOST_IDLE {
            numbers.push(tenants.hold(Some(&name(i)), 1));
            tenants.release(numbers[i]);
        }
        assert_eq!(tenants.known.len(), MOST_IDLE + 1);
        assert_eq!(tenants.numbers.len(), MOST_IDLE + 1);
        let kept = 3 * MOST_IDLE - 1;
        assert_eq!(tenants.hold(Some(&name(kept)), 1), numbers[kept]);
        assert_ne!(tenants.hold(Some(&name(0)), 1), numbers[0]);
        assert_eq!(tenants.hold(Some(&name(usize::MAX)), 1), stays);
    }

    #[test]
    fn one_that_comes_and_goes_leaves_one_trace() {
        let mut tenants = Tenants::default();
        for _ in 0..100_000 {
            let number = tenants.hold(None, 1);
            tenants.release(number);
        }
        assert_eq!(tenants.known.len(), 1);
        assert!(tenants.idle.len() <= 70, "{}", tenants.idle.len());
    }
}
