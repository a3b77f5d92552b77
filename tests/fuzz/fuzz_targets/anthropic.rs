#![no_main]

#[path = "../../fuzz_bodies/anthropic.rs"]
mod anthropic;
#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/wires.rs"]
mod wires;

libfuzzer_sys::fuzz_target!(|data: &[u8]| anthropic::run(data));
