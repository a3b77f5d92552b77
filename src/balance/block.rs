//! What keeps an endpoint, or one of its models, out for a time. Pure.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::rng::Rng;
use crate::time::{Instant, after};

/// Something that was refused here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    since: Instant,
    pub(crate) until: Instant,
    pub(crate) why: ErrorKind,
}

impl Block {
    /// A later end replaces an earlier one, never the other way round: two refusals in flight must
    /// not shorten each other's cooldown.
    pub(crate) fn raise(block: &mut Option<Self>, now: Instant, length: Duration, why: ErrorKind) {
        let until = after(now, length);
        if block.is_none_or(|before| before.until < until) {
            *block = Some(Self { since: now, until, why });
        }
    }

    /// Whether a success of an attempt that began at `started` says nothing about it: the attempt
    /// had passed before the refusal came.
    pub(crate) fn outlives(&self, started: Instant) -> bool {
        started <= self.since
    }

    pub(crate) fn is_running(&self, now: Instant) -> bool {
        self.until > now
    }
}

/// How much later than it is an end can seem to be: a store's answer may be on its way for as long
/// as the deadline.
const IN_TRANSIT: Duration = Duration::from_millis(250);

/// What another instance was told, as a store passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) why: ErrorKind,
    pub(crate) ends: Instant,
}

/// Something that was refused elsewhere, and is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hearsay {
    pub(crate) block: Block,
    /// When it ends by the store.
    ends: Instant,
}

impl Hearsay {
    /// Takes in what is told, unless that is known, here first-hand or from before. Whether that
    /// changed anything.
    ///
    /// Who was told the same must not come back with all the others: jitter of at most
    /// `most_jitter` is added.
    pub(crate) fn hear(
        hearsay: &mut Option<Self>,
        own: Option<Block>,
        told: Told,
        (now, most_jitter): (Instant, Duration),
        rng: &Rng,
    ) -> bool {
        let known = own.map(|own| own.until).max(hearsay.map(|known| known.ends));
        if told.ends <= now || known.is_some_and(|known| after(known, IN_TRANSIT) >= told.ends) {
            return false;
        }
        let left = told.ends - now;
        let length = left + rng.jitter(most_jitter.min(left / 10));
        let block = Block { since: now, until: after(now, length), why: told.why };
        *hearsay = Some(Self { block, ends: told.ends });
        true
    }

    /// Whether it was lifted, where the store tells it no longer: it has not come to its end.
    pub(crate) fn is_lifted(&self, now: Instant) -> bool {
        self.ends > after(now, IN_TRANSIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_an_answer_on_its_way_makes_seem_later_is_nothing_new() {
        let (now, rng, mut hearsay) = (now(), Rng::from_seed(1), None);
        let mut hear = |own, ends| {
            let told = Told { why: ErrorKind::RateLimited, ends };
            Hearsay::hear(&mut hearsay, own, told, (now, SECOND), &rng)
        };
        let ends = now + 60 * SECOND;
        let own = Some(Block { since: now, until: ends, why: ErrorKind::RateLimited });
        assert!(!hear(own, ends + IN_TRANSIT) && hear(own, ends + IN_TRANSIT * 2));
        assert!(!hear(None, ends + IN_TRANSIT * 3) && hear(None, ends + IN_TRANSIT * 4));
        assert!(!hear(None, ends), "never shorter");
        assert!(!hear(None, now), "it is over");
    }
}
