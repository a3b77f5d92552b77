//! The queue's pure state against a plain list of who waits: counts, bounds, whom the bounds push out,
//! and whose turn it is.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::options::{Priority, TenantId};
use evenkeel::queue::door::{Entered, Waiters};
use evenkeel::queue::{Place, QueueSettings, Scope};
use evenkeel::time::{Instant, now};

use crate::bytes::Bytes;

const CLASSES: [Priority; 3] = [Priority::Batch, Priority::Normal, Priority::Interactive];

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut world = World::new(&mut bytes);
    let mut steps = 0;
    while !bytes.is_empty() && steps < 96 {
        world.step(&mut bytes);
        world.check();
        steps += 1;
    }
    world.close();
}

struct World {
    state: Waiters,
    settings: QueueSettings,
    /// Those who have not gone, by number.
    here: BTreeMap<u64, Waiter>,
    running: Vec<u64>,
    now: Instant,
}

#[derive(Debug, Clone)]
struct Waiter {
    tenant: Option<TenantId>,
    class: usize,
    lane: usize,
    deadline: Instant,
    since: Instant,
    returns: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waits,
    Granted,
    Absent,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let mut settings = QueueSettings::default();
        settings.max_depth = 1 + bytes.below(12);
        settings.max_depth_per_tenant = bytes.flag().then(|| 1 + bytes.below(8));
        settings.aging = Duration::from_millis(1 + u64::from(bytes.short()));
        settings.patience = 1.0;
        settings.weights.insert(TenantId::new("1"), 1 + u32::from(bytes.byte()));
        let state = Waiters::new(settings.clone());
        Self { state, settings, here: BTreeMap::new(), running: Vec::new(), now: now() }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.byte();
        self.now += Duration::from_millis(u64::from(kind >> 4).pow(3));
        match kind % 16 {
            0..=4 => self.enter(bytes),
            5 => self.enter_again(bytes),
            6..=8 => self.grant(bytes),
            9 | 10 => self.claim(bytes),
            11 => self.leave(bytes),
            12 => self.set_aside(bytes),
            13 => self.show_up(bytes),
            _ => self.settle(bytes),
        }
    }

    fn place(&self, bytes: &mut Bytes<'_>) -> (Place, Waiter) {
        let left = Duration::from_millis(1 + u64::from(bytes.short()));
        let (lane, class) = (bytes.below(3), bytes.below(3));
        let mut place = Place::new(self.now + left)
            .lane(lane.to_string())
            .priority(CLASSES[class])
            .cost(bytes.number());
        let tenant = bytes.below(4);
        if tenant > 0 {
            place = place.tenant(tenant.to_string());
        }
        let (deadline, since) = (place.deadline.min(self.now + self.settings.max_wait), self.now);
        let (tenant, phase) = (place.tenant.clone(), Phase::Waits);
        (place, Waiter { tenant, class, lane, deadline, since, returns: false, phase })
    }

    fn enter(&mut self, bytes: &mut Bytes<'_>) {
        let (place, waiter) = self.place(bytes);
        let own = self.depth_of(&waiter.tenant);
        let depth = self.depth();
        let room = self.settings.max_depth_per_tenant.is_none_or(|most| own < most);
        match self.state.enter(&place, self.now) {
            Entered::Waits { number, instead_of } => {
                assert!(room, "beyond the bound of its tenant");
                match instead_of {
                    None => assert!(depth < self.settings.max_depth, "beyond the bound"),
                    Some(victim) => self.push_out(victim, &waiter, own, depth),
                }
                self.here.insert(number, waiter);
            }
            Entered::Full { scope: Scope::Tenant, depth } => {
                assert!(!room && depth == own);
            }
            Entered::Full { scope: Scope::Global, depth: told } => {
                assert!(room && told == depth && depth >= self.settings.max_depth);
                self.check_nobody_is_greedier(&waiter, own);
            }
            Entered::WouldMissDeadline { eta } => {
                assert!(eta > waiter.deadline - self.now, "it has the time");
            }
            other => panic!("{other:?}"),
        }
    }

    /// The newest waiter of a tenant that takes most for its weight, and more than the one who comes
    /// will.
    fn push_out(&mut self, victim: u64, comes: &Waiter, own: usize, depth: usize) {
        assert!(depth >= self.settings.max_depth, "there was room");
        let loses = self.here[&victim].clone();
        let taken = self.pressure(&loses.tenant, self.depth_of(&loses.tenant));
        let all = self.here.values().map(|it| self.pressure(&it.tenant, self.depth_of(&it.tenant)));
        assert_eq!(all.max(), Some(taken), "somebody takes more");
        assert!(taken > self.pressure(&comes.tenant, own + 1), "a polite one lost its place");
        assert!(!loses.returns && loses.phase != Phase::Granted);
        let of_the_same = self.here.iter().filter(|(_, it)| {
            it.tenant == loses.tenant && !it.returns && it.phase != Phase::Granted
        });
        assert_eq!(of_the_same.map(|it| *it.0).max(), Some(victim), "not the newest");
        assert!(self.state.leave(victim, self.now));
        self.here.remove(&victim);
    }

    fn check_nobody_is_greedier(&self, comes: &Waiter, own: usize) {
        let pressure = |it: &Waiter| self.pressure(&it.tenant, self.depth_of(&it.tenant));
        let most = self.waiting().map(|(_, it)| pressure(it)).max().unwrap_or(0);
        let greediest = self.waiting().filter(|(_, it)| pressure(it) == most);
        // Those who return keep their places: a tenant of such alone has none to lose.
        let greediest: Vec<_> = greediest.collect();
        let ordinary = |tenant: &Option<TenantId>| {
            greediest.iter().any(|(_, it)| it.tenant == *tenant && !it.returns)
        };
        let spared = greediest.iter().any(|(_, it)| !ordinary(&it.tenant));
        assert!(spared || most <= self.pressure(&comes.tenant, own + 1), "somebody takes more");
    }

    fn enter_again(&mut self, bytes: &mut Bytes<'_>) {
        let (place, mut waiter) = self.place(bytes);
        waiter.since = self.now - Duration::from_millis(bytes.below(9) as u64);
        waiter.returns = true;
        let number = self.state.enter_again(&place, waiter.since, self.now);
        self.here.insert(number, waiter);
    }

    /// Mostly whose turn it is.
    fn grant(&mut self, bytes: &mut Bytes<'_>) {
        let order = self.state.order(self.now);
        let turns: Vec<u64> = order.into_iter().flatten().collect();
        if turns.is_empty() {
            return;
        }
        let number = *bytes.pick(&turns);
        assert!(self.state.grant(number, self.now));
        self.phase(number, Phase::Granted);
    }

    fn claim(&mut self, bytes: &mut Bytes<'_>) {
        let Some(number) = self.any(bytes) else { return };
        let granted = self.here[&number].phase == Phase::Granted;
        assert_eq!(self.state.claim(number), granted);
        if granted {
            self.here.remove(&number);
            self.running.push(number);
        }
    }

    fn leave(&mut self, bytes: &mut Bytes<'_>) {
        let Some(number) = self.any(bytes) else { return };
        assert!(self.state.leave(number, self.now));
        assert!(!self.state.leave(number, self.now), "it has gone");
        self.here.remove(&number);
    }

    fn set_aside(&mut self, bytes: &mut Bytes<'_>) {
        let Some(number) = self.any(bytes) else { return };
        self.state.set_aside(number);
        if self.here[&number].phase == Phase::Granted {
            self.phase(number, Phase::Absent);
        }
    }

    fn show_up(&mut self, bytes: &mut Bytes<'_>) {
        let Some(number) = self.any(bytes) else { return };
        self.state.shows_up(number, self.now);
        if self.here[&number].phase == Phase::Absent {
            self.phase(number, Phase::Waits);
        }
    }

    fn settle(&mut self, bytes: &mut Bytes<'_>) {
        if self.running.is_empty() {
            return;
        }
        let number = self.running.swap_remove(bytes.below(self.running.len()));
        let actual = bytes.flag().then(|| bytes.number());
        assert!(self.state.settle(number, actual));
    }

    fn phase(&mut self, number: u64, phase: Phase) {
        self.here.get_mut(&number).expect("it is here").phase = phase;
    }

    fn any(&self, bytes: &mut Bytes<'_>) -> Option<u64> {
        let nth = bytes.below(256) % self.here.len().max(1);
        self.here.keys().nth(nth).copied()
    }

    fn waiting(&self) -> impl Iterator<Item = (&u64, &Waiter)> {
        self.here.iter().filter(|(_, waiter)| waiter.phase != Phase::Granted)
    }

    fn depth(&self) -> usize {
        self.waiting().count()
    }

    fn depth_of(&self, tenant: &Option<TenantId>) -> usize {
        self.waiting().filter(|(_, waiter)| waiter.tenant == *tenant).count()
    }

    /// How much of the room a tenant takes for its weight.
    fn pressure(&self, tenant: &Option<TenantId>, depth: usize) -> u64 {
        let weight = tenant.as_ref().and_then(|tenant| self.settings.weights.get(tenant));
        ((depth as u64) << 32) / u64::from(*weight.unwrap_or(&1))
    }

    fn check(&self) {
        assert_eq!(self.state.depth(), self.depth());
        let by_class = std::array::from_fn(|class| {
            self.waiting().filter(|(_, waiter)| waiter.class == class).count()
        });
        assert_eq!(self.state.by_class(), by_class);
        let oldest = self.waiting().map(|(_, waiter)| waiter.since).min();
        assert_eq!(self.state.oldest(), oldest);
        let mut tenants: BTreeMap<_, usize> = BTreeMap::new();
        self.waiting().for_each(|(_, it)| *tenants.entry(it.tenant.clone()).or_default() += 1);
        let mut told = self.state.top_tenants();
        assert!(told.is_sorted_by_key(|(_, depth)| std::cmp::Reverse(*depth)));
        told.sort();
        assert_eq!(told, tenants.into_iter().collect::<Vec<_>>());
        self.check_order();
    }

    fn check_order(&self) {
        let mut lanes: Vec<Vec<u64>> = self.state.order(self.now);
        lanes.iter().for_each(|lane| assert!(!lane.is_empty(), "a busy lane with nobody"));
        for lane in 0..3 {
            let expected = self.heads(lane);
            let Some(first) = expected.keys().next() else { continue };
            let in_lane = |order: &Vec<u64>| self.here[&order[0]].lane == self.here[first].lane;
            let at = lanes.iter().position(in_lane).expect("somebody waits in the lane");
            let order = lanes.swap_remove(at);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().eq(expected.keys()), "the first of each tenant and class");
            self.check_turns(&order);
        }
        assert!(lanes.is_empty(), "nobody waits in {lanes:?}");
    }

    /// Those who return, and of every class the first of each tenant: by its deadline, then as it came.
    fn heads(&self, lane: usize) -> BTreeMap<u64, &Waiter> {
        let waits = self.here.iter().filter(|(_, it)| it.lane == lane && it.phase == Phase::Waits);
        let (mut heads, mut firsts) = (BTreeMap::new(), BTreeMap::new());
        for (number, waiter) in waits {
            if waiter.returns {
                heads.insert(*number, waiter);
                continue;
            }
            let turn = (waiter.deadline, *number);
            let first = firsts.entry((waiter.class, waiter.tenant.clone())).or_insert(turn);
            *first = turn.min(*first);
        }
        heads.extend(firsts.into_values().map(|(_, number)| (number, &self.here[&number])));
        heads
    }

    /// Who returns goes first, by when it came; then class after class, the highest first, where one
    /// rises with the time that its first has waited.
    fn check_turns(&self, order: &[u64]) {
        let waiters: Vec<&Waiter> = order.iter().map(|number| &self.here[number]).collect();
        let returning = waiters.iter().take_while(|it| it.returns).count();
        assert!(waiters[returning..].iter().all(|it| !it.returns));
        let came = |at: usize| (waiters[at].since, order[at]);
        assert!((0..returning).map(came).is_sorted());
        let classes = waiters[returning..].chunk_by(|a, b| a.class == b.class);
        let ranks: Vec<_> = classes
            .map(|class| {
                let waited = (self.now - class[0].since).as_nanos();
                let risen = waited / self.settings.aging.as_nanos();
                (class[0].class as u128 + risen, class[0].class)
            })
            .collect();
        assert!(ranks.windows(2).all(|pair| pair[0] > pair[1]), "{ranks:?}");
        let mut classes: Vec<_> = ranks.iter().map(|rank| rank.1).collect();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), ranks.len(), "a class comes in one piece");
    }

    /// Everybody goes, and nothing is left.
    fn close(mut self) {
        for number in self.here.keys() {
            assert!(self.state.leave(*number, self.now));
        }
        for number in &self.running {
            assert!(self.state.settle(*number, None));
        }
        assert_eq!((self.state.depth(), self.state.by_class()), (0, [0; 3]));
        assert_eq!((self.state.oldest(), self.state.top_tenants()), (None, Vec::new()));
        assert_eq!(self.state.order(self.now), Vec::<Vec<u64>>::new());
    }
}
