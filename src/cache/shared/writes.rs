//! What is written to the shared stores, and when: later, by nobody in particular.
//!
//! A call never waits for a write. What is to be written lines up, up to a bound, and a task writes
//! one after the other; it is started when something lines up and ends when nothing does, or with the
//! cache. In that order: whoever hears that a lead is free finds the answer that was put before.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::answer::{SharedAnswer, SharedKey};
use super::index::SharedEntry;
use super::tiers::Tiers;
use crate::cache::stats::count;
use crate::sync::{AtomicU64, Mutex};
use crate::time::run_beside;

/// How much lines up at the most. What comes then is dropped: it is fetched again one day, and those
/// in line are no less worth.
const MOST_JOBS: usize = 1024;
const MOST_BYTES: usize = 32 << 20;

/// Something to be written.
pub(crate) enum Job {
    Put(SharedKey, SharedAnswer),
    Remove(SharedKey),
    Insert(SharedEntry),
    /// Partition and question.
    Withdraw(u128, u128),
    /// A lead, with its token.
    Release(SharedKey, u128),
    /// What was taken back elsewhere is asked for.
    Refresh,
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(_, answer) => answer.bytes(),
            Self::Insert(entry) => entry.bytes(),
            Self::Remove(_) | Self::Withdraw(..) | Self::Release(..) | Self::Refresh => 0,
        }
    }
}

#[derive(Default)]
pub(super) struct Writes {
    line: Mutex<Line>,
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Whether a task writes.
    served: bool,
}

impl Writes {
    /// Lines a job up; whether a task is to be started for it.
    fn push(&self, job: Job) -> bool {
        let mut line = self.line.lock();
        let bytes = line.bytes + job.bytes();
        if line.jobs.len() >= MOST_JOBS || bytes > MOST_BYTES {
            drop(line);
            count(&self.dropped);
            return false;
        }
        line.bytes = bytes;
        line.jobs.push_back(job);
        !std::mem::replace(&mut line.served, true)
    }

    /// The next job; with none, the task is over.
    fn pop(&self) -> Option<Job> {
        let mut line = self.line.lock();
        let job = line.jobs.pop_front();
        match &job {
            Some(job) => line.bytes -= job.bytes(),
            None => line.served = false,
        }
        job
    }

    fn abandon(&self) {
        self.line.lock().served = false;
    }
}

impl Tiers {
    /// Has something written.
    pub(crate) fn write_later(self: &Arc<Self>, job: Job) {
        if self.writes.push(job) {
            let service = Service { tiers: Arc::downgrade(self), over: false };
            // Outside of a runtime nobody writes; the next call inside of one has it done.
            if run_beside(service.run()).is_none() {
                self.writes.abandon();
            }
        }
    }
}

/// A task that writes.
struct Service {
    tiers: Weak<Tiers>,
    over: bool,
}

impl Service {
    async fn run(mut self) {
        while let Some(tiers) = self.tiers.upgrade() {
            let Some(job) = tiers.writes.pop() else {
                self.over = true;
                return;
            };
            tiers.write(job).await;
        }
    }
}

impl Drop for Service {
    /// A runtime that ends drops its tasks. Another one may go on.
    fn drop(&mut self) {
        if let Some(tiers) = self.tiers.upgrade().filter(|_| !self.over) {
            tiers.writes.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_the_line_is_dropped_and_counted() {
        let writes = Writes::default();
        let key = SharedKey::new(1, 2);
        let started = (0..MOST_JOBS + 3).filter(|_| writes.push(Job::Remove(key))).count();
        assert_eq!(started, 1, "one task for all");
        assert_eq!(crate::cache::stats::read(&writes.dropped), 3);
        assert_eq!(std::iter::from_fn(|| writes.pop()).count(), MOST_JOBS);
        assert!(writes.push(Job::Remove(key)), "the task ended with the line");
    }
}
