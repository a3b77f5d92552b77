//! Streamed answers. Pure.

use std::collections::VecDeque;

use crate::chunk::{Chunk, ChunkStart};
use crate::error::ProviderError;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::sse::Event;
use crate::providers::openai::decode;
use crate::providers::openai::wire::{self, Answer, Call, MOST_CALLS, Spoken};
use crate::request::{Reasoning, ToolCall};
use crate::response::FinishReason;

/// Decodes one stream.
///
/// The wire tells text, reasoning and tool calls apart by their field; here each is a part with an
/// index of its own, given in the order in which they first appear.
///
/// The finish reason comes before the usage, and `[DONE]` after both. The answer is over at
/// `[DONE]`, or where a server omits that, when the body ends after a finish reason.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    parts: u32,
    text: Option<u32>,
    reasoning: Option<u32>,
    calls: Vec<Open>,
    refused: bool,
    finish: Option<FinishReason>,
}

/// A tool call that may still grow.
#[derive(Debug)]
struct Open {
    /// The wire's index for it, if it gave one.
    index: Option<u64>,
    part: u32,
    /// The call's id, once it was given.
    id: String,
    named: bool,
}

impl StreamDecoder for Decoder {
    fn event(
        &mut self,
        event: &Event<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        match event.data.trim_ascii() {
            "" => chunks.push_back(Chunk::Heartbeat),
            "[DONE]" => {
                let finish = self.finish.take().unwrap_or_else(wire::unspecified);
                chunks.push_back(self.done(finish));
            }
            data => self.answer(Answer::parse(data.as_bytes())?, chunks)?,
        }
        Ok(())
    }

    fn end(&mut self, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        if let Some(finish) = self.finish.take() {
            chunks.push_back(self.done(finish));
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        chunks.extend(Chunk::from_response(decode::chat(body, false)?));
        Ok(())
    }
}

impl Decoder {
    fn answer(
        &mut self,
        mut answer: Answer<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        if let Some(failure) = answer.take_failure() {
            return Err(failure);
        }
        if !std::mem::replace(&mut self.started, true) {
            let (id, model) = (wire::said(answer.id.take()), wire::said(answer.model.take()));
            chunks.push_back(Chunk::Start(ChunkStart { id, model, ..ChunkStart::new() }));
        }
        let mut usage = answer.take_usage();
        if let Some(mut choice) = answer.take_choice() {
            usage = usage.or_else(|| choice.take_usage());
            self.finish = choice.finish().or_else(|| self.finish.take());
            self.spoken(choice.take_spoken(), chunks)?;
        }
        chunks.extend(usage.map(Chunk::Usage));
        Ok(())
    }

    fn spoken(
        &mut self,
        mut spoken: Spoken<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        if let Some(text) = spoken.take_reasoning() {
            let index = place(&mut self.reasoning, &mut self.parts);
            chunks.push_back(Chunk::Reasoning { index, delta: Reasoning::new(text) });
        }
        if let Some(text) = spoken.take_text() {
            chunks.push_back(Chunk::text(place(&mut self.text, &mut self.parts), text));
        }
        if let Some(text) = spoken.take_refusal() {
            self.refused = true;
            chunks.push_back(Chunk::text(place(&mut self.text, &mut self.parts), text));
        }
        for call in spoken.take_calls()? {
            chunks.push_back(self.call(&call)?);
        }
        Ok(())
    }

    /// Some servers repeat a call's id and name in every piece; both are passed on once.
    fn call(&mut self, call: &Call<'_>) -> Result<Chunk, ProviderError> {
        let arguments = call.arguments()?;
        let at = match self.find(call) {
            Some(at) => at,
            None => self.open(call)?,
        };
        let open = &mut self.calls[at];
        let mut delta = ToolCall::new("", "", arguments);
        if open.id.is_empty() {
            open.id.push_str(call.id());
            delta.id.push_str(call.id());
        }
        if !open.named {
            open.named = !call.name().is_empty();
            delta.name.push_str(call.name());
        }
        Ok(Chunk::ToolCall { index: open.part, delta })
    }

    /// The call that a piece extends: the newest with its index, or the newest of all where the
    /// piece has none. A new id together with a name begins a new call even so, since some servers
    /// number every call 0, and others give every piece a new id.
    fn find(&self, call: &Call<'_>) -> Option<usize> {
        let index = call.index;
        let at = self.calls.iter().rposition(|open| index.is_none() || open.index == index)?;
        let open = &self.calls[at];
        let another = !call.id().is_empty() && open.id != call.id() && !open.id.is_empty();
        let begins = another && !call.name().is_empty();
        (!begins).then_some(at)
    }

    fn open(&mut self, call: &Call<'_>) -> Result<usize, ProviderError> {
        if self.calls.len() >= MOST_CALLS {
            return Err(wire::too_many_calls());
        }
        let part = place(&mut None, &mut self.parts);
        self.calls.push(Open { index: call.index, part, id: String::new(), named: false });
        Ok(self.calls.len() - 1)
    }

    fn done(&self, finish: FinishReason) -> Chunk {
        let finish = if self.refused { wire::refused(finish) } else { finish };
        match finish {
            FinishReason::Stop if !self.calls.is_empty() => Chunk::done(FinishReason::ToolCalls),
            finish => Chunk::done(finish),
        }
    }
}

/// The index of a part, the next free one when it first appears.
fn place(part: &mut Option<u32>, parts: &mut u32) -> u32 {
    *part.get_or_insert_with(|| {
        let next = *parts;
        *parts += 1;
        next
    })
}

#[cfg(test)]
mod tests;
