//! A limit by rate in exact arithmetic, to hold the bucket against.
#![allow(dead_code, reason = "the store of quotas does not do all that a bucket can")]

/// A token is as many parts as its window has nanoseconds, so that a nanosecond drains `amount` of
/// them and nothing is ever rounded.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    amount: i128,
    window: i128,
    burst: i128,
    /// Up to where it would be used had nothing been refunded.
    end: i128,
    refunded: i128,
    /// Operations so far: each may be rounded once.
    operations: i128,
}

/// A place in a cell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Part {
    end: i128,
    parts: i128,
}

/// What the exact arithmetic says of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fits {
    Yes,
    No,
    /// So close that rounding decides.
    Either,
}

impl Cell {
    pub(crate) fn new(amount: u64, window_nanos: u64, burst: u64) -> Self {
        let (amount, window, burst) = (amount.into(), window_nanos.into(), burst.into());
        Self { amount, window, burst, end: 0, refunded: 0, operations: 0 }
    }

    pub(crate) const fn parts(&self, tokens: u64) -> i128 {
        tokens as i128 * self.window
    }

    const fn empty(&self, now: u64) -> i128 {
        now as i128 * self.amount + self.refunded
    }

    pub(crate) fn level(&self, now: u64) -> i128 {
        (self.end - self.empty(now)).max(0)
    }

    pub(crate) fn burst(&self) -> i128 {
        self.burst * self.window
    }

    /// How far off the rounded arithmetic may be by now. A unit is at most twice the finest that the
    /// bucket chooses, and the drain is kept to at least 20 bits.
    pub(crate) fn slack(&self, now: u64) -> i128 {
        let finest = self.window >> 40;
        let unit = 2 * finest.max(self.amount).max(self.burst() >> 48) + 2;
        (self.operations + 2) * unit + ((now as i128 * self.amount) >> 20)
    }

    /// Whether so much is there beside what is used.
    pub(crate) fn fits(&self, parts: i128, limit: i128, now: u64) -> Fits {
        let over = self.level(now) + parts - limit;
        match self.slack(now) {
            slack if over > slack => Fits::No,
            slack if over < -slack => Fits::Yes,
            _ => Fits::Either,
        }
    }

    /// When `over` too much has drained, in nanoseconds.
    pub(crate) const fn drain_time(&self, over: i128) -> i128 {
        (over + self.amount - 1) / self.amount
    }

    pub(crate) fn take(&mut self, parts: i128, now: u64) -> Part {
        self.operations += 1;
        self.end = self.empty(now) + self.level(now) + parts;
        Part { end: self.end, parts }
    }

    pub(crate) fn grow(&mut self, part: Part, more: i128, now: u64) -> Part {
        self.take(more, now);
        Part { parts: part.parts + more, ..part }
    }

    pub(crate) fn settle(&mut self, part: Part, used: i128, now: u64) {
        if used > part.parts {
            self.take(used - part.parts, now);
            return;
        }
        self.operations += 1;
        let waiting = (part.end - self.empty(now)).clamp(0, part.parts);
        self.refunded += waiting.min(part.parts - used);
    }

    pub(crate) fn lower_to(&mut self, left: i128, now: u64) {
        self.operations += 1;
        let used = (self.burst() - left).max(0);
        if self.level(now) < used {
            self.end = self.empty(now) + used;
        }
    }
}
