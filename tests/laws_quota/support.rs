//! What the tests share.

use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Amounts, Dimension, Limit, Limits, QuotaLimiter, Whose};
use evenkeel::time::Instant;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A limiter with these limits for every tenant.
pub(crate) fn per_tenant(limits: Limits) -> QuotaLimiter {
    QuotaLimiter::builder().per_tenant(limits).build().unwrap()
}

pub(crate) fn tokens_per_minute(amount: u64) -> Limits {
    Limits::new().tokens_per_minute(amount)
}

/// A limit of tokens that lets calls wait.
pub(crate) fn waiting_tokens(amount: u64) -> Limits {
    Limits::new().limit(Limit::new(Dimension::Tokens, amount, MINUTE).wait())
}

/// So many input tokens, in one call.
pub(crate) const fn tokens(amount: u64) -> Amounts {
    Amounts::tokens(amount, 0)
}

/// What a tenant could take at `now`, found by asking.
pub(crate) fn left(quota: &QuotaLimiter, tenant: &TenantId, now: Instant) -> u64 {
    let fits = |amount: &u64| {
        let reserved = quota.try_reserve_at(&Whose::tenant(tenant), &tokens(*amount), now);
        reserved.map(|reservation| reservation.settle_at(&Amounts::NONE, now)).is_ok()
    };
    let (mut low, mut high) = (0, 1_u64 << 40);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(&middle) { low = middle } else { high = middle - 1 }
    }
    low
}
