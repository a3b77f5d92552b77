//! Any sequence of calls that come, go, pass, end and fall asleep, beside a plain account of it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use evenkeel::Priority;
use evenkeel::queue::{Refused, RequestQueue, Slot};
use evenkeel::time::now;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::gates::{Caller, Passed, Places, Taken, caller, pass, queue, within};

#[derive(Debug, Clone)]
enum Step {
    Come { tenant: u8, class: u8, time: u64, cost: u64 },
    Cancel(Index),
    End { which: Index, tokens: Option<u64> },
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 0u8..3, 1u64..5_000, any::<u64>().prop_map(|cost| cost >> 44))
            .prop_map(|(tenant, class, time, cost)| Step::Come { tenant, class, time, cost }),
        2 => any::<Index>().prop_map(Step::Cancel),
        3 => (any::<Index>(), prop::option::of(0u64..2_000))
            .prop_map(|(which, tokens)| Step::End { which, tokens }),
        1 => (1u64..700).prop_map(Step::Sleep),
    ]
}

struct World {
    queue: RequestQueue,
    gate: Arc<Places>,
    places: usize,
    waiting: Vec<(Caller<Passed>, evenkeel::time::Instant)>,
    running: Vec<(Taken, Slot)>,
}

impl World {
    fn new(places: usize) -> Self {
        let queue = queue(|queue| queue.max_depth(12).max_depth_per_tenant(8).patience(1.0));
        Self { queue, gate: Places::new(places), places, waiting: Vec::new(), running: Vec::new() }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Come { tenant, class, time, cost } => {
                let class =
                    [Priority::Batch, Priority::Normal, Priority::Interactive][class as usize];
                let place = within(Duration::from_millis(time))
                    .tenant(format!("{tenant}"))
                    .priority(class)
                    .cost(cost);
                let deadline = place.deadline;
                self.waiting.push((caller(&self.queue, &self.gate, place), deadline));
            }
            Step::Cancel(which) if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(which.index(self.waiting.len())));
            }
            Step::End { which, tokens } if !self.running.is_empty() => {
                let (taken, slot) = self.running.swap_remove(which.index(self.running.len()));
                drop(taken);
                if let Some(tokens) = tokens {
                    slot.settle(tokens);
                }
            }
            Step::Sleep(millis) => pass(Duration::from_millis(millis)).await,
            Step::Cancel(_) | Step::End { .. } => {}
        }
    }

    /// Polls everybody, as a runtime would that has nothing else to do.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let mut still = Vec::new();
        for (mut call, deadline) in self.waiting.drain(..) {
            match call.poll() {
                Poll::Ready(Ok(passed)) => self.running.push(passed),
                Poll::Ready(Err(Refused::TimedOut { .. })) => prop_assert!(now() >= deadline),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => {
                    prop_assert!(now() < deadline, "it waits past its deadline");
                    still.push((call, deadline));
                }
            }
        }
        self.waiting = still;
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let stats = self.queue.stats();
        prop_assert_eq!(stats.depth, self.waiting.len());
        prop_assert_eq!(stats.running, self.running.len());
        prop_assert_eq!(stats.by_class.iter().sum::<usize>(), stats.depth);
        prop_assert_eq!(
            stats.top_tenants.iter().map(|(_, calls)| calls).sum::<usize>(),
            stats.depth
        );
        prop_assert_eq!(self.gate.free(), self.places - self.running.len());
        prop_assert!(stats.depth <= 12);
        prop_assert!(
            self.gate.free() == 0 || self.waiting.is_empty(),
            "a place is idle and somebody waits"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_idles_nothing_leaks_and_nobody_waits_too_long(
        places in 1usize..4,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new(places);
            for step in steps {
                world.take(step).await;
                // Twice: one that is looked at late may have given something to one before it.
                world.settle()?;
                world.settle()?;
                world.check()?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
