#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/vectors.rs"]
mod vectors;

libfuzzer_sys::fuzz_target!(|data: &[u8]| vectors::run(data));
