#![no_main]

#[path = "../../fuzz_bodies/bucket.rs"]
mod bucket;
#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/cell.rs"]
mod cell;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bucket::run(data));
