//! The reference store of quotas against a plain account: exact cells, counters, and ids that are
//! asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, StoredScope};
use evenkeel::quota::{Amounts, Denied, Dimension, Level, Limit, Limits, Reason, door};
use evenkeel::time::{Instant, now};

use crate::bytes::Bytes;
use crate::cell::{Cell, Fits, Part};

/// Short, so that some expire.
const EXPIRY: Duration = Duration::from_secs(40);

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut world = World::new(&mut bytes);
    let mut steps = 0;
    while !bytes.is_empty() && steps < 64 && !world.unsure {
        world.step(&mut bytes);
        steps += 1;
    }
}

struct World {
    store: MemoryQuotaStore,
    scopes: Vec<Scope>,
    open: BTreeMap<u128, Open>,
    grants: Vec<Grant>,
    start: Instant,
    nanos: u64,
    /// Rounding decided about a call that was refused. How far it came is not told, so the account
    /// ends here.
    unsure: bool,
}

/// One scope, as the account has it.
struct Scope {
    stored: StoredScope,
    cells: Vec<(Dimension, Cell)>,
    running: u32,
}

struct Open {
    demand: Arc<Demand>,
    scopes: Vec<usize>,
    parts: Vec<Vec<Part>>,
    expires: u64,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let scopes = (0..3).map(|at| Scope::draw(at, bytes)).collect();
        let store = MemoryQuotaStore::new();
        let start = now();
        Self {
            store,
            scopes,
            open: BTreeMap::new(),
            grants: Vec::new(),
            start,
            nanos: 0,
            unsure: false,
        }
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_nanos(self.nanos)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.byte();
        self.nanos += u64::from(kind >> 3) * u64::from(kind >> 3) * 10_000_000;
        self.expire();
        match kind % 8 {
            0..=3 => self.reserve(bytes),
            4 => self.reserve_again(bytes),
            _ => self.settle(bytes),
        }
    }

    fn expire(&mut self) {
        let gone: Vec<u128> = self
            .open
            .iter()
            .filter(|(_, open)| open.expires <= self.nanos)
            .map(|it| *it.0)
            .collect();
        for id in gone {
            let taken = self.open[&id].demand.amounts;
            self.end(id, &taken);
        }
    }

    /// In any order of their ids: what several give back at one instant adds up.
    fn end(&mut self, id: u128, used: &Amounts) -> bool {
        let Some(open) = self.open.remove(&id) else { return false };
        for (scope, parts) in open.scopes.into_iter().zip(open.parts) {
            self.scopes[scope].leave(&parts, used, self.nanos);
        }
        true
    }

    fn reserve(&mut self, bytes: &mut Bytes<'_>) {
        let amounts = Amounts::tokens(u64::from(bytes.byte()), u64::from(bytes.byte()));
        let chosen = bytes.byte();
        let scopes: Vec<usize> = (0..3).filter(|at| chosen >> at & 1 == 1).collect();
        let stored = scopes.iter().map(|at| self.scopes[*at].stored.clone()).collect();
        let id = u128::from(bytes.byte()) % 8;
        let demand = Arc::new(Demand::new(id, amounts, stored).expires_in(EXPIRY));
        let answer = door::reserve(&self.store, &demand, self.at());
        if let Some(open) = self.open.get(&id) {
            let grant = answer.expect("an id that is out is granted again");
            assert_eq!(grant.demand, open.demand, "with what it was granted first");
            return;
        }
        self.account(demand, scopes, answer);
    }

    /// The account follows the store where rounding decides, and only there.
    fn account(&mut self, demand: Arc<Demand>, scopes: Vec<usize>, answer: Result<Grant, Denied>) {
        let nanos = self.nanos;
        let fits: Vec<_> =
            scopes.iter().map(|at| self.scopes[*at].fits(&demand.amounts, nanos)).collect();
        match answer {
            Ok(grant) => {
                assert!(!fits.contains(&Fits::No), "{:?} were let in", demand.amounts);
                let amounts = demand.amounts;
                let enter = |at: &usize| self.scopes[*at].enter(&amounts, nanos);
                let parts = scopes.iter().map(enter).collect();
                let expires = nanos + EXPIRY.as_nanos() as u64;
                self.open.insert(demand.id, Open { demand, scopes, parts, expires });
                self.grants.push(grant);
            }
            Err(denied) => {
                assert!(fits.iter().any(|fits| *fits != Fits::Yes), "{denied}");
                self.check_denial(&demand, &scopes, &denied);
                self.pass(&demand.amounts, &scopes);
            }
        }
    }

    fn check_denial(&self, demand: &Demand, scopes: &[usize], denied: &Denied) {
        let mut named =
            scopes.iter().map(|at| &self.scopes[*at]).filter(|it| it.stored.level == denied.level);
        let scope = named.next().expect("a scope that was asked");
        match denied.reason {
            Reason::TooLarge { dimension, amount, .. } => {
                assert_eq!(amount, demand.amounts.of(dimension));
            }
            Reason::Rate { dimension, retry_after } => {
                let amount = demand.amounts.of(dimension);
                let waits =
                    scope.cells.iter().filter(|(of, _)| *of == dimension).map(|(_, cell)| {
                        let over = cell.level(self.nanos) + cell.parts(amount) - cell.burst();
                        let slack = cell.drain_time(cell.slack(self.nanos)) + 1_000;
                        (cell.drain_time(over.max(0)), slack)
                    });
                let wait = retry_after.as_nanos() as i128;
                let near = |(exact, slack): (i128, i128)| (wait - exact).abs() <= slack;
                assert!(waits.into_iter().any(near), "{denied}");
            }
            Reason::Concurrency { limit } => assert!(scope.running >= limit),
            other => panic!("{other:?}"),
        }
    }

    /// What a refused call took on its way went back at once, which the cells remember.
    fn pass(&mut self, amounts: &Amounts, scopes: &[usize]) {
        let nanos = self.nanos;
        for at in scopes {
            let scope = &mut self.scopes[*at];
            if scope.is_full() {
                return;
            }
            let fits = scope.fits_by_rate(amounts, nanos);
            let stop = fits.iter().position(|fits| *fits != Fits::Yes).unwrap_or(fits.len());
            let parts = scope.take_first(stop, amounts, nanos);
            scope.give_back(&parts, nanos);
            if let Some(fits) = fits.get(stop) {
                self.unsure = *fits == Fits::Either;
                return;
            }
        }
    }

    /// An answer that was lost is asked for again.
    fn reserve_again(&mut self, bytes: &mut Bytes<'_>) {
        let Some(demand) = self.nth_grant(bytes).map(|grant| Arc::clone(&grant.demand)) else {
            return;
        };
        if self.open.get(&demand.id).is_some_and(|open| open.demand == demand) {
            let grant = door::reserve(&self.store, &demand, self.at());
            assert_eq!(grant.expect("it is out").demand, demand);
        }
    }

    /// Any grant, also one that was settled: that changes nothing.
    fn settle(&mut self, bytes: &mut Bytes<'_>) {
        let Some(grant) = self.nth_grant(bytes).cloned() else { return };
        let actual = Amounts::tokens(u64::from(bytes.byte()), u64::from(bytes.byte()));
        door::settle(&self.store, &grant, &actual, self.at());
        // A grant is known by its id alone: one that came later under it is settled instead.
        self.end(grant.demand.id, &actual);
    }

    fn nth_grant(&self, bytes: &mut Bytes<'_>) -> Option<&Grant> {
        let many = self.grants.len();
        (many > 0).then(|| &self.grants[many - 1 - bytes.below(many.min(8))])
    }
}

