//! What holds for the answers of every wire, whatever a server sends.

use std::collections::BTreeMap;

use evenkeel::chunk::{Accumulator, Chunk};
use evenkeel::providers::HttpBounds;
use evenkeel::providers::door::{self, Wire};
use evenkeel::{ChatRequest, ChatResponse, ErrorKind, FinishReason, Part, ProviderError};
use serde_json::value::RawValue;

use crate::bytes::{Bytes, pieces};

/// Draws an answer: as a whole body, and as the event stream of the same.
pub(crate) type Answer = fn(&mut Bytes<'_>) -> (String, String);

pub(crate) fn run(wire: Wire, answer: Answer, data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 4 {
        0 => whole(wire, bytes.rest()),
        1 => {
            let cuts = [bytes.short(), bytes.short(), bytes.short()];
            stream(wire, bytes.rest(), &cuts);
        }
        2 => {
            let status = 100 + bytes.short() % 500;
            error_body(status, bytes.rest());
        }
        _ => {
            let cuts = [bytes.short(), bytes.short(), bytes.short()];
            either_way(wire, answer(&mut bytes), &cuts);
        }
    }
}

/// A whole body: an answer that can be streamed on and sent back, or an error that quotes nothing.
fn whole(wire: Wire, body: &[u8]) {
    let decoded = door::whole(wire, body, true);
    match decoded {
        Ok(response) => {
            assert_eq!(response.raw, serde_json::from_slice(body).ok());
            check_answer(&response);
            check_replay(&response);
            check_sent_back(wire, &response);
        }
        Err(error) => check_error(&error),
    }
}

fn check_answer(response: &ChatResponse) {
    let calls = response.tool_calls().next().is_some();
    assert!(!(calls && response.finish == FinishReason::Stop), "it stopped for its tools");
    for part in &response.content {
        assert!(part.as_text() != Some(""), "a part that says nothing");
    }
    let usage = &response.usage;
    assert!(!usage.estimated);
    // Whatever was counted, sums and prices saturate.
    let _ = usage.total_tokens();
}

/// Played as a stream it is the same answer.
fn check_replay(response: &ChatResponse) {
    let mut accumulator = Accumulator::default();
    for chunk in Chunk::from_response(response.clone()) {
        if accumulator.push(&chunk).is_err() {
            return;
        }
    }
    let mut played = accumulator.into_response();
    played.raw.clone_from(&response.raw);
    assert_eq!(played, *response);
}

/// The next turn of the conversation is a request of this wire, or there is a word for why not.
fn check_sent_back(wire: Wire, response: &ChatResponse) {
    let request = ChatRequest::new("m").user("q").message(response.to_message()).user("r");
    for stream in [false, true] {
        match door::encode(wire, &request, stream) {
            Ok(json) => {
                check_body(wire, &json, stream);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::InvalidRequest | ErrorKind::Unsupported));
            }
        }
    }
}

fn check_body(wire: Wire, json: &[u8], stream: bool) {
    // Raw values: what the server wrote goes back as it was, numbers too large for any type among it.
    let body: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(json).expect("a body is JSON");
    assert_eq!(body.get("stream").is_some_and(|stream| stream.get() == "true"), stream);
    let turns: Vec<Box<RawValue>> =
        serde_json::from_str(body["messages"].get()).expect("a conversation has turns");
    // One that says nothing is left out, and the turns beside it become one on this wire.
    assert!((1..=3).contains(&turns.len()) || wire == Wire::OpenAi);
}

fn check_error(error: &ProviderError) {
    let kind = error.kind();
    let impossible = [ErrorKind::Transport, ErrorKind::Panicked, ErrorKind::Interrupted];
    assert!(!impossible.contains(&kind), "{kind:?}");
    if let Some(code) = error.code() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        assert!(code.len() <= 64 && code.bytes().all(plain), "a sentence in place of a code");
    }
}

