#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/sse.rs"]
mod sse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sse::run(data));
