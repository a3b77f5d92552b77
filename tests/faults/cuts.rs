//! An answer that ends before its end, at every byte.

use evenkeel::ErrorKind::{Interrupted, Malformed, Transport};
use evenkeel::FinishReason;

use crate::caller::{Caller, End, all_closed, end};
use crate::proxy::Toxic;
use crate::rig::Rig;
use crate::wire::{Framing, TEXT, Way, Wire, answer, behind};

/// One good answer, and where in it something changes.
struct Answer {
    length: usize,
    head: usize,
    /// Behind the first event with content.
    content: usize,
    /// From here on it may be a success.
    enough: usize,
    /// From here on it has to be.
    whole: usize,
    framing: Framing,
}

impl Answer {
    fn of(wire: Wire, way: Way, framing: Framing) -> Self {
        let bytes = answer(wire, way.streams(), framing);
        let (length, head) = (bytes.len(), behind(&bytes, "\r\n\r\n"));
        let rest = |what: &str| behind(&bytes, what.trim_end());
        if !way.streams() {
            let body = rest(&wire.saying(TEXT).to_string());
            // A chunked body ends with its last chunk, not with its JSON.
            let whole = if framing == Framing::Chunked { length } else { body };
            return Self { length, head, content: length, enough: whole, whole, framing };
        }
        let whole = behind(&bytes, &wire.terminal());
        // Without a length of its own a body just ends, and with it the line it ends in. One wire's
        // servers may leave out the terminal event once they have said why the model stopped.
        let enough = match (framing, wire) {
            (Framing::Close, Wire::OpenAi) => rest(&wire.finish()),
            (Framing::Close, Wire::Anthropic) => rest(&wire.terminal()),
            _ => whole,
        };
        let piece = wire.piece(&TEXT[..3]);
        let content = if framing == Framing::Close { rest(&piece) } else { behind(&bytes, &piece) };
        Self { length, head, content, enough, whole, framing }
    }

    /// How a cut at `at` shows.
    fn cut(&self, at: usize, way: Way) -> End {
        let unframed = self.framing == Framing::Close;
        match way {
            _ if at < self.head => End::Failed(Transport),
            Way::Whole if unframed => End::Failed(Malformed),
            Way::Whole => End::Failed(Transport),
            _ if at >= self.content => End::BrokeOff(Interrupted),
            _ if unframed => End::Failed(Interrupted),
            _ => End::Failed(Transport),
        }
    }
}

const SWEEPS: [(Way, Framing); 5] = [
    (Way::Whole, Framing::Length),
    (Way::Whole, Framing::Chunked),
    (Way::Whole, Framing::Close),
    (Way::Gathered, Framing::Chunked),
    (Way::Streamed, Framing::Close),
];

async fn sweep(wire: Wire) {
    let rig = Rig::start();
    for (way, framing) in SWEEPS {
        let (answer, caller) = (Answer::of(wire, way, framing), Caller::new(&rig, wire, way));
        for at in 0..=answer.length {
            rig.set(framing, Toxic::Cut(at));
            let case = format!("{wire:?} {way:?} {framing:?} cut at {at} of {}", answer.length);
            match caller.ask().await {
                Ok(completion) => {
                    assert!(at >= answer.enough, "{case}: {completion:?}");
                    assert_eq!(completion.text(), TEXT, "{case}");
                    assert_eq!(completion.response.finish, FinishReason::Stop, "{case}");
                }
                Err(error) => {
                    assert!(at < answer.whole, "{case}: {error:?}");
                    assert_eq!(end(&error), answer.cut(at, way), "{case}");
                }
            }
            all_closed(&rig).await;
        }
        caller.recovers(&rig).await;
    }
}

#[tokio::test]
async fn a_cut_at_any_byte_is_no_answer_openai() {
    sweep(Wire::OpenAi).await;
}

#[tokio::test]
async fn a_cut_at_any_byte_is_no_answer_anthropic() {
    sweep(Wire::Anthropic).await;
}

/// A reset may overtake what was sent before it, so only what must not be is certain.
#[tokio::test]
async fn a_reset_is_no_answer() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        for way in Way::ALL {
            let answer = Answer::of(wire, way, Framing::Chunked);
            let caller = Caller::new(&rig, wire, way);
            for at in (0..answer.enough).step_by(11) {
                rig.set(Framing::Chunked, Toxic::Reset(at));
                let shown = caller.end().await;
                let known = [End::Failed(Transport), End::BrokeOff(Interrupted)];
                assert!(known.contains(&shown), "{wire:?} {way:?} reset at {at}: {shown:?}");
                all_closed(&rig).await;
            }
            caller.recovers(&rig).await;
        }
    }
}
