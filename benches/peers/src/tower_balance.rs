//! What picks and leases are compared with: tower's balancer, power of two choices.
//!
//! The services answer at once, so that what is measured is the choice. A balancer of tower's is
//! owned by one task and has to be put behind a lock or a buffer to be shared; it is measured
//! without either, which is in its favour.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hash::Hash;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::{Discover, ServiceList};
use tower::load::{CompleteOnResponse, Constant, Load, PeakEwmaDiscover};

/// What tower's documentation starts from.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);

/// One choice among `services` of equal and constant load.
pub(crate) fn pick(services: usize) -> impl FnMut() {
    let services = answering(services).map(|service| Constant::new(service, 1_u32));
    let mut balance = Balance::new(ServiceList::new::<()>(services));
    move || drop(black_box(call(&mut balance)))
}

/// A choice by load, the answer, and what is learnt from how long it took: a whole cycle.
pub(crate) fn lease(services: usize) -> impl FnMut() {
    let services = ServiceList::new::<()>(answering(services));
    let completion = CompleteOnResponse::default();
    let mut balance = Balance::new(PeakEwmaDiscover::new(services, DEFAULT_RTT, DECAY, completion));
    move || {
        let answer = call(&mut balance);
        let polled = pin!(answer).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready(), "the services answer at once");
    }
}

/// The chosen service's answer, which nobody has waited for yet.
fn call<D>(balance: &mut Balance<D, ()>) -> impl Future<Output: Sized> + use<D>
where
    D: Discover<Key: Hash + Clone, Error: Into<tower::BoxError>> + Unpin + 'static,
    D::Service: Service<(), Error: Into<tower::BoxError>> + Load<Metric: std::fmt::Debug> + 'static,
{
    let ready = balance.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the services are always ready");
    balance.call(())
}

fn answering(services: usize) -> impl Iterator<Item = Answering> {
    std::iter::repeat_with(|| Answering).take(services)
}

/// Ready at all times, with an answer that needs no waiting.
struct Answering;

impl Service<()> for Answering {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}
