//! The two wires: how a provider for one is made, and what a good server answers.

use std::sync::Arc;

use evenkeel::providers::{Anthropic, HttpBounds, OpenAi};
use evenkeel::{Capabilities, Provider};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "sk-test-0123456789abcdef";

/// The text of every good answer.
pub(crate) const TEXT: &str = "Hello";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Anthropic,
}

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `complete`, from a server that does not stream.
    Whole,
    /// `complete`, put together from a stream.
    Gathered,
    /// `stream`.
    Streamed,
}

/// How a body says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// By closing the connection.
    Close,
}

/// What a provider's builder can be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) streaming: bool,
    pub(crate) bounds: HttpBounds,
}

impl Wire {
    pub(crate) const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    pub(crate) fn provider(self, base: &str, settings: Settings) -> Arc<dyn Provider> {
        let capabilities = Capabilities::all().streaming(settings.streaming);
        match self {
            Self::OpenAi => {
                let builder = OpenAi::builder().base_url(format!("{base}/v1")).api_key(KEY);
                Arc::new(
                    builder.bounds(settings.bounds).capabilities(capabilities).build().unwrap(),
                )
            }
            Self::Anthropic => {
                let builder = Anthropic::builder().base_url(base).api_key(KEY);
                Arc::new(
                    builder.bounds(settings.bounds).capabilities(capabilities).build().unwrap(),
                )
            }
        }
    }

    /// A whole answer that says `text`.
    pub(crate) fn saying(self, text: &str) -> Value {
        match self {
            Self::OpenAi => json!({
                "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
            Self::Anthropic => json!({
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 9, "output_tokens": 4}}),
        }
    }

    /// An event with a piece of text.
    pub(crate) fn piece(self, text: &str) -> String {
        match self {
            Self::OpenAi => {
                event(self, json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
            }
            Self::Anthropic => event(
                self,
                json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": text}}),
            ),
        }
    }

    /// What comes before the first piece of text.
    pub(crate) fn opening(self) -> Vec<String> {
        match self {
            Self::OpenAi => Vec::new(),
            Self::Anthropic => vec![
                event(self, json!({"type": "message_start", "message": {"id": "m1"}})),
                event(
                    self,
                    json!({"type": "content_block_start", "index": 0,
                        "content_block": {"type": "text", "text": ""}}),
                ),
            ],
        }
    }

    /// What says why the model stopped: after it the answer is complete, but for the terminal event.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::OpenAi => event(
                self,
                json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            ),
            Self::Anthropic => {
                event(self, json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}))
            }
        }
    }

    pub(crate) fn terminal(self) -> String {
        match self {
            Self::OpenAi => "data: [DONE]\n\n".to_owned(),
            Self::Anthropic => event(self, json!({"type": "message_stop"})),
        }
    }

    /// A good stream, event by event.
    pub(crate) fn events(self) -> Vec<String> {
        let (first, second) = TEXT.split_at(3);
        let said = [self.piece(first), self.piece(second), self.finish(), self.terminal()];
        self.opening().into_iter().chain(said).collect()
    }
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::Gathered, Self::Streamed];

    pub(crate) const fn streams(self) -> bool {
        !matches!(self, Self::Whole)
    }
}

pub(crate) fn event(wire: Wire, data: Value) -> String {
    match wire {
        Wire::OpenAi => format!("data: {data}\n\n"),
        Wire::Anthropic => format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()),
    }
}

/// A good answer, byte for byte.
pub(crate) fn answer(wire: Wire, streams: bool, framing: Framing) -> Vec<u8> {
    let parts = if streams { wire.events() } else { vec![wire.saying(TEXT).to_string()] };
    let kind = if streams { "text/event-stream" } else { "application/json" };
    response(kind, framing, &parts)
}

/// A response with status 200 whose body is `parts`, each a chunk where the body has chunks.
pub(crate) fn response(kind: &str, framing: Framing, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let framed = match framing {
        Framing::Length => format!("content-length: {length}\r\n"),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => "connection: close\r\n".to_owned(),
    };
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framed}\r\n").into_bytes();
    for part in parts {
        match framing {
            Framing::Chunked => bytes.extend(chunk(part)),
            Framing::Length | Framing::Close => bytes.extend_from_slice(part.as_ref()),
        }
    }
    if framing == Framing::Chunked {
        bytes.extend(chunk(""));
    }
    bytes
}

/// A piece of a chunked body; the empty piece ends it.
pub(crate) fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// Just behind the first `what` in `bytes`.
pub(crate) fn behind(bytes: &[u8], what: &str) -> usize {
    let at = bytes.windows(what.len()).position(|window| window == what.as_bytes());
    at.expect("it is there") + what.len()
}
