//! Two pieces of work, measured so that their ratio holds on a busy machine.
//!
//! Each round times one batch of either, back to back, and takes the ratio of the two; the result
//! is the median over the rounds. A machine that slows down between rounds changes both sides of a
//! ratio, and an interruption spoils one round and not the median. The order within a round
//! alternates, so that being second costs either side the same. Time is CPU time of this thread.

use std::time::Duration;

use crate::clock::thread_cpu;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// What one batch takes at least: long beside the cost of reading the clock.
    batch: Duration,
}

impl Effort {
    /// About a quarter of a second a row.
    pub(crate) const QUICK: Self = Self { rounds: 21, batch: Duration::from_millis(4) };
    /// About two seconds a row.
    pub(crate) const FULL: Self = Self { rounds: 101, batch: Duration::from_millis(8) };
}

/// How many times as long one run of `theirs` takes as one run of `ours`.
///
/// Each runs often enough before the first round for its memory to be warm.
pub(crate) fn ratio(effort: Effort, theirs: impl FnMut(), ours: impl FnMut()) -> f64 {
    compare(effort, theirs, ours, |their_time, our_time| their_time / our_time)
}

/// How many nanoseconds longer one run of `ours` takes than one run of `theirs`.
pub(crate) fn added(effort: Effort, theirs: impl FnMut(), ours: impl FnMut()) -> f64 {
    compare(effort, theirs, ours, |their_time, our_time| our_time - their_time)
}

/// How many nanoseconds one run of `work` takes.
pub(crate) fn time(effort: Effort, mut work: impl FnMut()) -> f64 {
    let runs = batch_size(effort.batch, &mut work);
    median((0..effort.rounds).map(|_| time_per_run(runs, &mut work)).collect())
}

/// How many nanoseconds one run of each piece of work takes: the medians over rounds in which they take
/// turns, so that what slows the machine down meets them all.
pub(crate) fn times(effort: Effort, works: &mut [Box<dyn FnMut() + '_>]) -> Vec<f64> {
    let runs: Vec<u64> = works.iter_mut().map(|work| batch_size(effort.batch, work)).collect();
    let mut rounds = vec![Vec::new(); works.len()];
    for _ in 0..effort.rounds {
        for ((work, runs), times) in works.iter_mut().zip(&runs).zip(&mut rounds) {
            times.push(time_per_run(*runs, work));
        }
    }
    rounds.into_iter().map(median).collect()
}

/// The median over the rounds of what `of` makes of their time and ours.
fn compare(
    effort: Effort,
    mut theirs: impl FnMut(),
    mut ours: impl FnMut(),
    of: impl Fn(f64, f64) -> f64,
) -> f64 {
    let their_runs = batch_size(effort.batch, &mut theirs);
    let our_runs = batch_size(effort.batch, &mut ours);
    let rounds = (0..effort.rounds).map(|round| {
        if round % 2 == 0 {
            let first = time_per_run(their_runs, &mut theirs);
            of(first, time_per_run(our_runs, &mut ours))
        } else {
            let first = time_per_run(our_runs, &mut ours);
            of(time_per_run(their_runs, &mut theirs), first)
        }
    });
    median(rounds.collect())
}

/// How many runs of `work` take at least `time`.
fn batch_size(time: Duration, work: &mut impl FnMut()) -> u64 {
    let mut runs = 1;
    loop {
        let taken = time_of(runs, work);
        if taken >= time {
            return runs;
        }
        runs *= 2;
    }
}

/// In nanoseconds.
fn time_per_run(runs: u64, work: &mut impl FnMut()) -> f64 {
    time_of(runs, work).as_nanos() as f64 / runs as f64
}

fn time_of(runs: u64, work: &mut impl FnMut()) -> Duration {
    let start = thread_cpu();
    for _ in 0..runs {
        work();
    }
    thread_cpu() - start
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => values[middle.saturating_sub(1)].midpoint(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(turns: u64) -> impl FnMut() {
        move || {
            let sum = (0..turns).fold(0u64, |sum, turn| std::hint::black_box(sum ^ turn));
            std::hint::black_box(sum);
        }
    }

    #[test]
    fn ten_times_the_work_is_ten_times_the_time() {
        let ratio = ratio(Effort::QUICK, work(10_000), work(1_000));
        assert!((7.0..14.0).contains(&ratio), "measured {ratio}");
    }

    #[test]
    fn one_spoilt_round_does_not_move_the_median() {
        assert_eq!(median(vec![1.0, 900.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 900.0]), 3.0);
    }
}
