//! Measures the crate beside what it is compared with, in one process.
//!
//! Prints the machine, how much the measurement itself scatters, and one line for each row:
//! `ratio name=<n> value=<x.xx> goal=<g> ok=<true|false>`. A row's value is a ratio, never a time,
//! so that it means something on another machine. Ends with status 1 when a goal was missed.
//!
//! `--path` measures where the time of a call goes instead, and with `--record` keeps that.
//!
//! `--quick` measures shorter, and a word measures the rows only whose names begin with it; other
//! arguments are ignored, since cargo passes its own.

mod alloc;
mod cache_read;
mod clock;
mod governor_pair;
mod instantaneous;
mod machine;
mod measure;
mod path;
mod rows;
mod seed_cosine;
mod seed_select;
mod tower_balance;

use std::env;
use std::process::ExitCode;

use measure::Effort;
use rows::Row;

#[global_allocator]
static COUNTED: alloc::Counting = alloc::Counting;

fn main() -> ExitCode {
    let quick = env::args().any(|argument| argument == "--quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    println!("{}", machine::line());
    if env::args().any(|argument| argument == "--path") {
        path::run(effort, env::args().any(|argument| argument == "--record"));
        return ExitCode::SUCCESS;
    }
    println!("noise value={:.2}", rows::pick::noise(effort));
    let word = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |row: &&Row| row.name.starts_with(word.as_deref().unwrap_or(""));
    let reached: Vec<bool> = rows::all().filter(wanted).map(|row| report(row, effort)).collect();
    let missed = reached.iter().filter(|reached| !**reached).count();
    println!("rows={} missed={missed}", reached.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(row: &Row, effort: Effort) -> bool {
    let value = (row.run)(effort);
    let ok = row.goal.is_reached(value);
    println!("ratio name={} value={value:.2} goal={} ok={ok}", row.name, row.goal.bound());
    ok
}
