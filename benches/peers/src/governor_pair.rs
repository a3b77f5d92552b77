//! What quotas are compared with: two keyed limiters of `governor`, one for calls and one for tokens.
//!
//! Keys are strings in a `DashMap`, as its keyed limiters have them. The clock returns the instant it
//! was given, as ours is given one.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

type Keyed = RateLimiter<String, DashMapStateStore<String>, Supplied, NoOpMiddleware<Nanos>>;

/// Limits of calls and of tokens, by tenant.
pub(crate) struct Pair {
    requests: Keyed,
    tokens: Keyed,
    clock: Supplied,
}

/// A clock that says what it was told.
#[derive(Clone, Default)]
pub(crate) struct Supplied(Arc<AtomicU64>);

impl Clock for Supplied {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

impl Pair {
    /// So many of each per minute and tenant, all of them at once if need be.
    pub(crate) fn new(requests: u32, tokens: u32) -> Self {
        let clock = Supplied::default();
        let keyed = |amount| {
            let quota = Quota::per_minute(NonZeroU32::new(amount).expect("above zero"));
            RateLimiter::new(quota, DashMapStateStore::default(), clock.clone())
        };
        Self { requests: keyed(requests), tokens: keyed(tokens), clock: clock.clone() }
    }

    /// Takes one call of so many tokens at `nanos`. What a call did not use cannot be given back.
    pub(crate) fn take(&self, tenant: &String, tokens: NonZeroU32, nanos: u64) -> bool {
        self.clock.0.store(nanos, Ordering::Relaxed);
        let requests = self.requests.check_key(tenant).is_ok();
        requests
            && black_box(self.tokens.check_key_n(tenant, tokens)).is_ok_and(|fits| fits.is_ok())
    }
}
