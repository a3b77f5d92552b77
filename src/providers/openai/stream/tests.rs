use super::*;
use crate::chunk::Accumulator;
use crate::error::ErrorKind;
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::pull::Decoding;
use crate::providers::http::transport::Meta;
use crate::request::Part;
use crate::response::ChatResponse;
use crate::rng::Rng;
use crate::usage::Usage;
use proptest::prelude::*;
use serde_json::{Value, json};

type Items = Vec<Result<Chunk, ErrorKind>>;

/// The items of a stream whose body arrives in pieces and then ends.
fn run<'a>(bounds: HttpBounds, pieces: impl IntoIterator<Item = &'a [u8]>) -> Items {
    let mut decoding = Decoding::new(Meta::default(), bounds, Decoder::default());
    let mut items = Items::new();
    let mut drain = |decoding: &mut Decoding<Decoder>| {
        while let Some(item) = decoding.next() {
            items.push(item.map_err(|error| error.kind()));
        }
    };
    for piece in pieces {
        if !decoding.is_over() {
            decoding.feed(piece);
            drain(&mut decoding);
        }
    }
    decoding.end();
    drain(&mut decoding);
    items
}

fn body(events: &[Value], tail: &str) -> String {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    events + tail
}

fn read(events: &[Value], tail: &str) -> Items {
    run(HttpBounds::new(), [body(events, tail).as_bytes()])
}

fn answer(events: &[Value], tail: &str) -> Result<ChatResponse, ErrorKind> {
    let mut accumulator = Accumulator::default();
    for item in read(events, tail) {
        accumulator.push(&item?).unwrap();
    }
    Ok(accumulator.into_response())
}

fn delta(delta: Value) -> Value {
    json!({"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage() -> Value {
    json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
}

fn call(index: impl Into<Value>, id: Value, name: Value, arguments: &str) -> Value {
    let call = json!({"index": index.into(), "id": id, "function": {"name": name, "arguments": arguments}});
    delta(json!({"tool_calls": [call]}))
}

/// A stream of everything at once.
fn recorded() -> String {
    let events = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"reasoning_content": "h\u{e9}"})),
        delta(json!({"content": "\u{1f600} one"})),
        delta(json!({"content": " two"})),
        call(0, json!("c1"), json!("find"), ""),
        call(0, Value::Null, Value::Null, "{}"),
        finish("tool_calls"),
        usage(),
    ];
    format!(": hello\r\n\r\n{}", body(&events, "data: [DONE]\n\n"))
}

#[test]
fn a_stream_becomes_start_content_usage_and_done() {
    let events = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hel"})),
        delta(json!({"content": "lo"})),
        finish("stop"),
        usage(),
    ];
    let start =
        ChunkStart { id: Some("c1".into()), model: Some("m-1".into()), ..ChunkStart::new() };
    assert_eq!(
        read(&events, "data: [DONE]\n\n"),
        [
            Chunk::Start(start),
            Chunk::text(0, "Hel"),
            Chunk::text(0, "lo"),
            Chunk::Usage(Usage::counted(5, 2)),
            Chunk::done(FinishReason::Stop),
        ]
        .map(Ok)
    );
}

#[test]
fn the_end_of_the_body_ends_an_answer_that_had_finished() {
    let events = [delta(json!({"content": "a"})), finish("length"), usage()];
    let response = answer(&events, "").unwrap();
    assert_eq!(response.finish, FinishReason::Length);
    assert_eq!(response.usage, Usage::counted(5, 2));
    assert_eq!(answer(&events, "data: [DONE]").unwrap().finish, FinishReason::Length);
    assert_eq!(answer(&events[..1], ""), Err(ErrorKind::Interrupted));
    assert_eq!(answer(&events[..1], "data: {\"choi"), Err(ErrorKind::Interrupted));
}

#[test]
fn an_event_after_the_finish_does_not_undo_it() {
    let events = [delta(json!({"content": "a"})), finish("stop"), delta(json!({}))];
    assert_eq!(answer(&events, "data: [DONE]\n\n").unwrap().finish, FinishReason::Stop);
}

