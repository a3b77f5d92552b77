//! A server that sends more than anybody asked for, and what that costs the client in memory.
//!
//! The promise is four times what was received, decoded and within its bound, and a constant. What
//! is received without end counts as its bound. Sizes are small, so that the constant shows, and the
//! bodies are the ones that parsers pay most for.

use std::sync::Arc;

use evenkeel::ErrorKind::{self, Malformed, Server, Transport};
use evenkeel::providers::HttpBounds;
use serde_json::json;

use crate::allocator::peak_of;
use crate::caller::{Caller, End, all_closed, end, far};
use crate::proxy::{Script, Toxic};
use crate::rig::Rig;
use crate::wire::{Framing, TEXT, Way, Wire, event, response};

const MIB: usize = 1 << 20;

/// What a call holds besides what it received. See `what_the_http_library_holds`.
const CONSTANT: usize = 64 << 10;

/// How many times what it received a call may hold.
const TIMES: usize = 4;

fn bounds() -> HttpBounds {
    HttpBounds::new().body(MIB).line(MIB / 4).event(MIB / 2).stream(2 * MIB)
}

fn says(bytes: Vec<u8>) -> Script {
    Script { head: bytes, ..Script::default() }
}

fn endless(head: &[u8], piece: &[u8]) -> Script {
    Script { head: head.to_vec(), piece: piece.to_vec(), times: u64::MAX, ..Script::default() }
}

/// How a call ends that meets `script`, having received `bytes` at most, and what it held.
async fn met(rig: &Rig, caller: &Caller, script: Script, bytes: usize) -> Result<String, End> {
    caller.recovers(rig).await;
    all_closed(rig).await;
    rig.set(Framing::Chunked, Toxic::Say(Arc::new(script)));
    let (outcome, peak) = peak_of(caller.ask()).await;
    let outcome = outcome.map(|it| it.text()).map_err(|error| end(&error));
    println!("{caller:?} {bytes} {peak} {:.2} {outcome:?}", peak as f64 / bytes as f64);
    let most = TIMES * bytes + CONSTANT;
    if peak > most {
        println!("OVER {caller:?}: {peak} is more than {most} for {bytes} received");
    }
    all_closed(rig).await;
    caller.recovers(rig).await;
    outcome.map(|text| text.chars().take(20).collect())
}

fn failed(kind: ErrorKind) -> Result<String, End> {
    Err(End::Failed(kind))
}

async fn whole(wire: Wire, body: &str, expected: Result<String, End>) {
    let rig = Rig::start();
    let caller = Caller::with(&rig, wire, Way::Whole, bounds(), far());
    let reply = response("application/json", Framing::Length, &[body]);
    let bytes = reply.len();
    let outcome = met(&rig, &caller, says(reply), bytes).await;
    assert_eq!(outcome, expected, "{wire:?} {}", &body[..80.min(body.len())]);
}

fn many(open: &str, piece: &str, close: &str) -> String {
    let times = (MIB - open.len() - close.len()) / piece.len();
    let all = piece.repeat(times);
    format!("{open}{}{close}", all.trim_end_matches(','))
}

#[tokio::test]
async fn a_long_answer_is_held_a_few_times() {
    for wire in Wire::ALL {
        let short = wire.saying("").to_string().len();
        let text = "x".repeat(MIB - short);
        whole(wire, &wire.saying(&text).to_string(), Ok("x".repeat(20))).await;
        let text = "\"\n".repeat((MIB - short) / 4);
        whole(wire, &wire.saying(&text).to_string(), Ok("\"\n".repeat(10))).await;
    }
}

#[tokio::test]
async fn an_answer_of_very_many_small_things_costs_no_more() {
    let openai = [
        many(r#"{"choices":["#, "{},", "]}"),
        many(r#"{"choices":["#, "0,", "]}"),
        many(r#"{"choices":[{"message":{"tool_calls":["#, "{},", "]}}]}"),
        many(r#"{"choices":[{"message":{"content":["#, r#"{"a":0},"#, "]}}]}"),
        many(r#"{"choices":[],"usage":["#, r#"{"a":0},"#, "]}"),
        many(r#"{"error":["#, r#"{"a":0},"#, "]}"),
        many(r#"{"id":["#, "[],", "]}"),
    ];
    for body in &openai {
        println!("{}", &body[..60]);
        let rig = Rig::start();
        let caller = Caller::with(&rig, Wire::OpenAi, Way::Whole, bounds(), far());
        let reply = response("application/json", Framing::Length, &[body]);
        let bytes = reply.len();
        let _ = met(&rig, &caller, says(reply), bytes).await;
    }
    let anthropic = [
        many(r#"{"content":["#, "0,", "]}"),
        many(r#"{"content":["#, r#"{"type":"text","text":"a"},"#, "]}"),
        many(r#"{"content":["#, r#"{"type":"x"},"#, "]}"),
        many(r#"{"content":[{"type":"x","y":["#, r#"{"a":0},"#, "]}]}"),
        many(r#"{"content":[],"usage":["#, r#"{"a":0},"#, "]}"),
        many(r#"{"error":["#, r#"{"a":0},"#, "]}"),
    ];
    for body in &anthropic {
        println!("{}", &body[..60]);
        let rig = Rig::start();
        let caller = Caller::with(&rig, Wire::Anthropic, Way::Whole, bounds(), far());
        let reply = response("application/json", Framing::Length, &[body]);
        let bytes = reply.len();
        let _ = met(&rig, &caller, says(reply), bytes).await;
    }
}
