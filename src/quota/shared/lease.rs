//! Scopes that are taken from often: a quarter of a second's worth is taken in advance, and spent here.
//! Pure.
//!
//! A lease is a grant like any other. What calls spend of it is counted here; when it is two seconds
//! old it takes no more calls, and when its last call has ended it is settled with what they used. The
//! store counts everything before it is used, so that no account is ever overdrawn by leases; within
//! a window may be used what was counted up to two seconds before it, and that is at most what lies
//! with the instances: half of the burst for all of them together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::quota::amounts::Amounts;
use crate::quota::limits::{Dimension, Limits};
use crate::quota::store::{Grant, StoredScope};
use crate::time::{Instant, after};

/// How long a lease takes calls.
pub(super) const LIFE: Duration = Duration::from_secs(2);

/// The use of so long is taken in advance.
const AHEAD: f64 = 0.25;

/// From so many calls per second on.
const HOT: f64 = 50.0;

/// What is used is measured over so long.
const MEASURE: Duration = Duration::from_millis(500);

/// After a refusal the scope is near its limit: calls ask by themselves for a while.
const PAUSE: Duration = Duration::from_millis(500);

/// More scopes than these are not watched: that many cannot all be hot.
const MOST_WATCHED: usize = 4096;

/// The leases of an instance.
#[derive(Debug, Default)]
pub(super) struct Leases {
    watched: HashMap<Arc<str>, Watched>,
    /// Not looked for room before, so that a flood of cold scopes costs little.
    crowded_until: Option<Instant>,
    chunks: u64,
}

/// Where a call took from.
#[derive(Debug)]
pub(super) struct Place {
    scope: Arc<str>,
    chunk: u64,
}

/// What is to be told to the store: a lease, and what was used of it.
pub(super) type Settlement = (Grant, Amounts);

#[derive(Debug)]
struct Watched {
    scope: StoredScope,
    meter: Meter,
    chunks: VecDeque<Chunk>,
    /// A further lease is wanted, or asked for.
    wants: Option<Amounts>,
    asked: bool,
    not_before: Instant,
}

/// A lease.
#[derive(Debug)]
struct Chunk {
    number: u64,
    grant: Grant,
    /// What calls that run are expected to use, and what those used that have ended.
    spent: Amounts,
    running: u32,
    until: Instant,
    open: bool,
}

impl Leases {
    /// Counts a call on `scopes`. From those of which there is a lease it is taken; the others are
    /// left in `scopes`, to be asked for. Whether further leases are wanted.
    pub(super) fn take(
        &mut self,
        scopes: &mut Vec<StoredScope>,
        amounts: &Amounts,
        instances: u32,
        at: Instant,
    ) -> (Vec<Place>, bool) {
        let (mut places, mut wanting) = (Vec::new(), false);
        scopes.retain(|scope| {
            let Some(watched) = self.watch(scope, at) else { return true };
            let chunk = watched.take(scope, amounts, at);
            wanting |= watched.wants_more(instances, at);
            places.extend(chunk.map(|chunk| Place { scope: Arc::clone(&scope.key), chunk }));
            chunk.is_none()
        });
        (places, wanting)
    }

    /// Scopes that limit how many calls run are never leased: a lease is one call to the store.
    fn watch(&mut self, scope: &StoredScope, at: Instant) -> Option<&mut Watched> {
        if scope.limits.concurrency.is_some() {
            return None;
        }
        if !self.watched.contains_key(&scope.key) {
            if self.watched.len() >= MOST_WATCHED && !self.make_room(at) {
                return None;
            }
            self.watched.insert(Arc::clone(&scope.key), Watched::new(scope, at));
        }
        self.watched.get_mut(&scope.key)
    }

    #[cold]
    fn make_room(&mut self, at: Instant) -> bool {
        if self.crowded_until.is_some_and(|until| until > at) {
            return false;
        }
        self.crowded_until = Some(after(at, MEASURE));
        self.watched.retain(|_, watched| !watched.is_idle(at));
        self.watched.len() < MOST_WATCHED
    }

    /// A call that took `taken` has ended and used `actual`.
    pub(super) fn end(
        &mut self,
        place: &Place,
        taken: &Amounts,
        actual: &Amounts,
    ) -> Option<Settlement> {
        let watched = self.watched.get_mut(&place.scope)?;
        let at = watched.chunks.iter().position(|chunk| chunk.number == place.chunk)?;
        let chunk = &mut watched.chunks[at];
        chunk.spent = chunk.spent.each(taken, u64::saturating_sub).plus(actual);
        chunk.running -= 1;
        chunk.is_over().then(|| watched.chunks.remove(at).map(Chunk::settlement)).flatten()
    }

