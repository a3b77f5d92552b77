//! When a lane's gate opens, and how many pass then. Pure.

use std::time::Duration;

use crate::time::{Instant, after};

/// A gate that was closed for at least so long opens slowly. What opens more often, such as a bucket
/// that drips, lets nobody meet anybody, and a pace would only waste it.
const LONG: Duration = Duration::from_secs(1);

/// After it opens, so many pass at once; twice as many with every step. All of them at once would
/// meet the next refusal together.
const FIRST: u32 = 1;
const STEP: Duration = Duration::from_millis(25);

/// Faster than any backlog can use: open. Reached after 13 steps, a third of a second.
const OPEN: u32 = 4096;

/// When a lane's gate opens, as it said last, and how many may pass.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    opens: Option<Instant>,
    closed_since: Option<Instant>,
    ramp: Option<Ramp>,
}

#[derive(Debug, Clone, Copy)]
struct Ramp {
    left: u32,
    allowance: u32,
    next: Instant,
}

impl Pace {
    /// The gate refuses, and may have said until when.
    pub(crate) fn closed(&mut self, opens: Option<Instant>, now: Instant) {
        self.opens = opens;
        if opens.is_some() {
            self.ramp = None;
            self.closed_since.get_or_insert(now);
        }
    }

    /// Somebody passed.
    pub(crate) const fn passed(&mut self) {
        (self.opens, self.closed_since) = (None, None);
        if let Some(ramp) = &mut self.ramp {
            ramp.left = ramp.left.saturating_sub(1);
        }
    }

    /// Nobody waits any more, so nobody asks how long it stays closed.
    pub(crate) const fn abandoned(&mut self) {
        (self.opens, self.closed_since) = (None, None);
    }

    /// Whether another may pass.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.opens.is_some_and(|opens| opens <= now) {
            self.opened(now);
        }
        if let Some(ramp) = &mut self.ramp
            && now >= ramp.next
        {
            *ramp = Ramp::new(ramp.allowance.saturating_mul(2), now);
        }
        self.ramp = self.ramp.filter(|ramp| ramp.allowance < OPEN);
        self.ramp.is_none_or(|ramp| ramp.left > 0)
    }

    fn opened(&mut self, now: Instant) {
        self.opens = None;
        let closed = self.closed_since.map(|since| now.saturating_duration_since(since));
        if closed.is_some_and(|closed| closed >= LONG) {
            self.ramp = Some(Ramp::new(FIRST, now));
        }
    }

    /// When the gate opens, as it said last.
    pub(crate) const fn opens(&self) -> Option<Instant> {
        self.opens
    }

    /// When the next may pass, where that is known.
    pub(crate) fn alarm(&self) -> Option<Instant> {
        self.opens.or_else(|| self.ramp.filter(|ramp| ramp.left == 0).map(|ramp| ramp.next))
    }
}

impl Ramp {
    fn new(allowance: u32, now: Instant) -> Self {
        Self { left: allowance, allowance, next: after(now, STEP) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    /// How many pass at `at`, of more than enough.
    fn passing(pace: &mut Pace, at: Instant) -> usize {
        (0..10_000)
            .take_while(|_| {
                pace.allows(at) && {
                    pace.passed();
                    true
                }
            })
            .count()
    }

    #[test]
    fn after_a_long_time_twice_as_many_pass_with_every_step() {
        let (mut pace, at) = (Pace::default(), now());
        let opens = at + Duration::from_secs(60);
        pace.closed(Some(opens), at);
        let steps = (0..4).map(|step| passing(&mut pace, opens + STEP * step));
        assert_eq!(steps.collect::<Vec<_>>(), [1, 2, 4, 8]);
        assert_eq!(pace.alarm(), Some(opens + STEP * 4));
        let open = (4..13).map(|step| passing(&mut pace, opens + STEP * step)).max();
        assert_eq!(open, Some(10_000), "open after a third of a second");
    }

    #[test]
    fn a_gate_that_drips_is_not_held_back() {
        let (mut pace, mut at) = (Pace::default(), now());
        for _ in 0..100 {
            pace.closed(Some(at + Duration::from_millis(10)), at);
            at += Duration::from_millis(10);
            assert_eq!(passing(&mut pace, at), 10_000);
        }
    }

    #[test]
    fn whoever_is_asked_in_vain_meanwhile_does_not_make_it_short() {
        let (mut pace, at) = (Pace::default(), now());
        let opens = at + Duration::from_secs(2);
        for tick in 0..20 {
            pace.closed(Some(opens), at + Duration::from_millis(100) * tick);
        }
        assert_eq!(passing(&mut pace, opens), 1);
    }
}
