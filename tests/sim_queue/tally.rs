//! What is counted.

use std::fmt;
use std::time::Duration;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// From its arrival to the start of the attempt that was answered; `None` where none was.
    pub(crate) waited: Option<Duration>,
    /// Since the start of the run.
    pub(crate) at: Duration,
}

/// What the server saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) attempts: u64,
    /// With a 429.
    pub(crate) refused: u64,
}

impl Upstream {
    pub(crate) const fn without(self, others: Self) -> Self {
        Self { attempts: self.attempts - others.attempts, refused: self.refused - others.refused }
    }
}

/// One run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How long calls arrived.
    pub(crate) length: Duration,
    pub(crate) calls: Vec<Ended>,
    pub(crate) upstream: Upstream,
}

/// Some runs together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: usize,
    upstream: Upstream,
    /// How long calls arrived.
    length: Duration,
    /// Calls that were answered while others arrived: what is left over at the end is a matter of
    /// when the end is.
    answered_in_time: usize,
    /// How long the answered ones waited, in order.
    waits: Vec<Duration>,
}

impl Tally {
    pub(crate) fn add(&mut self, run: Run) {
        self.calls += run.calls.len();
        self.upstream.attempts += run.upstream.attempts;
        self.upstream.refused += run.upstream.refused;
        self.length += run.length;
        let answered = run.calls.iter().filter(|call| call.waited.is_some());
        self.answered_in_time += answered.filter(|call| call.at <= run.length).count();
        self.waits.extend(run.calls.iter().filter_map(|call| call.waited));
        self.waits.sort_unstable();
    }

    /// 429s per call.
    pub(crate) fn refusals(&self) -> f64 {
        self.upstream.refused as f64 / self.calls as f64
    }

    /// Calls that were answered by their deadline.
    pub(crate) fn success_pct(&self) -> f64 {
        self.waits.len() as f64 / self.calls as f64 * 100.0
    }

    /// Attempts per answered call.
    pub(crate) fn attempts(&self) -> f64 {
        self.upstream.attempts as f64 / self.waits.len() as f64
    }

    /// Answers a second while calls arrived.
    pub(crate) fn goodput(&self) -> f64 {
        self.answered_in_time as f64 / self.length.as_secs_f64()
    }

    /// Seconds.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Seconds.
    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    fn quantile(&self, share: f64) -> f64 {
        let rank = (self.waits.len() as f64 * share).ceil() as usize;
        self.waits[rank.saturating_sub(1)].as_secs_f64()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refusals, success, attempts) = (self.refusals(), self.success_pct(), self.attempts());
        let (p50, p99, goodput) = (self.p50(), self.p99(), self.goodput());
        write!(
            f,
            "429s_per_call={refusals:.4} success_pct={success:.2} wait_p50_s={p50:.2} \
             wait_p99_s={p99:.2} attempts_per_success={attempts:.4} goodput_per_s={goodput:.3}"
        )
    }
}
