//! A server that is slow, or says nothing more.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::ErrorKind::{Timeout, Transport};
use evenkeel::Timeouts;
use evenkeel::providers::HttpBounds;

use crate::caller::{Caller, End, all_closed};
use crate::proxy::{Script, Toxic};
use crate::rig::Rig;
use crate::wire::{Framing, TEXT, Way, Wire, answer, behind, response};

/// Short, and far enough apart that one of them is known to come first.
fn short() -> Timeouts {
    let millis = Duration::from_millis;
    Timeouts::new().first_content(millis(80)).idle(millis(60)).total(millis(300))
}

fn impatient(rig: &Rig, wire: Wire, way: Way) -> Caller {
    Caller::with(rig, wire, way, HttpBounds::new(), short())
}

async fn ends(rig: &Rig, caller: &Caller, toxic: Toxic, expected: End) {
    let case = format!("{caller:?} {toxic:?}");
    rig.set(Framing::Chunked, toxic);
    assert_eq!(caller.end().await, expected, "{case}");
    all_closed(rig).await;
    caller.recovers(rig).await;
    all_closed(rig).await;
}

/// An answer that nobody sees the beginning of has the call's deadline alone.
fn silent(way: Way, committed: bool) -> End {
    match way {
        Way::Whole => End::Deadline,
        _ if committed => End::BrokeOff(Timeout),
        _ => End::Failed(Timeout),
    }
}

#[tokio::test]
async fn a_server_that_stalls_anywhere_is_given_up() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = impatient(&rig, wire, way);
            let bytes = answer(wire, way.streams(), Framing::Chunked);
            let head = behind(&bytes, "\r\n\r\n");
            let content =
                if way.streams() { behind(&bytes, &wire.piece(&TEXT[..3])) } else { bytes.len() };
            for at in [0, 20, head, head + 40, content - 2, content + 30] {
                let at = at.min(bytes.len() - 8);
                ends(&rig, &caller, Toxic::Stall(at), silent(way, at >= content)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_only_listens_is_given_up() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = impatient(&rig, wire, way);
            ends(&rig, &caller, Toxic::Mute, silent(way, false)).await;
            ends(&rig, &caller, Toxic::Shut, End::Failed(Transport)).await;
        }
    }
}

/// Bytes are no progress: neither the head's nor those of an event that does not end.
#[tokio::test]
async fn a_byte_at_a_time_is_as_good_as_silence() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = impatient(&rig, wire, way);
            let tick = Toxic::Trickle(Duration::from_millis(2));
            ends(&rig, &caller, tick, silent(way, false)).await;
        }
    }
    for wire in Wire::ALL {
        let begun = [wire.opening().concat(), wire.piece(TEXT), "data: ".to_owned()].concat();
        let script = Script {
            head: response("text/event-stream", Framing::Close, &[begun]),
            piece: b"x".to_vec(),
            times: u64::MAX,
            pace: Some(Duration::from_millis(2)),
            ..Script::default()
        };
        let toxic = Toxic::Say(Arc::new(script));
        ends(&rig, &impatient(&rig, wire, Way::Streamed), toxic, End::BrokeOff(Timeout)).await;
    }
}

/// Comments keep a connection alive and an answer waiting, but not beyond the deadline.
#[tokio::test]
async fn signs_of_life_do_not_outlive_the_deadline() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        let caller = impatient(&rig, wire, Way::Gathered);
        for (said, expected) in [("", End::Failed(Timeout)), (TEXT, End::Deadline)] {
            let said = if said.is_empty() { String::new() } else { wire.piece(said) };
            let begun = wire.opening().concat() + &said;
            let script = Script {
                head: response("text/event-stream", Framing::Close, &[begun]),
                piece: b": alive\n\n".to_vec(),
                times: u64::MAX,
                pace: Some(Duration::from_millis(5)),
                ..Script::default()
            };
            ends(&rig, &caller, Toxic::Say(Arc::new(script)), expected).await;
        }
    }
}

#[tokio::test]
async fn a_late_answer_is_an_answer() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            rig.set(Framing::Chunked, Toxic::Delay(Duration::from_millis(10)));
            let caller = Caller::new(&rig, wire, way);
            assert_eq!(caller.ask().await.unwrap().text(), TEXT);
        }
    }
}
