#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/cell.rs"]
mod cell;
#[path = "../../fuzz_bodies/quota_store.rs"]
mod quota_store;

libfuzzer_sys::fuzz_target!(|data: &[u8]| quota_store::run(data));
