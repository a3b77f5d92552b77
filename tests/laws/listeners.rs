//! Whoever waits for a lease is told when one may be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::balance::{Balancer, Demand, EndpointLimits, NoLease, Subscription};
use evenkeel::{EndpointId, ErrorKind, time};
use parking_lot::Mutex;

use crate::doubles::seconds;
use crate::leases::{endpoint, fail, lease_any, numbered, over, succeed};

/// Counts how often it is told something.
fn listener(balancer: &Balancer) -> (Arc<AtomicUsize>, Subscription) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let subscription = balancer.subscribe(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (told, subscription)
}

/// How often a listener of `balancer` was called while `act` ran.
fn told(balancer: &Balancer, act: impl FnOnce()) -> usize {
    let (told, _subscription) = listener(balancer);
    act();
    told.load(Ordering::Relaxed)
}

#[test]
fn the_end_of_every_lease_is_told_however_it_ends() {
    let (balancer, now) = (numbered(1).build().unwrap(), time::now());
    let lease = || lease_any(&balancer, now);
    assert_eq!(told(&balancer, || succeed(lease(), now)), 1);
    assert_eq!(told(&balancer, || fail(lease(), ErrorKind::Server, now)), 1);
    assert_eq!(told(&balancer, || drop(lease())), 1);
    assert_eq!(told(&balancer, || std::mem::forget(lease())), 0, "a lease that goes on");
}

#[test]
fn every_change_of_an_endpoint_is_told_and_a_refused_one_is_not() {
    let (balancer, id) = (numbered(1).build().unwrap(), EndpointId::from("new"));
    let new = || endpoint("new");
    assert_eq!(told(&balancer, || balancer.add(new()).unwrap()), 1);
    assert_eq!(told(&balancer, || assert!(balancer.add(new()).is_err())), 0);
    assert_eq!(told(&balancer, || balancer.reweight(&id, 7).unwrap()), 1);
    assert_eq!(told(&balancer, || balancer.replace(new()).unwrap()), 1);
    assert_eq!(told(&balancer, || balancer.drain(&id).unwrap()), 1);
    assert_eq!(told(&balancer, || balancer.remove(&id).unwrap()), 1);
    assert_eq!(told(&balancer, || assert!(balancer.remove(&id).is_err())), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_probe_lets_back_in_is_told() {
    let balancer = numbered(1).build().unwrap();
    fail(lease_any(&balancer, time::now()), ErrorKind::Auth, time::now());
    let (told, _subscription) = listener(&balancer);
    assert_eq!(balancer.probe(seconds(1)).await, [EndpointId::from("0")]);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn a_listener_gets_the_place_whose_end_it_is_told() {
    let one = endpoint("one").limits(EndpointLimits::new().concurrency(1));
    let (balancer, now) = (over([one]).build().unwrap(), time::now());
    let held = lease_any(&balancer, now);
    let full = balancer.try_lease(&Demand::new(None), now).unwrap_err();
    assert_eq!(full, NoLease::NotBefore(None));
    let got = Arc::new(Mutex::new(None));
    let (keep, own) = (Arc::clone(&got), balancer.clone());
    let _subscription = balancer.subscribe(move || {
        let lease = own.try_lease(&Demand::new(None), now);
        keep.lock().get_or_insert(lease);
    });
    drop(held);
    assert!(matches!(&*got.lock(), Some(Ok(lease)) if *lease.endpoint() == "one"));
}

#[test]
fn a_listener_that_panics_harms_neither_the_lease_nor_the_change() {
    let (balancer, now) = (numbered(1).build().unwrap(), time::now());
    let _subscription = balancer.subscribe(|| panic!("a listener's own bug"));
    drop(lease_any(&balancer, now));
    balancer.add(endpoint("new")).unwrap();
    assert!(balancer.status(now).iter().all(|status| status.in_flight == 0));
}
