#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/envelope.rs"]
mod envelope;

libfuzzer_sys::fuzz_target!(|data: &[u8]| envelope::run(data));
