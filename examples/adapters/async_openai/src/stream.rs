//! The SDK's events as chunks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_openai::error::OpenAIError;
use evenkeel::chunk::ChunkStart;
use evenkeel::{Chunk, FinishReason, ProviderError};
use futures::Stream;
use serde_json::Value;

use crate::answer::{finish, in_band, owned, tool_call, usage};
use crate::failure;

type Events = Pin<Box<dyn Stream<Item = Result<Value, OpenAIError>> + Send>>;

/// The part that text extends; tool calls have those behind it.
const TEXT: u32 = 0;

/// Pulls events and hands out what is in them. Nothing is read ahead of what the SDK has read.
pub(crate) struct Decoder {
    events: Option<Events>,
    chunks: VecDeque<Chunk>,
    started: bool,
    /// Named before the counts come, and handed out behind them.
    finish: Option<FinishReason>,
}

impl Decoder {
    pub(crate) fn new(events: Events) -> Self {
        Self { events: Some(events), chunks: VecDeque::new(), started: false, finish: None }
    }

    fn note(&mut self, event: &Value) {
        if !std::mem::replace(&mut self.started, true) {
            let mut start = ChunkStart::new();
            (start.id, start.model) = (owned(&event["id"]), owned(&event["model"]));
            self.chunks.push_back(Chunk::Start(start));
        }
        let choice = &event["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            self.chunks.push_back(Chunk::text(TEXT, text));
        }
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let number = call["index"].as_u64().and_then(|index| u32::try_from(index).ok());
            let index = number.unwrap_or(0).saturating_add(TEXT + 1);
            self.chunks.push_back(Chunk::ToolCall { index, delta: tool_call(call) });
        }
        self.finish = finish(&choice["finish_reason"]).or_else(|| self.finish.take());
        self.chunks.extend(usage(&event["usage"]).map(Chunk::Usage));
    }
}

impl Stream for Decoder {
    type Item = Result<Chunk, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            let Some(events) = &mut self.events else { return Poll::Ready(None) };
            match ready!(events.as_mut().poll_next(cx)) {
                Some(Ok(event)) if event["error"].is_null() => self.note(&event),
                Some(failed) => {
                    self.events = None;
                    let error = failed.map_or_else(failure::of, |event| in_band(&event));
                    return Poll::Ready(Some(Err(error)));
                }
                // Without a finish reason it was cut: the stream then ends without its last chunk.
                None => {
                    self.events = None;
                    let done = self.finish.take().map(Chunk::done);
                    self.chunks.extend(done);
                }
            }
        }
    }
}
