//! A server that does not speak the wire, or HTTP.

use std::sync::Arc;

use evenkeel::ErrorKind::{Interrupted, Malformed, Timeout, Transport};
use evenkeel::Timeouts;
use evenkeel::providers::HttpBounds;
use std::time::Duration;

use crate::caller::{Caller, End, all_closed, end};
use crate::proxy::{Script, Toxic};
use crate::rig::Rig;
use crate::wire::{Framing, TEXT, Way, Wire, answer, behind, chunk, response};

fn says(bytes: impl Into<Vec<u8>>) -> Toxic {
    Toxic::Say(Arc::new(Script { head: bytes.into(), ..Script::default() }))
}

/// How a call ends that meets `toxic`, after which the client is as good as new.
async fn met(rig: &Rig, caller: &Caller, toxic: Toxic) -> Result<String, End> {
    let closes = matches!(toxic, Toxic::Say(_));
    rig.set(Framing::Chunked, toxic);
    let outcome = caller.ask().await.map(|it| it.text()).map_err(|error| end(&error));
    if closes {
        // A connection that is about to close is no place for the next call.
        all_closed(rig).await;
    }
    caller.recovers(rig).await;
    all_closed(rig).await;
    outcome
}

#[tokio::test]
async fn random_bytes_in_the_frame_are_a_failure() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in [Way::Whole, Way::Streamed] {
            let caller = Caller::new(&rig, wire, way);
            let bytes = answer(wire, way.streams(), Framing::Chunked);
            let body = behind(&bytes, "\r\n\r\n");
            let size = bytes[body..].iter().position(|&byte| byte == b'\r').unwrap();
            let headers = behind(&bytes, "\r\n");
            let json = body + behind(&bytes[body..], "{");
            for seed in 0..8 {
                for (at, length, kinds) in [
                    (0, 9, &[Transport][..]),
                    (headers, 8, &[Transport]),
                    (body, size + 2, &[Transport, Malformed]),
                    (json, 12, &[Malformed]),
                ] {
                    let toxic = Toxic::Garble { at, length, seed };
                    let case = format!("{wire:?} {way:?} {toxic:?}");
                    match met(&rig, &caller, toxic).await {
                        Err(End::Failed(kind)) => assert!(kinds.contains(&kind), "{case}: {kind}"),
                        other => panic!("{case}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn broken_chunks_are_a_failure() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        let caller = Caller::new(&rig, wire, Way::Whole);
        let json = wire.saying(TEXT).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        for body in [
            "zz\r\n".to_owned() + &json,
            "\r\n".to_owned() + &json,
            "ffffffffffffffffff\r\n".to_owned() + &json,
            "-5\r\n".to_owned() + &json,
            // A size that is short of the data, and one beyond it.
            format!("{:x}\r\n{json}\r\n0\r\n\r\n", json.len() - 3),
            format!("{:x}\r\n{json}\r\n0\r\n\r\n", json.len() + 30),
            // No last chunk.
            format!("{:x}\r\n{json}\r\n", json.len()),
        ] {
            let outcome = met(&rig, &caller, says(head.to_owned() + &body)).await;
            let known = [Err(End::Failed(Transport)), Err(End::Failed(Malformed))];
            assert!(known.contains(&outcome), "{wire:?} {body}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_wrong_makes_no_answer_of_a_part() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        let caller = Caller::new(&rig, wire, Way::Whole);
        let json = wire.saying(TEXT).to_string();
        let reply = |length: usize| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
            format!("{head}\r\ncontent-length: {length}\r\n\r\n{json}")
        };
        let long = met(&rig, &caller, says(reply(json.len() + 1))).await;
        assert_eq!(long, Err(End::Failed(Transport)));
        let short = met(&rig, &caller, says(reply(json.len() - 1))).await;
        assert_eq!(short, Err(End::Failed(Malformed)));
        let two = reply(json.len()).replace("content-type", "content-length: 3\r\ncontent-type");
        assert_eq!(met(&rig, &caller, says(two)).await, Err(End::Failed(Transport)));
    }
}

/// What follows an answer on its connection is nobody's answer.
#[tokio::test]
async fn a_second_answer_to_one_request_reaches_no_other_call() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            let poison = match way {
                Way::Whole => vec![wire.saying("poison").to_string()],
                _ => vec![
                    wire.opening().concat(),
                    wire.piece("poison"),
                    wire.finish(),
                    wire.terminal(),
                ],
            };
            let kind = if way.streams() { "text/event-stream" } else { "application/json" };
            let poison = response(kind, Framing::Length, &poison);
            let twice = [answer(wire, way.streams(), Framing::Length), poison].concat();
            let script = Script { head: twice, holds: true, ..Script::default() };
            rig.set(Framing::Chunked, Toxic::Say(Arc::new(script)));
            let caller = Caller::new(&rig, wire, way);
            for _ in 0..3 {
                // The second may find the connection spoilt, which is a failure and no answer.
                if let Ok(completion) = caller.ask().await {
                    assert_eq!(completion.text(), TEXT, "{wire:?} {way:?}");
                }
            }
            drop(caller);
            all_closed(&rig).await;
        }
    }
}

#[tokio::test]
async fn what_follows_the_terminal_event_is_not_heard() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in [Way::Gathered, Way::Streamed] {
            let caller = Caller::new(&rig, wire, way);
            let mut events = wire.events();
            events.extend([wire.terminal(), wire.piece(" and more"), wire.terminal()]);
            let reply = response("text/event-stream", Framing::Close, &events);
            let outcome = met(&rig, &caller, says(reply)).await;
            assert_eq!(outcome.as_deref(), Ok(TEXT), "{wire:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn a_page_is_no_answer() {
    let rig = Rig::start();
    let page = ["<!doctype html><title>Sign in</title><p>data: nothing\n\n"];
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = Caller::new(&rig, wire, way);
            for (kind, streamed) in [
                ("text/html", Malformed),
                ("application/json", Malformed),
                // Lines that are no fields of an event say nothing, and then the body ends.
                ("text/event-stream", Interrupted),
            ] {
                let expected = if way.streams() { streamed } else { Malformed };
                let outcome =
                    met(&rig, &caller, says(response(kind, Framing::Length, &page))).await;
                assert_eq!(outcome, Err(End::Failed(expected)), "{wire:?} {way:?} {kind}");
            }
        }
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_and_do_not_outlive_the_limits() {
    let rig = Rig::start();
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let goes_on = "HTTP/1.1 100 Continue\r\n\r\n";
    for wire in Wire::ALL {
        for way in Way::ALL {
            let millis = Duration::from_millis;
            let timeouts = Timeouts::new().first_content(millis(200)).total(millis(250));
            let caller = Caller::with(&rig, wire, way, HttpBounds::new(), timeouts);
            let good = answer(wire, way.streams(), Framing::Close);
            let some = [goes_on.repeat(50).as_bytes(), hint.repeat(50).as_bytes(), &good].concat();
            assert_eq!(met(&rig, &caller, says(some)).await.as_deref(), Ok(TEXT));

            let storm = Script {
                piece: goes_on.repeat(100).into_bytes(),
                times: u64::MAX,
                // Without a pause one turn of hyper's takes as many as tokio's budget lets it read,
                // which is a hundred buffers: seconds, where nothing is optimised.
                pace: Some(Duration::from_millis(1)),
                ..Script::default()
            };
            rig.set(Framing::Chunked, Toxic::Say(Arc::new(storm)));
            let expected = if way.streams() { End::Failed(Timeout) } else { End::Deadline };
            assert_eq!(caller.end().await, expected, "{wire:?} {way:?}");
            all_closed(&rig).await;
            caller.recovers(&rig).await;
        }
    }
}

/// A body of chunks that says its length too is one of chunks.
#[tokio::test]
async fn chunks_outrank_a_length() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        let caller = Caller::new(&rig, wire, Way::Whole);
        let json = wire.saying(TEXT).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = [head.as_bytes(), &chunk(&json), &chunk("")].concat();
        match met(&rig, &caller, says(body)).await {
            Ok(text) => assert_eq!(text, TEXT),
            refused => assert_eq!(refused, Err(End::Failed(Transport))),
        }
    }
}