/// A streamed body: one start, then content, then one end; the same wherever it is cut.
fn stream(wire: Wire, body: &[u8], cuts: &[u16]) {
    let bounds = HttpBounds::new();
    let chunks = seen(door::stream(wire, &[body], bounds));
    check_order(&chunks);
    assert_eq!(seen(door::stream(wire, &pieces(body, cuts), bounds)), chunks, "cut at {cuts:?}");
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(seen(door::stream(wire, &single, bounds)), chunks, "byte by byte");
    if let Some(response) = accumulated(&chunks) {
        check_answer_of_stream(&response);
        check_replay(&response);
        check_sent_back(wire, &response);
    }
}

type Seen = Result<Chunk, ErrorKind>;

fn seen(chunks: Vec<Result<Chunk, ProviderError>>) -> Vec<Seen> {
    let kind = |error: ProviderError| {
        if !matches!(error.kind(), ErrorKind::Interrupted) {
            check_error(&error);
        }
        error.kind()
    };
    chunks.into_iter().map(|chunk| chunk.map_err(kind)).collect()
}

fn check_order(chunks: &[Seen]) {
    let is_end = |item: &Seen| item.as_ref().map_or(true, Chunk::is_done);
    let ends = chunks.iter().filter(|item| is_end(item)).count();
    assert_eq!(ends, 1, "one end");
    assert!(chunks.last().is_some_and(is_end), "nothing after the end");
    let mut started = false;
    for chunk in chunks.iter().flatten() {
        match chunk {
            Chunk::Heartbeat => {}
            Chunk::Start(_) if !started => started = true,
            Chunk::Start(_) => assert!(started, "the server may name itself again"),
            _ => assert!(started, "a start comes first"),
        }
    }
}

/// The answer, where there is a whole one within the bounds.
fn accumulated(chunks: &[Seen]) -> Option<ChatResponse> {
    let mut accumulator = Accumulator::default();
    for chunk in chunks {
        accumulator.push(chunk.as_ref().ok()?).ok()?;
    }
    accumulator.is_complete().then(|| accumulator.into_response())
}

fn check_answer_of_stream(response: &ChatResponse) {
    check_answer(response);
    let said = response.content.iter().map(Part::bytes).sum::<usize>();
    assert_eq!(said, response.content_bytes());
}

/// The body of a failed response: a kind that its status allows.
fn error_body(status: u16, body: &[u8]) {
    use ErrorKind::{InvalidRequest, Overloaded, QuotaExhausted, RateLimited, Server};
    let error = door::error_body(status, body);
    check_error(&error);
    assert_eq!(error.status(), Some(status));
    let kind = error.kind();
    match status {
        402 => assert_eq!(kind, QuotaExhausted),
        429 => assert!(matches!(kind, QuotaExhausted | RateLimited), "{kind:?}"),
        400..500 => assert!(kind != Server, "{kind:?} of {status}"),
        503 | 529 => assert!(matches!(kind, QuotaExhausted | RateLimited | Overloaded), "{kind:?}"),
        500.. => {
            let the_callers = [InvalidRequest, ErrorKind::ContextLength, ErrorKind::ContentFilter];
            assert!(!the_callers.contains(&kind), "{kind:?} of {status}");
        }
        _ => {}
    }
    // What is JSON is JSON with space around it.
    if serde_json::from_slice::<serde_json::Value>(body).is_ok() {
        let spaced = [b" \r\n", body, b"\n "].concat();
        assert_eq!(door::error_body(status, &spaced).kind(), kind);
    }
}

/// An answer that the server gives whole or streams is the same answer.
fn either_way(wire: Wire, (whole, streamed): (String, String), cuts: &[u16]) {
    let whole = door::whole(wire, whole.as_bytes(), false).expect("a whole answer");
    let body = streamed.as_bytes();
    let chunks = seen(door::stream(wire, &pieces(body, cuts), HttpBounds::new()));
    check_order(&chunks);
    let streamed = accumulated(&chunks).expect("a streamed answer");
    assert_eq!(streamed, whole);
    check_replay(&whole);
    check_sent_back(wire, &whole);
}

/// `text` in pieces of `size` characters, at least one piece.
pub(crate) fn in_pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(size.max(1)).map(|piece| piece.iter().collect());
    let pieces: Vec<String> = pieces.collect();
    if pieces.is_empty() { vec![String::new()] } else { pieces }
}
