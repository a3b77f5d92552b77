//! Asking the store, and making sure that nothing is lost with an answer.

use std::sync::Arc;

use super::link::State;
use super::outbox::What;
use crate::quota::amounts::Amounts;
use crate::quota::store::{Demand, StoredScope, Verdict};
use crate::remote::StoreError;

impl State {
    pub(super) fn demand(&self, amounts: Amounts, scopes: Vec<StoredScope>) -> Arc<Demand> {
        let demand = Demand::new(self.new_id(), amounts, scopes);
        Arc::new(demand.expires_in(self.config.grants_expire_in))
    }

    /// Asks the store, unless it is known to be away: trials are left to the work beside the calls, so
    /// that no caller waits for one.
    pub(super) async fn ask(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        if let Some(rest) = self.guarded.rest() {
            return Err(StoreError::Resting(rest));
        }
        let mut asking = Asking { state: self, demand, answered: false };
        let answer = self.guarded.ask(self.config.store.reserve(demand)).await;
        asking.answered = matches!(answer, Ok(_) | Err(StoreError::Resting(_)));
        answer
    }
}

/// A demand that is out. Whatever becomes of it, what it may have taken is given back unless somebody
/// learns that it has.
struct Asking<'a> {
    state: &'a State,
    demand: &'a Arc<Demand>,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.state.tell(What::Undo(Arc::clone(self.demand)), None);
        }
    }
}
