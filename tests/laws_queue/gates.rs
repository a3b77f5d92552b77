//! What the queue stands in front of, and who stands in it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel::queue::{Gate, Passage, Place, QueueBuilder, Refused, RequestQueue, Slot};
use evenkeel::time::{Instant, now, sleep_until};

/// So many at once. A demand takes so many places.
pub(crate) struct Places {
    free: AtomicUsize,
    pub(crate) asked: AtomicUsize,
}

/// Places taken from a gate.
pub(crate) struct Taken {
    gate: Arc<Places>,
    places: usize,
}

/// The gate as a demand sees it: a pass has to know where it goes back to.
#[derive(Clone)]
pub(crate) struct Want {
    gate: Arc<Places>,
    places: usize,
}

impl Places {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(places), asked: AtomicUsize::new(0) })
    }

    pub(crate) fn want(self: &Arc<Self>, places: usize) -> Want {
        Want { gate: Arc::clone(self), places }
    }

    pub(crate) fn free(&self) -> usize {
        self.free.load(Ordering::SeqCst)
    }
}

impl Gate for Places {
    type Demand = Want;
    type Pass = Taken;
    type Never = ();

    fn try_pass(&self, want: &Want, _: Instant) -> Passage<Taken, ()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let take = |free: usize| free.checked_sub(want.places);
        match self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Passage::Pass(Taken { gate: Arc::clone(&want.gate), places: want.places }),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.gate.free.fetch_add(self.places, Ordering::SeqCst);
    }
}

/// Answers what a function makes of the demand.
pub(crate) struct Answering<F>(pub F);

impl<F> Gate for Answering<F>
where
    F: Fn(u32, Instant) -> Passage<(), ()> + Send + Sync + 'static,
{
    type Demand = u32;
    type Pass = ();
    type Never = ();

    fn try_pass(&self, demand: &u32, now: Instant) -> Passage<(), ()> {
        (self.0)(*demand, now)
    }
}

/// A gate that answers what `answer` makes of the demand and the time.
pub(crate) fn gate<F>(answer: F) -> Arc<Answering<F>>
where
    F: Fn(u32, Instant) -> Passage<(), ()> + Send + Sync + 'static,
{
    Arc::new(Answering(answer))
}

/// What a call has that passed; dropped in this order, so that the next finds the gate open.
pub(crate) type Held = (Taken, Slot);

pub(crate) type Passed = Result<Held, Refused<()>>;

/// A call that is polled when the test says so, and dropped with it.
pub(crate) struct Caller<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Caller<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Polls it once.
    pub(crate) fn poll(&mut self) -> Poll<T> {
        self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Polls it once and expects that it waits.
    pub(crate) fn waiting(mut self) -> Self {
        assert!(self.poll().is_pending());
        self
    }

    /// Polls it once and expects that it is done.
    #[track_caller]
    pub(crate) fn done(&mut self) -> T {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it still waits"),
        }
    }
}

/// Waits for so many places.
pub(crate) async fn acquire(
    queue: &RequestQueue,
    gate: &Arc<Places>,
    places: usize,
    place: Place,
) -> Passed {
    queue.acquire(gate, gate.want(places), place).await.map(|(slot, taken)| (taken, slot))
}

/// A call for one place, not polled yet.
pub(crate) fn caller(queue: &RequestQueue, gate: &Arc<Places>, place: Place) -> Caller<Passed> {
    let (queue, gate) = (queue.clone(), Arc::clone(gate));
    Caller::new(async move { acquire(&queue, &gate, 1, place).await })
}

/// The same, as a task that notes its name when it has passed, and holds its place for `hold`.
pub(crate) fn spawn(
    queue: &RequestQueue,
    gate: &Arc<Places>,
    place: Place,
    hold: Duration,
    log: &Log,
) {
    let (queue, gate, log) = (queue.clone(), Arc::clone(gate), log.clone());
    let name = place.tenant.as_ref().map_or_else(String::new, |tenant| tenant.as_str().to_owned());
    tokio::task::spawn_local(async move {
        if let Ok(_held) = acquire(&queue, &gate, 1, place).await {
            log.0.borrow_mut().push(name);
            sleep_until(now() + hold).await;
        }
    });
}

/// The names of those who passed, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// A place with more time than a test takes.
pub(crate) fn place() -> Place {
    within(Duration::from_secs(50))
}

pub(crate) fn within(time: Duration) -> Place {
    Place::new(now() + time)
}

pub(crate) fn queue(configured: impl FnOnce(QueueBuilder) -> QueueBuilder) -> RequestQueue {
    configured(RequestQueue::builder()).build().unwrap()
}

/// Lets time pass for all that waits.
pub(crate) async fn pass(time: Duration) {
    sleep_until(now() + time).await;
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);
