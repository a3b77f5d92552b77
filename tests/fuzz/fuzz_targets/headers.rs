#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/headers.rs"]
mod headers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| headers::run(data));
