//! What a limiter is told of the store it shares.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::names::Names;
use crate::error::BuildError;
use crate::quota::store::{OnStoreFailure, QuotaStore};
use crate::remote::StoreError;
use crate::rng::Rng;
use crate::time::{after, now, until};

/// An instance that has not said so for so long does not live any more.
pub(super) const LIVES_FOR: Duration = Duration::from_secs(10);

/// A start may take longer to reach the store than a call does: connections are made.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Limits that several instances share, in a [`QuotaStore`].
///
/// Every instance has to be given the same limits and the same secret. Clones are the same instance:
/// several limiters of one process should have clones of one.
///
/// **The path of a call.** One question to the store takes from every scope of the call or from none,
/// within 25 ms. What it used is told to the store afterwards, beside the calls: up to 4096 settlements
/// wait for that, and what is dropped beyond them stays charged as it was reserved. What
/// [streams](crate::quota::Reservation::extend) beyond its reservation is charged when the call ends.
///
/// **Exactness.** In any window no more than burst plus refill is used by all instances together,
/// beyond what calls use above their reservation, and what is said of leases and of outages below.
/// Answers that are lost and calls that are dropped while they ask leave nothing taken and nothing
/// charged twice: what they may have taken is asked for once more and given back. An instance that dies
/// leaves its running calls charged as reserved, until their [grants
/// expire](Self::grants_expire_in).
///
/// **Leases.** A scope of which an instance takes more than fifty times a second is asked for a
/// quarter of a second's worth in advance (at least the largest call, at most half of the burst by the
/// number of instances), and calls that find all their scopes leased ask nobody. What is not spent in
/// two seconds goes back. Everything is charged before it is used, so that no account is ever
/// overdrawn; what may lie about unused, and be used later than the window in which it was charged, is
/// half of the burst in all. Scopes that limit [how many calls
/// run](crate::quota::Limits::concurrency) are not leased.
///
/// **While the store is away.** Each limit does what its [`OnStoreFailure`] says. Five calls find out
/// the hard way, and those that ask at the same time; then nobody waits for the store before the work
/// beside the calls has reached it again, at the latest some eight seconds after it is back. A share begins unused:
/// nine tenths of burst and refill may be used without the store on top of what was used with it, by
/// all instances together, as long as they are no more than were [counted](Self::min_instances). It
/// is told to the store when it is back, a little at a time, up to two bursts a scope: tenants wait
/// for that as for anything they used. A share of less than one is none: such a limit is closed.
///
/// **Cost.** A question and a settlement for a call, or for a lease. One task for all clones of a
/// limiter, started by the first call, says
/// every three seconds that the instance lives; it ends with the last clone and the last reservation.
///
/// ```
/// use evenkeel::TenantId;
/// use evenkeel::quota::store::MemoryQuotaStore;
/// use evenkeel::quota::{Amounts, Limits, QuotaLimiter, SharedQuota, Whose};
/// # use std::time::Duration;
/// # use evenkeel::time::{after, now};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
///
/// // One store for all instances; this one is in memory, for tests.
/// let store = MemoryQuotaStore::new();
/// let instance = || {
///     let shared = SharedQuota::new(store.clone()).secret([7; 32]);
///     let limits = Limits::new().tokens_per_minute(1_000);
///     QuotaLimiter::builder().per_tenant(limits).shared(shared).build()
/// };
/// let (here, there) = (instance()?, instance()?);
///
/// let acme = TenantId::new("acme");
/// let whose = Whose::tenant(&acme);
/// let soon = after(now(), Duration::from_secs(1));
/// let _reservation = here.reserve(&whose, &Amounts::tokens(200, 600), soon).await?;
/// assert!(there.reserve(&whose, &Amounts::tokens(200, 600), soon).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct SharedQuota {
    pub(super) store: Arc<dyn QuotaStore>,
    secret: Option<[u8; 32]>,
    /// Drawn at random, the same for all clones.
    pub(super) instance: u128,
    pub(super) min_instances: u32,
    pub(super) on_store_failure: OnStoreFailure,
    pub(super) grants_expire_in: Duration,
    pub(super) leases: bool,
}

impl SharedQuota {
    /// Limits that are kept in `store`, which may be an `Arc` of one.
    pub fn new(store: impl QuotaStore) -> Self {
        let rng = [Rng::from_entropy(), Rng::from_entropy()];
        let [high, low] = rng.map(|rng| u128::from(rng.next_u64()));
        Self {
            store: Arc::new(store),
            secret: None,
            instance: high << 64 | low,
            min_instances: 1,
            on_store_failure: OnStoreFailure::default(),
            grants_expire_in: Duration::from_secs(600),
            leases: true,
        }
    }

    /// Sets the secret of the fleet, which every instance must be given: scopes are kept under keyed
    /// hashes, so that nobody who reads the store learns a tenant's name or can guess at one.
    pub const fn secret(mut self, secret: [u8; 32]) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets how many instances there are at the least. While the store is away, the share of one is
    /// the limit divided by how many the store counted last, and by no less than this. One, unless set;
    /// an instance that starts without the store knows nothing better.
    pub const fn min_instances(mut self, instances: u32) -> Self {
        self.min_instances = instances;
        self
    }

    /// Sets what limits do while the store does not answer that do not say so themselves:
    /// [`OnStoreFailure::LocalShare`], unless set. Budgets of money are closed then, whatever this
    /// says, unless they or their [`Limits`](crate::quota::Limits) say otherwise.
    pub const fn on_store_failure(mut self, policy: OnStoreFailure) -> Self {
        self.on_store_failure = policy;
        self
    }

    /// Sets after how long a call that was not settled is taken for one of an instance that died: ten
    /// minutes, unless set. Longer than the longest call, for what comes later is not counted.
    pub const fn grants_expire_in(mut self, expire_in: Duration) -> Self {
        self.grants_expire_in = expire_in;
        self
    }

    /// Asks the store for every call. Otherwise scopes from which this instance takes more than fifty
    /// times a second are asked for a quarter of a second's worth in advance, and calls on them alone
    /// are let in without asking.
    pub const fn without_leases(mut self) -> Self {
        self.leases = false;
        self
    }

    /// Asks whether the store answers, within two seconds: how many instances live, with this one. For
    /// those who would rather not start without it; a limiter starts either way.
    ///
    /// # Errors
    /// Why it does not answer.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether this instance was counted.
    pub async fn ready(&self) -> Result<u32, StoreError> {
        let answer = until(after(now(), READY_WITHIN), self.store.beat(self.instance, LIVES_FOR));
        answer.await.unwrap_or(Err(StoreError::Late(READY_WITHIN)))
    }

    pub(super) fn names(&self) -> Result<Names, BuildError> {
        let secret = self.secret.as_ref();
        secret.map(Names::new).ok_or_else(|| {
            let reason = "must be set: every instance has to derive the same names of scopes";
            BuildError::new("shared.secret", reason)
        })
    }

    pub(super) fn validate(&self) -> Result<(), BuildError> {
        if self.min_instances == 0 {
            return Err(BuildError::new("shared.min_instances", "must be above zero"));
        }
        if self.grants_expire_in.is_zero() {
            return Err(BuildError::new("shared.grants_expire_in", "must be above zero"));
        }
        Ok(())
    }
}

/// Without the secret.
impl fmt::Debug for SharedQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min_instances, on_store_failure, grants_expire_in, leases, .. } = self;
        f.debug_struct("SharedQuota")
            .field("min_instances", min_instances)
            .field("on_store_failure", on_store_failure)
            .field("grants_expire_in", grants_expire_in)
            .field("leases", leases)
            .finish_non_exhaustive()
    }
}
