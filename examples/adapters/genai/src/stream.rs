//! The SDK's events as chunks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use evenkeel::request::Reasoning;
use evenkeel::{Chunk, ProviderError};
use futures::{Stream, StreamExt as _};
use genai::chat::{ChatStream, ChatStreamEvent as Event, StreamEnd};

use crate::answer::{finish, tool_call, usage};
use crate::failure;

/// The parts that an answer has, in their order; tool calls have those behind them.
const THOUGHT: u32 = 0;
const TEXT: u32 = 1;
const FIRST_CALL: u32 = 2;

/// Pulls events and hands out what is in them.
pub(crate) struct Decoder {
    events: Option<ChatStream>,
    chunks: VecDeque<Chunk>,
}

impl Decoder {
    /// The chunks of `events`, the first of which was taken out.
    pub(crate) fn new(events: ChatStream, first: Option<Event>) -> Self {
        let mut decoder = Self { events: Some(events), chunks: VecDeque::new() };
        if let Some(event) = first {
            decoder.note(event);
        }
        decoder
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Start => self.chunks.push_back(Chunk::Start(Default::default())),
            Event::Chunk(piece) => self.chunks.push_back(Chunk::text(TEXT, piece.content)),
            Event::ReasoningChunk(piece) => self.think(Reasoning::new(piece.content)),
            Event::ThoughtSignatureChunk(piece) => {
                self.think(Reasoning::default().with_signature(piece.content));
            }
            Event::ToolCallChunk(_) | Event::Heartbeat => self.chunks.push_back(Chunk::Heartbeat),
            Event::End(end) => self.end(end),
        }
    }

    fn think(&mut self, delta: Reasoning) {
        self.chunks.push_back(Chunk::Reasoning { index: THOUGHT, delta });
    }

    /// The SDK ends a stream only at the vendor's own last event; one that was cut has none.
    fn end(&mut self, mut end: StreamEnd) {
        let (counted, reason) = (end.captured_usage.take(), end.captured_stop_reason.take());
        let calls = end.captured_into_tool_calls().into_iter().flatten();
        let calls = (FIRST_CALL..).zip(calls);
        self.chunks
            .extend(calls.map(|(index, call)| Chunk::ToolCall { index, delta: tool_call(call) }));
        self.chunks.extend(counted.map(|counted| Chunk::Usage(usage(&counted))));
        self.chunks.push_back(Chunk::done(finish(reason)));
        self.events = None;
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
            match ready!(events.poll_next_unpin(cx)) {
                Some(Ok(event)) => self.note(event),
                Some(Err(error)) => {
                    self.events = None;
                    return Poll::Ready(Some(Err(failure::of(&error))));
                }
                None => self.events = None,
            }
        }
    }
}
