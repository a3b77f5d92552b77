//! By when a flight is wanted.

use std::sync::Arc;

use crate::sync::Mutex;
use crate::time::Instant;

/// The latest deadline that any participant of a flight brought. The upstream work keeps a clone and
/// asks it whenever it decides something by the time that is left.
///
/// It rises when somebody joins and does not sink when somebody leaves: each participant ends at its
/// own deadline, and the work with the last of them, so a late horizon keeps nothing alive.
#[derive(Debug, Clone)]
pub struct Horizon {
    latest: Arc<Mutex<Instant>>,
}

impl Horizon {
    pub(super) fn new(deadline: Instant) -> Self {
        Self { latest: Arc::new(Mutex::new(deadline)) }
    }

    /// The latest deadline so far.
    #[must_use]
    pub fn latest(&self) -> Instant {
        *self.latest.lock()
    }

    pub(super) fn extend(&self, deadline: Instant) {
        let mut latest = self.latest.lock();
        *latest = deadline.max(*latest);
    }
}