    /// The leases that are to be asked for now.
    pub(super) fn wanted(&mut self) -> Vec<(StoredScope, Amounts)> {
        let wanted = self.watched.values_mut().filter_map(|watched| {
            let amounts = watched.wants.take()?;
            watched.asked = true;
            Some((watched.scope.clone(), amounts))
        });
        wanted.collect()
    }

    /// Whoever asked for leases is gone, and will not tell what became of it.
    pub(super) fn ask_anew(&mut self) {
        self.watched.values_mut().for_each(|watched| watched.asked = false);
    }

    /// A lease was granted. One of a scope that is not watched any more is given back.
    pub(super) fn granted(&mut self, key: &str, grant: Grant, at: Instant) -> Option<Settlement> {
        self.chunks += 1;
        let Some(watched) = self.watched.get_mut(key) else {
            return Some((grant, Amounts::NONE));
        };
        watched.asked = false;
        watched.chunks.push_back(Chunk {
            number: self.chunks,
            grant,
            spent: Amounts::NONE,
            running: 0,
            until: after(at, LIFE),
            open: true,
        });
        None
    }

    /// A lease was not granted.
    pub(super) fn refused(&mut self, key: &str, at: Instant) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.asked = false;
            watched.not_before = after(at, PAUSE);
        }
    }

    /// Leases that take no more calls from `at` on.
    pub(super) fn close(&mut self, at: Instant) -> Vec<Settlement> {
        let mut settlements = Vec::new();
        for watched in self.watched.values_mut() {
            watched.close(|chunk| chunk.until <= at, &mut settlements);
        }
        settlements
    }

    /// All leases, whether they still might take calls or not.
    pub(super) fn close_all(&mut self) -> Vec<Settlement> {
        let mut settlements = Vec::new();
        for watched in self.watched.values_mut() {
            watched.close(|_| true, &mut settlements);
        }
        settlements
    }

    /// When the next lease takes no more calls.
    pub(super) fn next_close(&self) -> Option<Instant> {
        let chunks = self.watched.values().flat_map(|watched| &watched.chunks);
        chunks.filter(|chunk| chunk.open).map(|chunk| chunk.until).min()
    }

    /// How many leases are out.
    pub(super) fn len(&self) -> usize {
        self.watched.values().map(|watched| watched.chunks.len()).sum()
    }
}

impl Watched {
    fn new(scope: &StoredScope, at: Instant) -> Self {
        Self {
            scope: scope.clone(),
            meter: Meter::new(at),
            chunks: VecDeque::new(),
            wants: None,
            asked: false,
            not_before: at,
        }
    }

    fn take(&mut self, scope: &StoredScope, amounts: &Amounts, at: Instant) -> Option<u64> {
        self.meter.count(amounts, at);
        if self.scope.limits != scope.limits {
            self.scope = scope.clone();
            self.chunks.iter_mut().for_each(|chunk| chunk.until = at);
        }
        let limits = &self.scope.limits;
        let chunk = self.chunks.iter_mut().find(|chunk| chunk.fits(limits, amounts, at))?;
        chunk.spent = chunk.spent.plus(amounts);
        chunk.running += 1;
        Some(chunk.number)
    }

    /// Whether another lease is to be asked for: half of what should lie here is spent.
    fn wants_more(&mut self, instances: u32, at: Instant) -> bool {
        if self.asked || self.wants.is_some() || self.not_before > at {
            return self.wants.is_some();
        }
        let Some(size) = self.meter.lease(&self.scope.limits, instances) else { return false };
        let left = self.left(at);
        let low = |dimension| left.of(dimension) < size.of(dimension).div_ceil(2);
        if counted(&self.scope.limits).any(low) {
            // Filled up to the size, so that no more than that ever lies here.
            self.wants = Some(size.each(&left, u64::saturating_sub));
        }
        self.wants.is_some()
    }

    fn left(&self, at: Instant) -> Amounts {
        let open = self.chunks.iter().filter(|chunk| chunk.open && chunk.until > at);
        open.fold(Amounts::NONE, |left, chunk| left.plus(&chunk.left()))
    }

