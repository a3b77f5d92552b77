//! The plain orders, as a discrete simulation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::load::{Call, PLACES};
use crate::tally::Tally;

/// Who goes next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Whoever came first.
    Arrival,
    /// Each tenant's first in turn.
    Turns,
}

/// Those who wait: one line for all, or one for each tenant.
struct Lines {
    order: Order,
    lines: Vec<VecDeque<Call>>,
    turn: usize,
}

impl Lines {
    fn push(&mut self, call: Call) {
        let line = match self.order {
            Order::Arrival => 0,
            Order::Turns => call.tenant,
        };
        while self.lines.len() <= line {
            self.lines.push(VecDeque::new());
        }
        self.lines[line].push_back(call);
    }

    fn pop(&mut self) -> Option<Call> {
        for _ in 0..self.lines.len() {
            self.turn = (self.turn + 1) % self.lines.len();
            if let Some(call) = self.lines[self.turn].pop_front() {
                return Some(call);
            }
        }
        None
    }
}

/// Plays `calls` until the last has come; who has no place by then has waited in vain.
pub(crate) fn play(order: Order, calls: &[Call]) -> Tally {
    let mut tally = Tally::default();
    let mut lines = Lines { order, lines: Vec::new(), turn: 0 };
    let mut ends: BinaryHeap<Reverse<Duration>> = BinaryHeap::new();
    let mut arriving = calls.iter().peekable();
    while let Some(&&next) = arriving.peek() {
        let end = ends.peek().map(|&Reverse(end)| end).filter(|&end| end <= next.at);
        let now = end.unwrap_or(next.at);
        if end.is_some() {
            ends.pop();
        } else {
            lines.push(next);
            arriving.next();
        }
        while ends.len() < PLACES
            && let Some(call) = lines.pop()
        {
            tally.passed(&call, now - call.at, now);
            ends.push(Reverse(now + call.service()));
        }
    }
    tally
}
