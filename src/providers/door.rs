//! What the fuzzers reach of the wires: the pure parts, without a socket. No part of the interface.
//!
//! A provider over a loopback server would reach the same code, a thousand times slower.

use std::time::{Duration, SystemTime};

use crate::chunk::Chunk;
use crate::error::{ErrorKind, ProviderError};
use crate::provider::CallContext;
use crate::providers::anthropic::{self, encode::Settings};
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::pull::Decoding;
use crate::providers::http::sse::{self, Reader};
use crate::providers::http::transport::Meta;
use crate::providers::http::{classify, headers};
use crate::providers::openai::encode::Dialect;
use crate::providers::openai::{self, MaxTokensField, ReasoningField};
use crate::rate_limits::RateLimits;
use crate::request::ChatRequest;
use crate::response::ChatResponse;
use crate::time;

/// A wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    OpenAi,
    Anthropic,
}

/// What the reader of event streams yields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    Event { name: String, data: String },
    Heartbeat,
}

/// The items in a body that arrives in `pieces`, and what ended it early.
pub fn events(pieces: &[&[u8]], bounds: HttpBounds) -> (Vec<Item>, Option<ErrorKind>) {
    let (mut reader, mut items) = (Reader::new(bounds), Vec::new());
    let ended = read(&mut reader, pieces, &mut items);
    (items, ended.err().map(|error| error.kind()))
}

fn read(reader: &mut Reader, pieces: &[&[u8]], items: &mut Vec<Item>) -> Result<(), ProviderError> {
    for piece in pieces {
        reader.feed(piece)?;
        take_items(reader, items)?;
    }
    reader.end();
    take_items(reader, items)
}

fn take_items(reader: &mut Reader, items: &mut Vec<Item>) -> Result<(), ProviderError> {
    while let Some(item) = reader.next()? {
        items.push(match item {
            sse::Item::Heartbeat => Item::Heartbeat,
            sse::Item::Event(sse::Event { name, data }) => {
                Item::Event { name: name.to_owned(), data: data.to_owned() }
            }
        });
    }
    Ok(())
}

/// The answer in a whole body.
///
/// # Errors
/// What the provider would return.
pub fn whole(wire: Wire, body: &[u8], keep_raw: bool) -> Result<ChatResponse, ProviderError> {
    match wire {
        Wire::OpenAi => openai::decode::chat(body, keep_raw),
        Wire::Anthropic => anthropic::decode::response(body, keep_raw),
    }
}

/// What comes of a streamed body that arrives in `pieces` and ends in good order.
pub fn stream(
    wire: Wire,
    pieces: &[&[u8]],
    bounds: HttpBounds,
) -> Vec<Result<Chunk, ProviderError>> {
    match wire {
        Wire::OpenAi => chunks(pieces, bounds, openai::stream::Decoder::default()),
        Wire::Anthropic => chunks(pieces, bounds, anthropic::stream::Decoder::default()),
    }
}

fn chunks(
    pieces: &[&[u8]],
    bounds: HttpBounds,
    decoder: impl StreamDecoder,
) -> Vec<Result<Chunk, ProviderError>> {
    let mut decoding = Decoding::new(Meta::default(), bounds, decoder);
    let mut chunks = Vec::new();
    for piece in pieces {
        decoding.feed(piece);
        chunks.extend(std::iter::from_fn(|| decoding.next()));
        if decoding.is_over() {
            return chunks;
        }
    }
    decoding.end();
    chunks.extend(std::iter::from_fn(|| decoding.next()));
    chunks
}

/// The error that the body of a failed response describes.
pub fn error_body(status: u16, body: &[u8]) -> ProviderError {
    classify::error_response(status, body)
}

/// A request as the wire's JSON.
///
/// # Errors
/// What the provider would return.
pub fn encode(wire: Wire, request: &ChatRequest, stream: bool) -> Result<Vec<u8>, ProviderError> {
    match wire {
        Wire::OpenAi => {
            let dialect = Dialect {
                model: None,
                max_tokens_field: MaxTokensField::MaxTokens,
                stream_usage: true,
                reasoning: Some(ReasoningField::ReasoningContent),
            };
            openai::encode::chat(request, &CallContext::new(time::now()), &dialect, stream)
        }
        Wire::Anthropic => {
            let settings = Settings { model: "m", max_tokens: 1, cache_system: false, stream };
            anthropic::encode::body(request, &settings)
        }
    }
}

/// How long the server wants to be left alone.
pub fn retry_after(pairs: &[(&str, &str)], now: SystemTime) -> Option<Duration> {
    headers::retry_after(getter(pairs), now)
}

/// The server's rate limits.
pub fn rate_limits(pairs: &[(&str, &str)], now: SystemTime) -> Option<RateLimits> {
    headers::rate_limits(getter(pairs), now)
}

/// The server's id of the request.
pub fn request_id(pairs: &[(&str, &str)]) -> Option<String> {
    headers::request_id(getter(pairs))
}

fn getter<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}