    fn close(&mut self, closes: impl Fn(&Chunk) -> bool, settlements: &mut Vec<Settlement>) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.open && closes(chunk)) {
            chunk.open = false;
        }
        let (over, kept) = self.chunks.drain(..).partition(Chunk::is_over);
        let over: VecDeque<_> = over;
        self.chunks = kept;
        settlements.extend(over.into_iter().map(Chunk::settlement));
    }

    fn is_idle(&self, at: Instant) -> bool {
        self.chunks.is_empty() && !self.asked && after(self.meter.since, 2 * MEASURE) < at
    }
}

impl Chunk {
    fn size(&self) -> &Amounts {
        &self.grant.demand.amounts
    }

    fn left(&self) -> Amounts {
        self.size().each(&self.spent, u64::saturating_sub)
    }

    fn fits(&self, limits: &Limits, amounts: &Amounts, at: Instant) -> bool {
        let fits = |dimension| {
            let spent = self.spent.of(dimension).saturating_add(amounts.of(dimension));
            spent <= self.size().of(dimension)
        };
        self.open && self.until > at && counted(limits).all(fits)
    }

    const fn is_over(&self) -> bool {
        !self.open && self.running == 0
    }

    fn settlement(self) -> Settlement {
        (self.grant, self.spent)
    }
}

/// What the limits of a scope count.
fn counted(limits: &Limits) -> impl Iterator<Item = Dimension> {
    let budgets = limits.budgets.iter().map(|budget| budget.dimension);
    limits.rates.iter().map(|limit| limit.dimension).chain(budgets)
}

/// How much is used of a scope.
#[derive(Debug)]
struct Meter {
    since: Instant,
    calls: u32,
    used: Amounts,
    largest: Amounts,
    /// Of the last measure.
    rate: Option<Rate>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Per second.
    calls: f64,
    used: Amounts,
    over: Duration,
    largest: Amounts,
}

impl Meter {
    const fn new(since: Instant) -> Self {
        Self { since, calls: 0, used: Amounts::NONE, largest: Amounts::NONE, rate: None }
    }

    fn count(&mut self, amounts: &Amounts, at: Instant) {
        let over = at.saturating_duration_since(self.since);
        if over >= MEASURE {
            let Self { used, largest, .. } = *self;
            let calls = f64::from(self.calls) / over.as_secs_f64();
            *self = Self { rate: Some(Rate { calls, used, over, largest }), ..Self::new(at) };
        }
        self.calls = self.calls.saturating_add(1);
        self.used = self.used.plus(amounts);
        self.largest = self.largest.each(amounts, u64::max);
    }

