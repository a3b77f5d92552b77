#![no_main]

#[path = "../../fuzz_bodies/bytes.rs"]
mod bytes;
#[path = "../../fuzz_bodies/queue_state.rs"]
mod queue_state;

libfuzzer_sys::fuzz_target!(|data: &[u8]| queue_state::run(data));
