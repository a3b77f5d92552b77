//! The whole client in a simulated world, seed after seed: tenants in bursts, streams read slowly and
//! dropped, callers that leave, configuration that changes under them, servers that slow down, hang,
//! cut, refuse, panic and lie, embedders that hang, observers that panic, and instances over stores that
//! fail. After each run the books must balance (see `books`).
//!
//! ```text
//! cargo test --features test-util --test sim                      # the seeds of every test run
//! SIM_SEEDS=7-7 cargo test --features test-util --test sim        # one seed, as a failure names it
//! SIM_SEEDS=1-100000 cargo test --release --features test-util --test sim
//! ```
//!
//! A seed is the same run every time, but for a fleet's: how long an instance leaves a store that fails
//! alone is drawn anew, so that instances do not come back together. Run such a seed some times.
#![expect(clippy::unwrap_used, reason = "a simulation")]

mod books;
mod caller;
mod embedder;
mod stores;
mod traffic;
mod watch;
mod world;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::world::Mood;

/// The seeds of the run: of `SIM_SEEDS`, or those of every test run.
fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return 1..=2_000 };
    let bounds = text.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
    match bounds {
        Some((Ok(first), Ok(last))) if first <= last => first..=last,
        _ => panic!("SIM_SEEDS={text}: write it as 100-119"),
    }
}

/// Runs one mood of the world with every seed; a failure names its own.
fn run_all(mood: Mood) {
    silence_planned_panics();
    let mut total = books::Tally::default();
    for seed in seeds() {
        let run = || paused().block_on(traffic::run(mood, seed));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(tally) => total.add(&tally),
            Err(panic) => {
                eprintln!("the books of {mood:?} do not balance: SIM_SEEDS={seed}-{seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("sim mood={mood:?} seeds={:?} {total}", seeds());
    total.must_have_seen_what_it_is_for(mood);
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The panics of what is simulated are part of the plan; all others are printed as ever.
fn silence_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().map(String::as_str) != Some(world::PLANNED) {
                before(info);
            }
        }));
    });
}

#[test]
fn in_calm_every_token_is_charged_exactly_once() {
    run_all(Mood::Calm);
}

#[test]
fn in_need_no_tenant_gets_more_than_its_quota_in_any_window() {
    run_all(Mood::Tight);
}

#[test]
fn in_a_fleet_every_token_is_charged_exactly_once_whatever_becomes_of_the_store() {
    run_all(Mood::Fleet);
}

#[test]
fn in_a_storm_every_call_ends_once_and_nothing_is_left_behind() {
    run_all(Mood::Wild);
}
