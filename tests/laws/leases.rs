//! Balancers alone, without a client, on a clock that the test moves by hand.

use evenkeel::balance::{Balancer, BalancerBuilder, Demand, Lease};
use evenkeel::outcome::{End, Outcome};
use evenkeel::testing::ScriptedProvider;
use evenkeel::time::Instant;
use evenkeel::{Endpoint, ErrorKind};

pub(crate) fn endpoint(id: impl ToString) -> Endpoint {
    Endpoint::new(ScriptedProvider::new(id.to_string()))
}

/// A balancer over endpoints "0", "1" and so on, whose jitter repeats.
pub(crate) fn numbered(endpoints: usize) -> BalancerBuilder {
    over((0..endpoints).map(endpoint))
}

pub(crate) fn over(endpoints: impl IntoIterator<Item = Endpoint>) -> BalancerBuilder {
    endpoints.into_iter().fold(Balancer::builder().seed(1), BalancerBuilder::endpoint)
}

/// A lease on whichever endpoint it is.
pub(crate) fn lease_any(balancer: &Balancer, now: Instant) -> Lease {
    balancer.try_lease(&Demand::new(None), now).unwrap()
}

/// A lease on `id`; `None` where it takes none.
pub(crate) fn lease_on(balancer: &Balancer, id: &str, now: Instant) -> Option<Lease> {
    let mut others = Vec::new();
    loop {
        let demand = Demand::new(None);
        let lease = balancer.try_lease(&demand.excluding(&others), now).ok()?;
        if lease.endpoint() == id {
            return Some(lease);
        }
        others.push(lease.key());
    }
}

pub(crate) fn succeed(lease: Lease, now: Instant) {
    lease.settle(&Outcome::new(End::Success), now);
}

pub(crate) fn fail(lease: Lease, kind: ErrorKind, now: Instant) {
    lease.settle(&Outcome::new(End::Failed(kind)), now);
}

/// Faults in a row, as many as open a breaker.
pub(crate) fn break_down(balancer: &Balancer, id: &str, now: Instant) {
    for _ in 0..5 {
        fail(lease_on(balancer, id, now).unwrap(), ErrorKind::Server, now);
    }
    assert_eq!(label(balancer, id, now), "unhealthy");
}

/// The condition's label.
pub(crate) fn label(balancer: &Balancer, id: &str, now: Instant) -> &'static str {
    let status = balancer.status(now).into_iter().find(|status| status.id == id);
    status.unwrap().condition.label()
}

/// When `id` leaves the condition it is in.
pub(crate) fn until(balancer: &Balancer, id: &str, now: Instant) -> Instant {
    let status = balancer.status(now).into_iter().find(|status| status.id == id);
    status.unwrap().condition.until().unwrap()
}

/// How many of `leases` are on `id`.
pub(crate) fn count<'a>(leases: impl IntoIterator<Item = &'a Lease>, id: &str) -> usize {
    leases.into_iter().filter(|lease| lease.endpoint() == id).count()
}

/// How many of the next `picks`, none of them held, go to `id`.
pub(crate) fn picks_of(balancer: &Balancer, id: &str, picks: usize, now: Instant) -> usize {
    (0..picks).filter(|_| lease_any(balancer, now).endpoint() == id).count()
}
