//! A server that sends more than anybody asked for, and what that costs the client in memory.
//!
//! A call holds at most four times what it received and a constant. What comes without end counts as
//! far as its bound lets it in, and what is compressed as what comes out. The bodies are the ones
//! that parsers pay most for: a tree of values takes up to 85 times its text.

use std::sync::Arc;

use evenkeel::ErrorKind::{self, Malformed, Server, Transport};
use evenkeel::providers::HttpBounds;

use crate::allocator::peak_of;
use crate::caller::{Caller, End, all_closed, end, far};
use crate::proxy::{Script, Toxic};
use crate::rig::Rig;
use crate::wire::{Framing, TEXT, Way, Wire, chunk, response};
use crate::wire_server::gzip_bomb;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What a call holds besides what it received.
const CONSTANT: usize = 256 * KIB;

fn bounds() -> HttpBounds {
    HttpBounds::new().body(MIB).line(MIB / 4).event(MIB / 2).stream(2 * MIB).error_body(64 * KIB)
}

fn says(bytes: Vec<u8>) -> Script {
    Script { head: bytes, ..Script::default() }
}

fn endless(head: impl Into<Vec<u8>>, piece: impl Into<Vec<u8>>) -> Script {
    Script { head: head.into(), piece: piece.into(), times: u64::MAX, ..Script::default() }
}

fn failed(kind: ErrorKind) -> Result<usize, End> {
    Err(End::Failed(kind))
}

/// Callers of both wires, and the server they ask.
struct Flood {
    rig: Rig,
    callers: Vec<(Wire, Way, Caller)>,
}

impl Flood {
    fn of(ways: &[Way]) -> Self {
        let rig = Rig::start();
        let every = Wire::ALL.into_iter().flat_map(|wire| ways.iter().map(move |&way| (wire, way)));
        let caller = |(wire, way)| (wire, way, Caller::with(&rig, wire, way, bounds(), far()));
        let callers = every.map(caller).collect();
        Self { rig, callers }
    }

    /// What every caller makes of `script`, `received` bytes of which it lets in: the length of the
    /// answer's text, or how the call failed.
    async fn meets(
        &self,
        received: usize,
        script: impl Fn(Wire, Way) -> Script,
        expected: impl Fn(Wire, Way) -> Result<usize, End>,
    ) {
        for (wire, way, caller) in &self.callers {
            // Whatever is made once has been made.
            caller.recovers(&self.rig).await;
            all_closed(&self.rig).await;
            self.rig.set(Framing::Chunked, Toxic::Say(Arc::new(script(*wire, *way))));
            let (outcome, peak) = peak_of(caller.ask()).await;
            let outcome = outcome.map(|it| it.text().len()).map_err(|error| end(&error));
            let case = format!("{wire:?} {way:?}: {peak} bytes held for {received} received");
            assert_eq!(outcome, expected(*wire, *way), "{case}");
            assert!(peak <= 4 * received + CONSTANT, "{case}");
            all_closed(&self.rig).await;
        }
    }
}

const STREAMS: [Way; 2] = [Way::Gathered, Way::Streamed];

/// A stream's head, with what comes before its first text.
fn stream_head(wire: Wire) -> Vec<u8> {
    response("text/event-stream", Framing::Close, &[wire.opening().concat()])
}

fn json_reply(body: &str) -> Vec<u8> {
    response("application/json", Framing::Length, &[body])
}

/// `open`, then `piece` until there are so many bytes, then `close`.
fn many(size: usize, [open, piece, close]: [&str; 3]) -> String {
    let times = (size - open.len() - close.len()) / piece.len();
    format!("{open}{}{close}", piece.repeat(times).trim_end_matches(','))
}

#[tokio::test]
async fn an_answer_is_held_a_few_times() {
    let flood = Flood::of(&[Way::Whole]);
    for size in [100, 10 * KIB, 100 * KIB, 1000 * KIB] {
        // Escapes are copied once more on their way.
        for (piece, length) in [("x", 1), ("\"", 2), ("\n", 2)] {
            let text = piece.repeat(size / length);
            let said = |wire: Wire, _| says(json_reply(&wire.saying(&text).to_string()));
            flood.meets(size, said, |_, _| Ok(text.len())).await;
        }
    }
    let flood = Flood::of(&STREAMS);
    for (size, piece) in [(KIB, KIB), (MIB / 2, 100), (MIB, 10 * KIB)] {
        let text = "x".repeat(piece);
        let said = |wire: Wire, _| {
            let pieces = wire.piece(&text).repeat(size / piece);
            let end = wire.finish() + &wire.terminal();
            says([stream_head(wire), pieces.into_bytes(), end.into_bytes()].concat())
        };
        flood.meets(size, said, |_, _| Ok(size / piece * piece)).await;
    }
}