    /// How much should lie here: what is used in a quarter of a second, at least the largest call, and
    /// no more than this instance's part of half of each limit. `None` where that is not worth it.
    fn lease(&self, limits: &Limits, instances: u32) -> Option<Amounts> {
        let rate = self.rate.filter(|rate| rate.calls > HOT)?;
        let part = |most: u64| most / 2 / u64::from(instances.max(1));
        let rates = limits
            .rates
            .iter()
            .filter_map(|limit| Some((limit.dimension, part(limit.rate().ok()?.burst()))));
        let budgets = limits.budgets.iter().map(|budget| (budget.dimension, part(budget.amount)));
        let most: Vec<_> = rates.chain(budgets).collect();

        let ahead = AHEAD / rate.over.as_secs_f64();
        let ahead = most.iter().fold(ahead, |ahead, (dimension, most)| {
            ahead.min(*most as f64 / rate.used.of(*dimension).max(1) as f64)
        });
        let size = rate
            .used
            .each(&rate.largest, |used, largest| ((used as f64 * ahead) as u64).max(largest));
        let fits = most.iter().all(|(dimension, most)| size.of(*dimension) <= *most);
        (fits && !most.is_empty()).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::denied::Level;
    use crate::quota::store::Demand;
    use crate::time::now;

    const CALL: Amounts = Amounts::tokens(8, 2);

    fn scope(limits: Limits) -> StoredScope {
        StoredScope::new("a", Level::Global, limits)
    }

    fn call(leases: &mut Leases, scope: &StoredScope, at: Instant) -> Vec<Place> {
        leases.take(&mut vec![scope.clone()], &CALL, 2, at).0
    }

    /// A hundred calls a second for a second.
    fn warm(leases: &mut Leases, scope: &StoredScope, start: Instant) -> Instant {
        let at = |i: u64| after(start, Duration::from_millis(10 * i));
        (0..100).for_each(|i| drop(call(leases, scope, at(i))));
        at(100)
    }

    fn grant(leases: &mut Leases, at: Instant) -> Amounts {
        let [(scope, amounts)] = leases.wanted().try_into().unwrap();
        let demand = Demand::new(7, amounts, vec![scope]);
        assert!(leases.granted("a", Grant::new(Arc::new(demand), Vec::new()), at).is_none());
        amounts
    }

    #[test]
    fn a_quarter_of_a_second_is_asked_for_and_spent_here() {
        let (mut leases, scope) =
            (Leases::default(), scope(Limits::new().tokens_per_minute(9_000)));
        let at = warm(&mut leases, &scope, now());
        let size = grant(&mut leases, at);
        assert!((24..=25).contains(&size.requests), "{size:?}");
        let places: Vec<_> = (0..40).flat_map(|_| call(&mut leases, &scope, at)).collect();
        assert_eq!(places.len() as u64, size.requests, "no call more than was paid for");
    }

    #[test]
    fn a_lease_is_at_most_this_instances_part_of_half_the_burst() {
        for (amount, most) in [(9_000, 250), (400, 100)] {
            let limits = Limits::new().tokens_per_minute(amount);
            let (mut leases, scope) = (Leases::default(), scope(limits));
            let at = warm(&mut leases, &scope, now());
            let size = grant(&mut leases, at).of(Dimension::Tokens);
            assert!(size <= most && size > most * 9 / 10, "{size}");
        }
        let (mut leases, scope) = (Leases::default(), scope(Limits::new().tokens_per_minute(30)));
        warm(&mut leases, &scope, now());
        assert!(leases.wanted().is_empty(), "a call is larger than the part");
    }

    #[test]
    fn slow_scopes_and_those_that_limit_running_calls_are_never_leased() {
        let mut leases = Leases::default();
        let (slow, start) = (scope(Limits::new().tokens_per_minute(9_000)), now());
        for i in 0..100 {
            call(&mut leases, &slow, after(start, Duration::from_millis(25 * i)));
        }
        let busy = StoredScope::new("b", Level::Global, Limits::new().concurrency(9));
        warm(&mut leases, &busy, start);
        assert!(leases.wanted().is_empty());
    }

    #[test]
    fn what_is_not_spent_goes_back_when_the_last_call_has_ended() {
        let (mut leases, scope) =
            (Leases::default(), scope(Limits::new().tokens_per_minute(9_000)));
        let at = warm(&mut leases, &scope, now());
        grant(&mut leases, at);
        let place = call(&mut leases, &scope, at).remove(0);
        let late = after(at, LIFE);
        assert!(leases.close(late).is_empty(), "a call is running");
        assert!(call(&mut leases, &scope, late).is_empty(), "it takes no more");
        let (_, used) = leases.end(&place, &CALL, &Amounts::tokens(8, 30)).unwrap();
        assert_eq!(used, Amounts::tokens(8, 30));
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn what_a_call_did_not_use_is_spent_by_the_next() {
        let (mut leases, scope) =
            (Leases::default(), scope(Limits::new().tokens_per_minute(9_000)));
        let at = warm(&mut leases, &scope, now());
        let size = grant(&mut leases, at).requests as usize;
        let places: Vec<_> = (0..size).flat_map(|_| call(&mut leases, &scope, at)).collect();
        assert!(call(&mut leases, &scope, at).is_empty());
        leases.end(&places[0], &CALL, &Amounts::NONE);
        assert_eq!(call(&mut leases, &scope, at).len(), 1);
    }

    #[test]
    fn a_refusal_is_followed_by_a_pause() {
        let (mut leases, scope) =
            (Leases::default(), scope(Limits::new().tokens_per_minute(9_000)));
        let at = warm(&mut leases, &scope, now());
        assert_eq!(leases.wanted().len(), 1);
        leases.refused("a", at);
        call(&mut leases, &scope, after(at, PAUSE / 2));
        assert!(leases.wanted().is_empty());
        warm(&mut leases, &scope, at);
        assert_eq!(leases.wanted().len(), 1);
    }

    #[test]
    fn a_flood_of_scopes_is_not_watched() {
        let mut leases = Leases::default();
        for i in 0..2 * MOST_WATCHED {
            let name = i.to_string();
            let scope = StoredScope::new(name, Level::Tenant, Limits::new().tokens_per_minute(9));
            call(&mut leases, &scope, now());
        }
        assert_eq!(leases.watched.len(), MOST_WATCHED);
    }
}