#[test]
fn usage_is_found_where_servers_put_it() {
    let groq =
        json!({"choices": [], "x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}});
    let moonshot = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}}]});
    for event in [groq, moonshot] {
        let response = answer(&[event], "data: [DONE]\n\n").unwrap();
        assert_eq!(response.usage, Usage::counted(5, 2));
    }
}

#[test]
fn parts_are_numbered_as_they_appear() {
    let events = [
        delta(json!({"reasoning": "hm"})),
        call(0, json!("c1"), json!("find"), "{"),
        delta(json!({"content": "so"})),
        call(0, Value::Null, Value::Null, "}"),
        call(1, json!("c2"), json!("now"), "{}"),
        finish("stop"),
    ];
    let response = answer(&events, "data: [DONE]\n\n").unwrap();
    assert_eq!(
        response.content,
        [
            Part::Reasoning(Reasoning::new("hm")),
            Part::ToolCall(ToolCall::new("c1", "find", "{}")),
            Part::text("so"),
            Part::ToolCall(ToolCall::new("c2", "now", "{}")),
        ]
    );
    assert_eq!(response.finish, FinishReason::ToolCalls);
}

#[test]
fn calls_come_apart_whatever_servers_do_to_their_ids() {
    let calls = |events: &[Value]| {
        let response = answer(events, "data: [DONE]\n\n").unwrap();
        response.tool_calls().cloned().collect::<Vec<_>>()
    };
    let one = [ToolCall::new("a", "f", "{}")];
    let both = [one[0].clone(), ToolCall::new("b", "g", "{}")];

    let repeated = [call(0, json!("a"), json!("f"), "{"), call(0, json!("a"), json!("f"), "}")];
    assert_eq!(calls(&repeated), one);
    let fresh = [call(0, json!("a"), json!("f"), "{"), call(0, json!("x"), Value::Null, "}")];
    assert_eq!(calls(&fresh), one);
    let all_zero = [call(0, json!("a"), json!("f"), "{}"), call(0, json!("b"), json!("g"), "{}")];
    assert_eq!(calls(&all_zero), both);
    let unnumbered = [
        call(Value::Null, json!("a"), json!("f"), "{}"),
        call(Value::Null, json!("b"), json!("g"), "{"),
        call(Value::Null, Value::Null, Value::Null, "}"),
    ];
    assert_eq!(calls(&unnumbered), both);
}

#[test]
fn too_many_calls_are_malformed() {
    let events: Vec<Value> =
        (0..=MOST_CALLS as u64).map(|index| call(index, json!("a"), json!("f"), "")).collect();
    assert_eq!(answer(&events, ""), Err(ErrorKind::Malformed));
    let (mut decoder, mut chunks) = (Decoder::default(), VecDeque::new());
    let fails = |event: &Value| {
        let data = event.to_string();
        decoder.event(&Event { name: "message", data: &data }, &mut chunks).err()
    };
    let error = events.iter().find_map(fails).unwrap();
    assert!(error.to_string().contains("the answer has too many tool calls"), "{error}");
}

#[test]
fn other_choices_are_left_out() {
    let other =
        json!({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]});
    let events = [delta(json!({"content": "yes"})), other, finish("stop")];
    let response = answer(&events, "data: [DONE]\n\n").unwrap();
    assert_eq!((response.text().as_str(), response.finish), ("yes", FinishReason::Stop));
}

#[test]
fn a_refusal_is_text_and_no_ordinary_stop() {
    let events =
        [delta(json!({"refusal": "I will "})), delta(json!({"refusal": "not"})), finish("stop")];
    let response = answer(&events, "data: [DONE]\n\n").unwrap();
    assert_eq!(response.text(), "I will not");
    assert_eq!(response.finish, FinishReason::Other("refusal".into()));
}

