//! Quotas that several instances share: what a store must keep.
//!
//! An instance on its own needs none of this: its limits live in its own memory, and its calls wait
//! for no store. A [`QuotaStore`] is where instances meet. It keeps meters, each a bucket of a burst
//! that refills at a rate, and takes from several of them or from none.
//!
//! **What a store promises**, and the suite `testing::quota_store` checks:
//!
//! * *All or none.* Of the meters of one reservation, either every one is charged or none is.
//! * *Exact.* A refusal says when the reservation fits, by the store's own clock, if nothing else
//!   happens meanwhile; and "never", for what is larger than a burst, is not "not yet".
//! * *First in, first out.* A refund gives back at most what time has not given back already, counted
//!   past what earlier reservations were refunded since.
//! * *Once.* Settling a [`Receipt`] a second time changes nothing, so that a settlement whose reply was
//!   lost may be repeated.
//! * *Debt.* What was used beyond a reservation is charged, whatever is left.
//!
//! So in any window no more is settled than the burst, what the rate refills, and what calls used
//! beyond their reservations.

use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;

use crate::rate::{Bucket, Rate, Refused, Taken};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, now};

/// What a store is asked for: so much of each of these meters, or of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterCharge {
    /// Which meter: a digest of scope, dimension and limit, the same on every instance. Names never
    /// reach a store.
    pub meter: u128,
    /// What the meter allows.
    pub rate: Rate,
    /// How much is taken of it.
    pub amount: u64,
}

impl MeterCharge {
    /// So much of a meter.
    #[must_use]
    pub const fn new(meter: u128, rate: Rate, amount: u64) -> Self {
        Self { meter, rate, amount }
    }
}

/// A reservation at a store, to be settled once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "what was reserved stays charged until it is settled"]
pub struct Receipt {
    /// Tells this reservation from all others of the store.
    pub serial: u64,
    /// What was taken, in the order in which it was asked for.
    pub places: Vec<Place>,
}

impl Receipt {
    /// Reservation `serial`, of these places.
    pub const fn new(serial: u64, places: Vec<Place>) -> Self {
        Self { serial, places }
    }
}

/// What a reservation has taken of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// What was asked for.
    pub charge: MeterCharge,
    /// Where in the meter it lies, in the store's own terms.
    pub at: [u64; 2],
}

impl Place {
    /// `charge` lies `at` a place the store knows.
    #[must_use]
    pub const fn new(charge: MeterCharge, at: [u64; 2]) -> Self {
        Self { charge, at }
    }
}

/// Why a store takes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreRefusal {
    /// Not yet.
    #[error("meter {index} has no room, retry after {retry_after:?}")]
    NotYet {
        /// Which of the charges stands against it for longest.
        index: usize,
        /// Exactly when all of them fit, if nothing else happens meanwhile.
        retry_after: Duration,
    },
    /// Never.
    #[error("meter {index} allows {burst} at once")]
    Never {
        /// Which of the charges is too large.
        index: usize,
        /// The most it allows at once.
        burst: u64,
    },
    /// The store could not be asked, or did not answer in time. Whether it has taken anything is not
    /// known; what it has taken drains by itself.
    #[error("the store did not answer: {0}")]
    Unreachable(&'static str),
}

/// Keeps quotas for several instances.
///
/// Every method may be dropped at any time: what it asked for may or may not happen then.
#[async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// Takes all of `charges`, or nothing.
    ///
    /// # Errors
    /// Of several meters without room, the one that has none for longest.
    async fn reserve(&self, charges: &[MeterCharge]) -> Result<Receipt, StoreRefusal>;

    /// Settles a reservation with what was used of each of its charges; what is missing at the end
    /// counts as zero.
    ///
    /// # Errors
    /// Only where the store cannot be asked: the settlement may be repeated.
    async fn settle(&self, receipt: &Receipt, actual: &[u64]) -> Result<(), StoreRefusal>;
}

/// The reference: a store in memory, which shares quotas between the limiters of one process.
///
/// A meter that is idle and of which no reservation is open is as good as a new one, and goes when the
/// store has doubled since it last looked. Of reservations that are never settled the last million is
/// remembered; what older ones took stays charged.
#[derive(Debug)]
pub struct MemoryQuotaStore {
    meters: DashMap<u128, Meter>,
    /// Reservations that are not settled.
    open: DashMap<u64, ()>,
    serial: AtomicU64,
    /// From so many meters on it looks for idle ones.
    crowded: AtomicU64,
    epoch: Instant,
}

