#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/openai.rs"]
mod openai;
#[path = "../../fuzz_bodies/wires.rs"]
mod wires;

libfuzzer_sys::fuzz_target!(|data: &[u8]| openai::run(data));
