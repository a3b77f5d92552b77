//! How many calls of each tenant are running. Its memory is bounded by them.

use std::collections::HashMap;
use std::sync::Arc;

use evenkeel::TenantId;
use parking_lot::Mutex;

type Running = Arc<Mutex<HashMap<Option<TenantId>, usize>>>;

/// The running calls, by tenant.
#[derive(Clone, Default)]
pub struct Busy {
    running: Running,
}

/// One running call; it is counted until this is dropped.
pub struct BusyCall {
    running: Running,
    tenant: Option<TenantId>,
}

impl Busy {
    /// Counts a call.
    pub fn enter(&self, tenant: Option<TenantId>) -> BusyCall {
        *self.running.lock().entry(tenant.clone()).or_default() += 1;
        BusyCall { running: Arc::clone(&self.running), tenant }
    }

    /// The tenants with running calls, the busiest first.
    pub fn tenants(&self) -> Vec<(Option<TenantId>, usize)> {
        let mut tenants: Vec<_> =
            self.running.lock().iter().map(|(tenant, calls)| (tenant.clone(), *calls)).collect();
        tenants.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        tenants
    }
}

impl Drop for BusyCall {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(calls) = running.get_mut(&self.tenant) {
            *calls -= 1;
            if *calls == 0 {
                running.remove(&self.tenant);
            }
        }
    }
}
