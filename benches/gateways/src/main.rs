//! Measures all candidates, round by round.
//!
//! `evenkeel-beside-gateways PORT ROUNDS < CANDIDATES`: the port of the server that answers, and a line
//! for each gateway in front of it, as [`Candidate::parse`] reads it. Prints a line for each candidate
//! and number of connections, as values between commas:
//!
//! * `cpu_us`: CPU time that it adds to a request, the median over the rounds, the least and the
//!   greatest. In process: what a call takes more than the bare one next to it.
//! * `p50_us`, `p99_us`: what it adds to the time to the answer, medians over the rounds.

use std::io::{self, BufRead as _};

use evenkeel_beside_gateways::alloc::Counting;
use evenkeel_beside_gateways::candidate::Candidate;
use evenkeel_beside_gateways::figures::Spread;
use evenkeel_beside_gateways::in_process::{BATCH, Bare, BareJson, Driver, Evenkeel, SLOT};
use evenkeel_beside_gateways::load::{self, Outcome};

#[global_allocator]
static COUNTED: Counting = Counting;

const CONNECTIONS: [u32; 3] = [1, 8, 64];

/// Pairs of batches in process a round: their differences are small beside what either takes.
const PAIRS: usize = 8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|word| word.parse().ok());
    let (Some(port), Some(rounds)) = (number(), number()) else {
        eprintln!("usage: evenkeel-beside-gateways PORT ROUNDS < CANDIDATES");
        std::process::exit(2);
    };
    let lines = io::stdin().lock().lines().map_while(Result::ok);
    let candidates: Vec<_> = lines.filter_map(|line| Candidate::parse(&line)).collect();
    println!("candidate,connections,requests,cpu_us,cpu_us_low,cpu_us_high,p50_us,p99_us");
    through_gateways(&server(port), &candidates, usize::from(rounds));
    in_process(port, usize::from(rounds));
}

/// What answers, asked without anything between.
fn server(port: u16) -> Candidate {
    Candidate { name: "none".into(), port, process: 0, headers: String::new() }
}

fn through_gateways(server: &Candidate, gateways: &[Candidate], rounds: usize) {
    for candidate in gateways {
        load::await_first_answer(candidate);
        load::run(candidate, 8, SLOT);
        eprintln!("{} answers", candidate.name);
    }
    for connections in CONNECTIONS {
        // Round by round, so that a slow moment of the machine is nobody's alone.
        let rounds: Vec<(Outcome, Vec<Outcome>)> = (0..rounds)
            .map(|_| {
                let direct = load::run(server, connections, SLOT);
                (direct, gateways.iter().map(|each| load::run(each, connections, SLOT)).collect())
            })
            .collect();
        for (at, candidate) in gateways.iter().enumerate() {
            print(
                &candidate.name,
                connections,
                rounds.iter().map(|(direct, all)| (*direct, all[at])),
            );
        }
    }
}

fn print(name: &str, connections: u32, rounds: impl Iterator<Item = (Outcome, Outcome)> + Clone) {
    let requests: u64 = rounds.clone().map(|(_, through)| through.requests).sum();
    let spread = |value: fn(&Outcome, &Outcome) -> f64| {
        Spread::of(rounds.clone().map(|(direct, through)| value(&direct, &through)))
    };
    let cpu = spread(|_, through| through.cpu);
    let p50 = spread(|direct, through| through.p50 - direct.p50).median;
    let p99 = spread(|direct, through| through.p99 - direct.p99).median;
    println!("{name},{connections},{requests},{cpu},{p50:.0},{p99:.0}");
}

/// The bare call, the one with JSON and ours take turns, in batches.
fn in_process(port: u16, rounds: usize) {
    let bare = Driver::new(|| Bare::to(port));
    let json = Driver::new(|| BareJson(Bare::to(port)));
    let ours = Driver::new(|| Evenkeel::to(port));
    for connections in CONNECTIONS {
        let round = |_| {
            let pairs: Vec<[f64; 3]> = (0..PAIRS)
                .map(|_| {
                    let bare = bare.run(connections, BATCH).cpu;
                    let json = json.run(connections, BATCH).cpu;
                    [bare, json - bare, ours.run(connections, BATCH).cpu - bare]
                })
                .collect();
            [0, 1, 2].map(|at| Spread::of(pairs.iter().map(|pair| pair[at])).median)
        };
        let rounds: Vec<[f64; 3]> = (0..rounds).map(round).collect();
        let calls = rounds.len() * PAIRS * BATCH as usize;
        for (at, name) in ["(bare reqwest call)", "reqwest and serde_json", "evenkeel in process"]
            .iter()
            .enumerate()
        {
            let cpu = Spread::of(rounds.iter().map(|round| round[at]));
            println!("{name},{connections},{calls},{cpu},,");
        }
    }
}
