//! The store that instances meet at.

use std::time::Duration;

use evenkeel::quota::{MemoryQuotaStore, MeterCharge, QuotaStore, StoreRefusal};
use evenkeel::rate::Rate;
use evenkeel::testing::quota_store;

fn charge(meter: u128, amount: u64) -> MeterCharge {
    MeterCharge::new(meter, Rate::new(60, Duration::from_secs(60), 60).unwrap(), amount)
}

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_keeps_the_laws() {
    quota_store(&MemoryQuotaStore::new(), 0, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn idle_meters_are_forgotten_and_open_ones_are_not() {
    let store = MemoryQuotaStore::new();
    let open = store.reserve(&[charge(0, 60)]).await.unwrap();
    for meter in 1..20_000 {
        let taken = store.reserve(&[charge(meter, 1)]).await.unwrap();
        store.settle(&taken, &[1]).await.unwrap();
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert!(store.meters() < 4_000, "{} meters", store.meters());
    // All of it has drained by now: there is nothing to give back, and the meter is full, not fuller.
    store.settle(&open, &[0]).await.unwrap();
    let _all = store.reserve(&[charge(0, 60)]).await.unwrap();
    let refusal = store.reserve(&[charge(0, 1)]).await.unwrap_err();
    assert!(matches!(refusal, StoreRefusal::NotYet { .. }), "{refusal}");
}
