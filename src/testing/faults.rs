//! What goes wrong in a simulated server, and when.

use std::ops::Range;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::rng::Rng;

/// Something that goes wrong for a while. Decided once for each attempt, when it arrives: an attempt
/// that was running when a fault began is not touched.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// A part of the attempts fails at once.
    ErrorRate {
        /// What they fail with.
        kind: ErrorKind,
        /// The probability of each.
        p: f64,
    },
    /// Everything takes longer.
    Slow {
        /// How many times as long, the time to the first token and between tokens alike.
        factor: f64,
    },
    /// A part of the attempts is accepted and then never answered.
    Hang {
        /// The probability of each.
        p: f64,
    },
    /// Every attempt fails at once.
    Outage(ErrorKind),
    /// A part of the answers ends somewhere in the middle, without its terminal event.
    CutStream {
        /// The probability of each.
        p: f64,
    },
}

impl Fault {
    /// What is wrong with the parameters.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match *self {
            Self::ErrorRate { p, .. } | Self::Hang { p } | Self::CutStream { p } => {
                (!(0.0..=1.0).contains(&p)).then_some("a probability must be between 0 and 1")
            }
            Self::Slow { factor } => (!(factor.is_finite() && factor >= 0.0))
                .then_some("the factor must be finite and not negative"),
            Self::Outage(_) => None,
        }
    }
}

/// Faults, each with the time in which it is active, counted from the server's start.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule(pub(super) Vec<(Fault, Range<Duration>)>);

/// What goes wrong in one attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Troubles {
    pub(super) fails: Option<ErrorKind>,
    pub(super) slowdown: f64,
    pub(super) hangs: bool,
    /// Where the answer is cut, as a part of its length.
    pub(super) cut: Option<f64>,
}

impl Schedule {
    /// What goes wrong in an attempt that arrives `offset` after the start. Every entry takes its
    /// draws, active or not, so that one fault's times do not change another one's victims.
    pub(super) fn troubles(&self, offset: Duration, rng: &Rng) -> Troubles {
        let mut troubles = Troubles { fails: None, slowdown: 1.0, hangs: false, cut: None };
        for (fault, active) in &self.0 {
            let (chance, place) = (rng.unit(), rng.unit());
            if active.contains(&offset) {
                troubles.add(*fault, chance, place);
            }
        }
        troubles
    }

    /// The outage that is on `offset` after the start.
    pub(super) fn outage(&self, offset: Duration) -> Option<ErrorKind> {
        self.0.iter().find_map(|(fault, active)| match fault {
            Fault::Outage(kind) if active.contains(&offset) => Some(*kind),
            _ => None,
        })
    }
}

impl Troubles {
    /// Slowdowns multiply; of several errors the first one listed counts.
    fn add(&mut self, fault: Fault, chance: f64, place: f64) {
        match fault {
            Fault::ErrorRate { kind, p } if chance < p => self.fail(kind),
            Fault::Outage(kind) => self.fail(kind),
            Fault::Slow { factor } => self.slowdown *= factor,
            Fault::Hang { p } => self.hangs |= chance < p,
            Fault::CutStream { p } if chance < p => self.cut = Some(place),
            Fault::ErrorRate { .. } | Fault::CutStream { .. } => {}
        }
    }

    fn fail(&mut self, kind: ErrorKind) {
        self.fails.get_or_insert(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fault_is_active_from_its_start_until_its_end() {
        let schedule = Schedule(vec![(Fault::Outage(ErrorKind::Server), SECOND..SECOND * 2)]);
        let fails = |offset| schedule.troubles(offset, &Rng::from_seed(1)).fails;
        assert_eq!(fails(SECOND - Duration::from_nanos(1)), None);
        assert_eq!(fails(SECOND), Some(ErrorKind::Server));
        assert_eq!(fails(SECOND * 2), None);
    }

    #[test]
    fn a_probability_is_met() {
        let fault = Fault::ErrorRate { kind: ErrorKind::Overloaded, p: 0.3 };
        let schedule = Schedule(vec![(fault, Duration::ZERO..Duration::MAX)]);
        let rng = Rng::from_seed(5);
        let failed =
            (0..10_000).filter(|_| schedule.troubles(SECOND, &rng).fails.is_some()).count();
        assert!((2_850..3_150).contains(&failed), "{failed}");
    }

    #[test]
    fn slowdowns_multiply_and_the_first_error_counts() {
        let always = Duration::ZERO..Duration::MAX;
        let schedule = Schedule(
            [
                Fault::Slow { factor: 2.0 },
                Fault::Outage(ErrorKind::Transport),
                Fault::Slow { factor: 3.0 },
                Fault::Outage(ErrorKind::Server),
            ]
            .map(|fault| (fault, always.clone()))
            .to_vec(),
        );
        let troubles = schedule.troubles(SECOND, &Rng::from_seed(1));
        assert_eq!((troubles.slowdown, troubles.fails), (6.0, Some(ErrorKind::Transport)));
    }

    #[test]
    fn a_fault_that_is_not_active_leaves_the_draws_of_the_next_one_alone() {
        let victims = |until| {
            let schedule = Schedule(vec![
                (Fault::Hang { p: 0.5 }, Duration::ZERO..until),
                (Fault::CutStream { p: 0.5 }, Duration::ZERO..Duration::MAX),
            ]);
            let rng = Rng::from_seed(9);
            (0..64).map(|_| schedule.troubles(SECOND, &rng).cut).collect::<Vec<_>>()
        };
        assert_eq!(victims(Duration::ZERO), victims(Duration::MAX));
    }
}