#[test]
fn an_error_in_the_stream_ends_it_with_its_kind() {
    let content = delta(json!({"content": "a"}));
    for (error, kind) in [
        (json!({"error": {"message": "m", "type": "overloaded_error"}}), ErrorKind::Overloaded),
        (json!({"error": {"message": "m", "code": 429}}), ErrorKind::RateLimited),
        (
            json!({"error": {"message": "m", "code": "insufficient_quota"}}),
            ErrorKind::QuotaExhausted,
        ),
        (json!({"error": "it broke"}), ErrorKind::Server),
    ] {
        let items = read(&[content.clone(), error], "data: [DONE]\n\n");
        assert_eq!(items.last(), Some(&Err(kind)));
        assert!(items.contains(&Ok(Chunk::text(0, "a"))));
    }
}

#[test]
fn a_whole_answer_in_the_place_of_a_stream_is_taken() {
    let body =
        json!({"id": "c1", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    let mut chunks = VecDeque::new();
    Decoder::default().whole(body.to_string().as_bytes(), &mut chunks).unwrap();
    assert_eq!(chunks[1], Chunk::text(0, "hi"));
    assert!(chunks.back().unwrap().is_done());
}

/// A million random bytes: half of them noise, half of them a real stream with noise in it. The
/// seed is fixed.
#[test]
fn a_million_random_bytes_never_panic_and_stay_in_bounds() {
    let rng = Rng::from_seed(7);
    let recorded = recorded().into_bytes();
    let bounds = HttpBounds::new().line(512).event(1024).stream(8 << 10);
    let mut fed = 0;
    while fed < 1_000_000 {
        let noise = rng.below(2) == 0;
        let mut bytes: Vec<u8> = if noise {
            (0..4096).map(|_| rng.below(256) as u8).collect()
        } else {
            recorded.repeat(3)
        };
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        fed += bytes.len();
        let mut rest = &bytes[..];
        let pieces = std::iter::from_fn(|| {
            let length = (1 + rng.below(200) as usize).min(rest.len());
            let (piece, tail) = rest.split_at(length);
            rest = tail;
            (length > 0).then_some(piece)
        });
        let items = run(bounds, pieces);
        let content: usize = items.iter().flatten().map(Chunk::bytes).sum();
        assert!(content <= 3 * bounds.stream);
        assert!(items.iter().rev().skip(1).all(|item| item.as_ref().is_ok_and(|it| !it.is_done())));
    }
}

proptest! {
    #[test]
    fn no_cut_changes_the_chunks(lengths in prop::collection::vec(1usize..40, 0..60)) {
        let recorded = recorded();
        let expected = run(HttpBounds::new(), [recorded.as_bytes()]);
        prop_assert!(expected.last().unwrap().as_ref().unwrap().is_done());
        let mut rest = recorded.as_bytes();
        let mut pieces = Vec::new();
        for length in lengths {
            let (piece, tail) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(run(HttpBounds::new(), pieces), expected);
    }

    #[test]
    fn no_json_in_a_known_place_panics(leaf in prop_oneof![
        Just(json!(null)), Just(json!(-1)), Just(json!(1e300)), Just(json!("x")), Just(json!([])),
        Just(json!({})), Just(json!([{"type": "text", "text": 1}])), Just(json!(u64::MAX)),
    ], field in 0usize..9) {
        let mut event = delta(json!({"content": "a", "tool_calls": [
            {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}));
        let place = ["/id", "/model", "/usage", "/choices/0/index", "/choices/0/delta/content",
            "/choices/0/finish_reason", "/choices/0/delta/tool_calls/0/index",
            "/choices/0/delta/tool_calls/0/function/arguments", "/choices/0/delta/tool_calls/0/id"];
        *event.pointer_mut(place[field]).unwrap() = leaf;
        let items = read(&[event, finish("stop")], "data: [DONE]\n\n");
        prop_assert!(items.last().unwrap().as_ref().is_ok_and(Chunk::is_done));
    }
}
