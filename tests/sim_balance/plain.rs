//! The routers to compare with: what one writes in an afternoon, ejection included.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::rng::Rng;
use evenkeel::testing::SimulatedProvider;
use evenkeel::time::{Instant, after, now, until};
use evenkeel::{CallContext, ChatRequest, Provider};

use crate::scenario::Scenario;
use crate::setup::TIMEOUT;
use crate::traffic::Answers;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    RoundRobin,
    LeastInFlight,
}

#[derive(Debug)]
pub(crate) struct PlainRouter {
    rule: Rule,
    attempts: u32,
    backends: Vec<Backend>,
    next: Cell<usize>,
    rng: Rng,
}

#[derive(Debug)]
struct Backend {
    server: SimulatedProvider,
    in_flight: Cell<u32>,
    ejection: Ejection,
}

impl PlainRouter {
    pub(crate) fn new(
        rule: Rule,
        scenario: Scenario,
        servers: &[SimulatedProvider],
        seed: u64,
    ) -> Self {
        let backend = |server: &SimulatedProvider| Backend {
            server: server.clone(),
            in_flight: Cell::default(),
            ejection: Ejection::default(),
        };
        Self {
            rule,
            attempts: scenario.attempts(),
            backends: servers.iter().map(backend).collect(),
            next: Cell::default(),
            rng: Rng::from_seed(seed),
        }
    }

    /// The next backend that is neither tried nor ejected; ejection is ignored where all are.
    fn pick(&self, tried: Option<usize>) -> usize {
        let len = self.backends.len();
        let untried = || (0..len).filter(|&at| Some(at) != tried);
        let now = now();
        let mut open: Vec<usize> =
            untried().filter(|&at| !self.backends[at].ejection.is_out(now)).collect();
        if open.is_empty() {
            open = untried().collect();
        }
        match self.rule {
            Rule::RoundRobin => self.in_turn(&open),
            Rule::LeastInFlight => self.least_busy(&open),
        }
    }

    fn in_turn(&self, open: &[usize]) -> usize {
        let mut turns = (0..).map(|ahead| (self.next.get() + ahead) % self.backends.len());
        let turn = turns.find(|turn| open.contains(turn)).unwrap();
        self.next.set(turn + 1);
        turn
    }

    fn least_busy(&self, open: &[usize]) -> usize {
        let running = |at: &usize| self.backends[*at].in_flight.get();
        let least = open.iter().map(running).min().unwrap();
        let ties: Vec<_> = open.iter().filter(|at| running(at) == least).collect();
        *ties[self.rng.below(ties.len() as u64) as usize]
    }
}

impl Answers for PlainRouter {
    async fn answers(&self, request: &Arc<ChatRequest>) -> bool {
        let mut tried = None;
        for _ in 0..self.attempts {
            let at = self.pick(tried);
            if self.backends[at].attempt(request).await {
                return true;
            }
            tried = Some(at);
        }
        false
    }
}

impl Backend {
    async fn attempt(&self, request: &ChatRequest) -> bool {
        self.in_flight.set(self.in_flight.get() + 1);
        let deadline = after(now(), TIMEOUT);
        let cx = CallContext::new(deadline);
        let answer = until(deadline, self.server.complete(request, &cx)).await;
        self.in_flight.set(self.in_flight.get() - 1);
        let answered = matches!(answer, Some(Ok(_)));
        self.ejection.note(answered, now());
        answered
    }
}

/// Failures in a row take a backend out, each time for twice as long; then it is back in full.
#[derive(Debug, Default)]
pub(crate) struct Ejection {
    in_a_row: Cell<u32>,
    times: Cell<u32>,
    until: Cell<Option<Instant>>,
}

impl Ejection {
    pub(crate) const IN_A_ROW: u32 = 5;
    pub(crate) const FIRST: Duration = Duration::from_secs(10);
    pub(crate) const LONGEST: Duration = Duration::from_secs(300);

    fn is_out(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| until > now)
    }

    fn note(&self, answered: bool, now: Instant) {
        self.in_a_row.set(if answered { 0 } else { self.in_a_row.get() + 1 });
        if self.in_a_row.get() >= Self::IN_A_ROW && !self.is_out(now) {
            let lasts = Self::FIRST.saturating_mul(1 << self.times.get().min(16));
            self.until.set(Some(after(now, lasts.min(Self::LONGEST))));
            self.times.set(self.times.get() + 1);
            self.in_a_row.set(0);
        }
    }
}