/// What is cheapest to write and dearest to keep, over and over: whole bodies.
fn dear_bodies(wire: Wire) -> &'static [[&'static str; 3]] {
    match wire {
        Wire::OpenAi => &[
            [r#"{"choices":["#, "{},", "]}"],
            [r#"{"choices":["#, "0,", "]}"],
            [r#"{"choices":[{"message":{"tool_calls":["#, "{},", "]}}]}"],
            [r#"{"choices":[{"message":{"content":["#, r#"{"a":0},"#, "]}}]}"],
            [r#"{"choices":[{"message":{"content":["#, r#"{"type":"text","text":"a"},"#, "]}}]}"],
            [r#"{"usage":["#, r#"{"a":0},"#, "]}"],
            [r#"{"error":["#, r#"{"a":0},"#, "]}"],
            [r#"{"error":{"code":["#, r#"{"a":0},"#, "]}}"],
            [r#"{"id":["#, "[],", "]}"],
            [r#"{"x":["#, "{},", "]}"],
            ["", "[", ""],
        ],
        Wire::Anthropic => &[
            [r#"{"content":["#, "0,", "]}"],
            [r#"{"content":["#, r#"{"type":"text","text":"a"},"#, "]}"],
            [r#"{"content":[],"usage":["#, r#"{"a":0},"#, "]}"],
            [r#"{"error":["#, r#"{"a":0},"#, "]}"],
            [r#"{"x":["#, "{},", "]}"],
            ["", "[", ""],
        ],
    }
}

/// The same for the events of a stream.
fn dear_events(wire: Wire) -> &'static [[&'static str; 3]] {
    match wire {
        Wire::OpenAi => &[
            [r#"data: {"choices":["#, "{},", "]}\n\n"],
            [r#"data: {"choices":[{"delta":{"tool_calls":["#, "{},", "]}}]}\n\n"],
            [r#"data: {"choices":[{"delta":{"content":["#, r#"{"a":0},"#, "]}}]}\n\n"],
            [r#"data: {"error":["#, r#"{"a":0},"#, "]}\n\n"],
            ["", "data:\n", "\n"],
            ["", "data: {}\n\n", "\n"],
            ["", ":\n", "\n"],
        ],
        Wire::Anthropic => &[
            [
                r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"x","y":["#,
                r#"{"a":0},"#,
                "]}}\n\n",
            ],
            [r#"data: {"type":"message_start","message":{"usage":["#, r#"{"a":0},"#, "]}}\n\n"],
            [r#"data: {"type":"error","error":["#, r#"{"a":0},"#, "]}\n\n"],
            ["", "data: {\"type\":\"content_block_stop\",\"index\":3}\n\n", "\n"],
            ["", "data:\n", "\n"],
            ["", ":\n", "\n"],
        ],
    }
}

/// What `caller` held while it met `reply`.
async fn held(rig: &Rig, caller: &Caller, reply: Vec<u8>) -> usize {
    caller.recovers(rig).await;
    all_closed(rig).await;
    rig.set(Framing::Chunked, Toxic::Say(Arc::new(says(reply))));
    let (_, peak) = peak_of(caller.ask()).await;
    all_closed(rig).await;
    peak
}

/// Whatever becomes of it: as an answer, in the place of a stream, and as the body of an error.
#[tokio::test]
async fn very_many_small_things_cost_no_more_than_large_ones() {
    for wire in Wire::ALL {
        let rig = Rig::start();
        let caller = |way| Caller::with(&rig, wire, way, bounds(), far());
        let (whole, streamed) = (caller(Way::Whole), caller(Way::Streamed));
        for (parts, size) in dear_bodies(wire).iter().flat_map(|it| SIZES.map(|size| (it, size))) {
            let reply = json_reply(&many(size, *parts));
            let mut refusal = reply.clone();
            refusal[9..12].copy_from_slice(b"500");
            let error = size.min(bounds().error_body);
            for (caller, reply, received) in
                [(&whole, reply.clone(), size), (&streamed, reply, size), (&whole, refusal, error)]
            {
                let peak = held(&rig, caller, reply).await;
                let case = format!("{wire:?} {parts:?}: {peak} bytes held for {received} received");
                assert!(peak <= 4 * received + CONSTANT, "{case}");
            }
        }
        for (parts, size) in dear_events(wire).iter().flat_map(|it| SIZES.map(|size| (it, size))) {
            let events = many(size, *parts).replace(",\n", "\n");
            let peak =
                held(&rig, &streamed, [stream_head(wire), events.into_bytes()].concat()).await;
            let case = format!("{wire:?} {parts:?}: {peak} bytes held for {size} received");
            assert!(peak <= 4 * size + CONSTANT, "{case}");
        }
    }
}

const SIZES: [usize; 3] = [3 * KIB, 30 * KIB, 240 * KIB];

/// A block of a kind that the crate has no word for goes back as it came, so a tree is kept of it.
#[tokio::test]
async fn what_is_kept_as_a_tree_has_a_bound_of_its_own() {
    let rig = Rig::start();
    let whole = Caller::with(&rig, Wire::Anthropic, Way::Whole, bounds(), far());
    let streamed = Caller::with(&rig, Wire::Anthropic, Way::Streamed, bounds(), far());
    let event =
        r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"x","y":["#;
    for size in SIZES {
        for parts in [
            [r#"{"content":["#, r#"{"type":"x"},"#, "]}"],
            [r#"{"content":[{"type":"x","y":["#, r#"{"a":0},"#, "]}]}"],
        ] {
            let peak = held(&rig, &whole, json_reply(&many(size, parts))).await;
            assert!(peak <= 4 * size + CONSTANT + 3 * MIB, "{peak} for {size}");
        }
        let events = many(size, [event, r#"{"a":0},"#, "]}}\n\n"]).into_bytes();
        let reply = [stream_head(Wire::Anthropic), events].concat();
        let peak = held(&rig, &streamed, reply).await;
        assert!(peak <= 4 * size + CONSTANT + 3 * MIB, "{peak} for {size}");
    }
}

#[tokio::test]
async fn what_never_ends_is_not_read_on() {
    let flood = Flood::of(&[Way::Whole]);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let body = |_, _| endless(format!("{head}\r\n"), " ".repeat(4096));
    flood.meets(MIB, body, |_, _| failed(Malformed)).await;
    let error = |_, _| endless("HTTP/1.1 500 Oops\r\n\r\n", "x".repeat(4096));
    flood.meets(64 * KIB, error, |_, _| failed(Server)).await;

    let flood = Flood::of(&STREAMS);
    // A gibibyte without a line end, and one without an end of the event.
    for piece in ["x".repeat(4096), format!("data: {}\n", "x".repeat(4000))] {
        let line =
            |wire, _| endless([stream_head(wire), b"data: ".to_vec()].concat(), piece.clone());
        flood.meets(MIB / 2, line, |_, _| failed(Malformed)).await;
    }
    let tiny = |wire: Wire, _| {
        let piece = wire.piece("x").repeat(50);
        endless([stream_head(wire), wire.piece("x").into_bytes()].concat(), piece)
    };
    flood.meets(2 * MIB, tiny, |_, _| Err(End::BrokeOff(Malformed))).await;
    let alive = |wire, _| endless(stream_head(wire), ": alive\n\n".repeat(100));
    flood.meets(64 * KIB, alive, |_, _| failed(Malformed)).await;
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    let flood = Flood::of(&Way::ALL);
    let head = "HTTP/1.1 200 OK\r\n";
    let one = |_, _| endless(format!("{head}x-a: "), "y".repeat(4096));
    flood.meets(400 * KIB, one, |_, _| failed(Transport)).await;
    let lines = |_, _| Script {
        head: head.into(),
        piece: "x-a: b\r\n".repeat(1000).into(),
        times: 1000,
        tail: b"\r\n".to_vec(),
        ..Script::default()
    };
    flood.meets(400 * KIB, lines, |_, _| failed(Transport)).await;
}

#[tokio::test]
async fn what_stands_around_chunks_is_bounded_too() {
    let flood = Flood::of(&[Way::Whole]);
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = |_, _| endless(format!("{head}5;x="), "y".repeat(4096));
    flood.meets(16 * KIB, extension, |_, _| failed(Malformed)).await;
    let trailers = |wire: Wire, _| {
        let body = chunk(wire.saying(TEXT).to_string());
        endless([head.as_bytes(), &body, b"0\r\n"].concat(), "x-a: b\r\n".repeat(500))
    };
    flood.meets(400 * KIB, trailers, |_, _| failed(Malformed)).await;
}

/// 25 MiB in 160 KiB.
#[tokio::test]
async fn a_bomb_goes_off_at_the_bound() {
    let bomb = gzip_bomb(100_000);
    let reply = |kind: &str| {
        let plain = response(kind, Framing::Length, &[&bomb]);
        let text = String::from_utf8_lossy(&plain[..17]).into_owned();
        [text.as_bytes(), b"content-encoding: gzip\r\n", &plain[17..]].concat()
    };
    let flood = Flood::of(&[Way::Whole]);
    flood.meets(MIB, |_, _| says(reply("application/json")), |_, _| failed(Malformed)).await;
    let flood = Flood::of(&STREAMS);
    let line = |_, _| says(reply("text/event-stream"));
    flood.meets(MIB / 4, line, |_, _| failed(Malformed)).await;
}