impl Scope {
    fn draw(at: usize, bytes: &mut Bytes<'_>) -> Self {
        let dimensions = [Dimension::Tokens, Dimension::Requests, Dimension::OutputTokens];
        let (mut limits, mut cells) = (Limits::new(), Vec::new());
        for dimension in dimensions.into_iter().take(bytes.below(3)) {
            let (amount, seconds) = (1 + u64::from(bytes.byte()) * 4, 1 + bytes.below(60) as u64);
            let burst = 1 + u64::from(bytes.byte()) * 2;
            let limit = Limit::new(dimension, amount, Duration::from_secs(seconds)).burst(burst);
            limits = limits.limit(limit);
            cells.push((dimension, Cell::new(amount, seconds * 1_000_000_000, burst)));
        }
        if bytes.flag() {
            limits = limits.concurrency(1 + bytes.below(4) as u32);
        }
        let levels = [Level::Global, Level::Tenant, Level::Key("key".into())];
        let stored = StoredScope::new(at.to_string(), levels[at].clone(), limits);
        Self { stored, cells, running: 0 }
    }

    fn is_full(&self) -> bool {
        self.stored.limits.concurrency.is_some_and(|limit| self.running >= limit)
    }

    fn fits_by_rate(&self, amounts: &Amounts, now: u64) -> Vec<Fits> {
        let fits = self.cells.iter().map(|(dimension, cell)| {
            let parts = cell.parts(amounts.of(*dimension));
            if parts > cell.burst() { Fits::No } else { cell.fits(parts, cell.burst(), now) }
        });
        fits.collect()
    }

    fn fits(&self, amounts: &Amounts, now: u64) -> Fits {
        let fits = self.fits_by_rate(amounts, now);
        match () {
            () if self.is_full() || fits.contains(&Fits::No) => Fits::No,
            () if fits.contains(&Fits::Either) => Fits::Either,
            () => Fits::Yes,
        }
    }

    fn enter(&mut self, amounts: &Amounts, now: u64) -> Vec<Part> {
        self.running += 1;
        self.take_first(usize::MAX, amounts, now)
    }

    fn take_first(&mut self, many: usize, amounts: &Amounts, now: u64) -> Vec<Part> {
        let cells = self.cells.iter_mut().take(many);
        cells.map(|(dimension, cell)| cell.take(cell.parts(amounts.of(*dimension)), now)).collect()
    }

    fn give_back(&mut self, parts: &[Part], now: u64) {
        self.cells.iter_mut().zip(parts).for_each(|((_, cell), part)| cell.settle(*part, 0, now));
    }

    fn leave(&mut self, parts: &[Part], used: &Amounts, now: u64) {
        self.running -= 1;
        for ((dimension, cell), part) in self.cells.iter_mut().zip(parts) {
            let used = cell.parts(used.of(*dimension));
            cell.settle(*part, used, now);
        }
    }
}