#[derive(Debug)]
struct Meter {
    bucket: Bucket,
    rate: Rate,
    /// Reservations of it that are not settled: they know their places in this very bucket.
    open: u64,
}

/// It does not look for idle meters below this many.
const FEW: u64 = 1_024;

/// So many reservations may be open.
const MOST_OPEN: u64 = 1 << 20;

impl Default for MemoryQuotaStore {
    fn default() -> Self {
        Self {
            meters: DashMap::new(),
            open: DashMap::new(),
            serial: AtomicU64::new(0),
            crowded: AtomicU64::new(FEW),
            epoch: now(),
        }
    }
}

impl MemoryQuotaStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many meters are kept.
    #[must_use]
    pub fn meters(&self) -> usize {
        self.meters.len()
    }

    fn nanos(&self) -> u64 {
        now().saturating_duration_since(self.epoch).as_nanos() as u64
    }

    fn take(&self, charge: &MeterCharge, now: u64) -> Option<Place> {
        let new = || Meter { bucket: Bucket::new(), rate: charge.rate, open: 0 };
        let mut meter = self.meters.entry(charge.meter).or_insert_with(new);
        let taken = meter.bucket.reserve(&charge.rate, charge.amount, now).ok()?;
        meter.open += 1;
        Some(Place::new(*charge, taken.to_words()))
    }

    fn give_back(&self, place: &Place, actual: u64, now: u64) {
        if let Some(mut meter) = self.meters.get_mut(&place.charge.meter) {
            meter.open = meter.open.saturating_sub(1);
            let taken = Taken::from_words(place.at);
            meter.bucket.settle(&place.charge.rate, taken, actual, now);
        }
    }

    /// What stands longest against `charges`; "never" stands longest of all.
    fn objection(&self, charges: &[MeterCharge], now: u64) -> StoreRefusal {
        let waits = charges.iter().map(|charge| self.wait(charge, now)).enumerate();
        let longest = waits.max_by_key(|(_, wait)| (wait.is_err(), wait.unwrap_or_default()));
        match longest {
            Some((index, Ok(retry_after))) => StoreRefusal::NotYet { index, retry_after },
            Some((index, Err(burst))) => StoreRefusal::Never { index, burst },
            None => StoreRefusal::NotYet { index: 0, retry_after: Duration::ZERO },
        }
    }

    /// How long until `charge` fits; `Err` is the burst it is larger than.
    fn wait(&self, charge: &MeterCharge, now: u64) -> Result<Duration, u64> {
        let idle = Bucket::new();
        let wait = match self.meters.get(&charge.meter) {
            Some(meter) => meter.bucket.wait_for(&charge.rate, charge.amount, now),
            None => idle.wait_for(&charge.rate, charge.amount, now),
        };
        match wait {
            Ok(wait) | Err(Refused::NotYet(wait)) => Ok(wait),
            Err(Refused::Never { burst }) => Err(burst),
        }
    }

    /// Forgets what nobody can notice is gone.
    fn tidy(&self, serial: u64, now: u64) {
        if serial.is_multiple_of(4_096) {
            self.open.retain(|&open, ()| serial - open < MOST_OPEN);
        }
        if self.meters.len() as u64 >= self.crowded.load(Ordering::Relaxed) {
            self.meters.retain(|_, it| it.open > 0 || !it.bucket.is_idle(&it.rate, now));
            let next = FEW.max(2 * self.meters.len() as u64);
            self.crowded.store(next, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl QuotaStore for MemoryQuotaStore {
    async fn reserve(&self, charges: &[MeterCharge]) -> Result<Receipt, StoreRefusal> {
        let now = self.nanos();
        let mut places = Vec::with_capacity(charges.len());
        for charge in charges {
            let Some(place) = self.take(charge, now) else {
                places.iter().for_each(|place| self.give_back(place, 0, now));
                return Err(self.objection(charges, now));
            };
            places.push(place);
        }
        // Relaxed: serials need to be distinct, not to be ordered with anything.
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.open.insert(serial, ());
        self.tidy(serial, now);
        Ok(Receipt::new(serial, places))
    }

    async fn settle(&self, receipt: &Receipt, actual: &[u64]) -> Result<(), StoreRefusal> {
        if self.open.remove(&receipt.serial).is_some() {
            let now = self.nanos();
            let actual = actual.iter().copied().chain(std::iter::repeat(0));
            receipt.places.iter().zip(actual).for_each(|(place, used)| {
                self.give_back(place, used, now);
            });
        }
        Ok(())
    }
}
