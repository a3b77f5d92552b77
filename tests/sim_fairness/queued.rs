//! The same through the queue.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::queue::{Gate, Passage, Place, QueueBuilder, RequestQueue};
use evenkeel::time::{FAR_FUTURE, Instant, now, sleep_until};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::LocalSet;

use crate::load::{Call, PLACES};
use crate::tally::Tally;

struct Places(Arc<Semaphore>);

impl Gate for Places {
    type Demand = ();
    type Pass = OwnedSemaphorePermit;
    type Never = ();

    fn try_pass(&self, (): &(), _: Instant) -> Passage<OwnedSemaphorePermit, ()> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => Passage::Pass(permit),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

/// Plays `calls` until the last has come; tenants weigh as `weights` say, and one without.
pub(crate) async fn play(calls: &[Call], weights: &[u32]) -> Tally {
    let queue = queue(weights);
    let gate = Arc::new(Places(Arc::new(Semaphore::new(PLACES))));
    let tally = Rc::new(RefCell::new(Tally::default()));
    let start = now();
    let local = LocalSet::new();
    let arrivals = async {
        for &call in calls {
            sleep_until(start + call.at).await;
            let caller = one(queue.clone(), Arc::clone(&gate), call, start, Rc::clone(&tally));
            tokio::task::spawn_local(caller);
        }
    };
    local.run_until(arrivals).await;
    tally.take()
}

fn queue(weights: &[u32]) -> RequestQueue {
    // So long and so patient that nobody is turned away: waits are what is compared.
    let builder = RequestQueue::builder().max_depth(100_000).max_wait(FAR_FUTURE).patience(1.0);
    let weighs = |builder: QueueBuilder, (tenant, weight): (usize, &u32)| {
        builder.weight(tenant.to_string(), *weight)
    };
    weights.iter().enumerate().fold(builder, weighs).build().unwrap()
}

async fn one(
    queue: RequestQueue,
    gate: Arc<Places>,
    call: Call,
    start: Instant,
    tally: Rc<RefCell<Tally>>,
) {
    let place = Place::new(start + Duration::from_secs(1_000_000));
    let place = place.tenant(call.tenant.to_string()).cost(call.expected);
    let came = now();
    let (slot, permit) = queue.acquire(&gate, (), place).await.unwrap();
    tally.borrow_mut().passed(&call, now() - came, now() - start);
    sleep_until(now() + call.service()).await;
    drop(permit);
    slot.settle(call.tokens);
}
