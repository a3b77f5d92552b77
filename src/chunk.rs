//! A response in pieces, and the accumulator that puts it together.

use std::fmt;

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, ProviderError};
use crate::rate_limits::RateLimits;
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason};
use crate::usage::Usage;

/// The stream a provider returns: chunks, the last of which is [`Chunk::Done`].
///
/// It does its work when polled and owns the upstream connection: dropping it cancels the
/// generation upstream.
pub type ChunkStream = BoxStream<'static, Result<Chunk, ProviderError>>;

/// One piece of a streaming response.
///
/// Deltas name the content part they extend by its `index`. Consecutive deltas of one index and
/// one kind form one [`Part`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Chunk {
    /// The server accepted the request. Not content: an error may still follow.
    Start(ChunkStart),
    /// More text.
    Text {
        /// The part it extends.
        index: u32,
        /// The text.
        text: String,
    },
    /// More reasoning.
    Reasoning {
        /// The part it extends.
        index: u32,
        /// Visible text, signature and encrypted data, each as far as this chunk carries it.
        delta: Reasoning,
    },
    /// More of a tool call.
    ToolCall {
        /// The part it extends.
        index: u32,
        /// The call's id and name in its first chunk, empty later; a piece of the arguments.
        delta: ToolCall,
    },
    /// A whole part that does not come in pieces.
    Part {
        /// Its place.
        index: u32,
        /// The part.
        part: Part,
    },
    /// A running count. Later counts replace earlier ones.
    Usage(Usage),
    /// The server is alive and has nothing to say.
    Heartbeat,
    /// The response is complete. Nothing follows.
    Done {
        /// Why the model stopped.
        finish: FinishReason,
    },
}

/// What a server says when it accepts a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChunkStart {
    /// The wire's id of the response.
    pub id: Option<String>,
    /// The model that answers, as the server names it.
    pub model: Option<String>,
    /// The server's id of the request, from its headers.
    pub request_id: Option<String>,
    /// The rate limits in the response's headers. Boxed: one chunk of a stream has them, and all
    /// chunks would carry the room.
    pub rate_limits: Option<Box<RateLimits>>,
}

impl ChunkStart {
    /// Nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Chunk {
    /// More text of the part `index`.
    pub fn text(index: u32, text: impl Into<String>) -> Self {
        Self::Text { index, text: text.into() }
    }

    /// The end of the response.
    #[must_use]
    pub const fn done(finish: FinishReason) -> Self {
        Self::Done { finish }
    }

    /// Whether the chunk carries content: text, reasoning, a tool call or a whole part. From the
    /// first such chunk on, a call is committed to the endpoint that sent it.
    #[must_use]
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text { text, .. } => !text.is_empty(),
            Self::Reasoning { delta, .. } => *delta != Reasoning::default(),
            Self::ToolCall { .. } | Self::Part { .. } => true,
            Self::Start(_) | Self::Usage(_) | Self::Heartbeat | Self::Done { .. } => false,
        }
    }

    /// Whether this is the terminal event.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// The text, when the chunk is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Bytes of content the chunk carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Reasoning { delta, .. } => {
                let Reasoning { text, signature, encrypted } = delta;
                let hidden = [signature, encrypted].into_iter().flatten();
                text.len() + hidden.map(String::len).sum::<usize>()
            }
            Self::ToolCall { delta, .. } => {
                delta.id.len() + delta.name.len() + delta.arguments.len()
            }
            Self::Part { part, .. } => part.bytes(),
            Self::Start(_) | Self::Usage(_) | Self::Heartbeat | Self::Done { .. } => 0,
        }
    }

    /// A whole response as the chunks of a stream that had nothing to wait for.
    pub fn from_response(response: ChatResponse) -> impl Iterator<Item = Self> {
        let ChatResponse { id, model, content, finish, usage, request_id, rate_limits, raw: _ } =
            response;
        let rate_limits = rate_limits.map(Box::new);
        let start = Self::Start(ChunkStart { id, model, request_id, rate_limits });
        let parts = content.into_iter().zip(0..).map(|(part, index)| Self::whole(index, part));
        std::iter::once(start).chain(parts).chain([Self::Usage(usage), Self::Done { finish }])
    }

    fn whole(index: u32, part: Part) -> Self {
        match part {
            Part::Text { text } => Self::Text { index, text },
            Part::Reasoning(delta) => Self::Reasoning { index, delta },
            Part::ToolCall(delta) => Self::ToolCall { index, delta },
            part => Self::Part { index, part },
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => write!(f, "{start:?}"),
            Self::Text { index, text } => write!(f, "Text({index}, <{} bytes>)", text.len()),
            Self::Reasoning { index, delta } => write!(f, "Reasoning({index}, {delta:?})"),
            Self::ToolCall { index, delta } => write!(f, "ToolCall({index}, {delta:?})"),
            Self::Part { index, part } => write!(f, "Part({index}, {part:?})"),
            Self::Usage(usage) => write!(f, "{usage:?}"),
            Self::Heartbeat => f.write_str("Heartbeat"),
            Self::Done { finish } => write!(f, "Done({finish:?})"),
        }
    }
}

/// How much an [`Accumulator`] takes before it calls the response oversized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ResponseBounds {
    /// Bytes of content in all. Default 32 MiB.
    pub bytes: usize,
    /// Parts. Default 4096.
    pub parts: usize,
}

impl Default for ResponseBounds {
    fn default() -> Self {
        Self { bytes: 32 << 20, parts: 4096 }
    }
}

/// Turns chunks into the response they are pieces of.
///
/// Pure: no clock, no waiting. Memory is the content received, within [`ResponseBounds`].
#[derive(Debug, Default)]
pub struct Accumulator {
    bounds: ResponseBounds,
    start: ChunkStart,
    parts: Vec<(u32, Part)>,
    bytes: usize,
    usage: Usage,
    finish: Option<FinishReason>,
}

impl Accumulator {
    /// An empty response that may grow to `bounds`.
    #[must_use]
    pub fn new(bounds: ResponseBounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when the response outgrows its bounds. What was added before stays.
    pub fn push(&mut self, chunk: &Chunk) -> Result<(), ProviderError> {
        self.reserve(chunk.bytes())?;
        match chunk {
            Chunk::Start(start) => self.start = start.clone(),
            Chunk::Text { index, text } => self.push_text(*index, text)?,
            Chunk::Reasoning { index, delta } => self.push_reasoning(*index, delta)?,
            Chunk::ToolCall { index, delta } => self.push_tool_call(*index, delta)?,
            Chunk::Part { index, part } => self.add(*index, part.clone())?,
            Chunk::Usage(usage) => self.usage.update(usage),
            Chunk::Heartbeat => {}
            Chunk::Done { finish } => self.finish = Some(finish.clone()),
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), ProviderError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bounds.bytes {
            return Err(oversized("bytes of content", self.bounds.bytes));
        }
        Ok(())
    }

    fn push_text(&mut self, index: u32, text: &str) -> Result<(), ProviderError> {
        match self.open(index) {
            Some(Part::Text { text: sofar }) => sofar.push_str(text),
            _ if text.is_empty() => {}
            _ => self.add(index, Part::text(text))?,
        }
        Ok(())
    }

    fn push_reasoning(&mut self, index: u32, delta: &Reasoning) -> Result<(), ProviderError> {
        match self.open(index) {
            Some(Part::Reasoning(sofar)) => {
                sofar.text.push_str(&delta.text);
                extend(&mut sofar.signature, delta.signature.as_deref());
                extend(&mut sofar.encrypted, delta.encrypted.as_deref());
            }
            _ => self.add(index, Part::Reasoning(delta.clone()))?,
        }
        Ok(())
    }

    fn push_tool_call(&mut self, index: u32, delta: &ToolCall) -> Result<(), ProviderError> {
        match self.open(index) {
            Some(Part::ToolCall(sofar)) => {
                sofar.id.push_str(&delta.id);
                sofar.name.push_str(&delta.name);
                sofar.arguments.push_str(&delta.arguments);
            }
            _ => self.add(index, Part::ToolCall(delta.clone()))?,
        }
        Ok(())
    }

    /// The part that deltas of `index` extend. Searched from the end: deltas nearly always extend
    /// the newest part, and a hostile index must not become an allocation.
    fn open(&mut self, index: u32) -> Option<&mut Part> {
        self.parts.iter_mut().rev().find(|(at, _)| *at == index).map(|(_, part)| part)
    }

    fn add(&mut self, index: u32, part: Part) -> Result<(), ProviderError> {
        if self.parts.len() >= self.bounds.parts {
            return Err(oversized("parts", self.bounds.parts));
        }
        self.parts.push((index, part));
        Ok(())
    }

    /// Whether the terminal event was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    /// Bytes of content received so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest count the server gave.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The rate limits the response's headers carried.
    #[must_use]
    pub fn rate_limits(&self) -> Option<RateLimits> {
        self.start.rate_limits.as_deref().copied()
    }

    /// The response, or as much of it as there is.
    ///
    /// A response that stopped in order to have tools called says so, even where the wire does not.
    #[must_use]
    pub fn into_response(self) -> ChatResponse {
        let Self { bounds: _, start, parts, bytes: _, usage, finish } = self;
        let ChunkStart { id, model, request_id, rate_limits } = start;
        let rate_limits = rate_limits.map(|limits| *limits);
        let content: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
        let finish = reconcile(finish, &content);
        ChatResponse { id, model, content, finish, usage, request_id, rate_limits, raw: None }
    }
}

/// Why a response of `content` stopped, where its server said `finish`.
pub(crate) fn reconcile(finish: Option<FinishReason>, content: &[Part]) -> FinishReason {
    match finish {
        Some(FinishReason::Stop)
            if content.iter().any(|part| matches!(part, Part::ToolCall(_))) =>
        {
            FinishReason::ToolCalls
        }
        Some(finish) => finish,
        None => FinishReason::Other("incomplete".into()),
    }
}

fn extend(sofar: &mut Option<String>, delta: Option<&str>) {
    if let Some(delta) = delta {
        sofar.get_or_insert_default().push_str(delta);
    }
}

fn oversized(what: &str, bound: usize) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, format!("the response has more than {bound} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accumulate(chunks: impl IntoIterator<Item = Chunk>) -> ChatResponse {
        let mut accumulator = Accumulator::default();
        for chunk in chunks {
            accumulator.push(&chunk).unwrap();
        }
        accumulator.into_response()
    }

    #[test]
    fn interleaved_tool_calls_come_apart() {
        let call = |index, id: &str, name: &str, arguments: &str| Chunk::ToolCall {
            index,
            delta: ToolCall::new(id, name, arguments),
        };
        let response = accumulate([
            Chunk::text(0, "looking"),
            call(1, "c1", "find", "{\"q\""),
            call(2, "c2", "read", "{}"),
            call(1, "", "", ":1}"),
            Chunk::done(FinishReason::Stop),
        ]);
        let calls: Vec<_> = response.tool_calls().cloned().collect();
        assert_eq!(
            calls,
            [ToolCall::new("c1", "find", "{\"q\":1}"), ToolCall::new("c2", "read", "{}")]
        );
        assert_eq!(response.finish, FinishReason::ToolCalls);
    }

    #[test]
    fn signatures_stay_with_their_reasoning() {
        let delta = |delta| Chunk::Reasoning { index: 0, delta };
        let response = accumulate([
            delta(Reasoning::new("so ")),
            delta(Reasoning::new("it is")),
            delta(Reasoning::default().with_signature("s1")),
            Chunk::text(1, "yes"),
            Chunk::done(FinishReason::Stop),
        ]);
        assert_eq!(
            response.content,
            [Part::Reasoning(Reasoning::new("so it is").with_signature("s1")), Part::text("yes")]
        );
    }

    #[test]
    fn a_response_that_outgrows_its_bounds_is_malformed() {
        let mut bytes = Accumulator::new(ResponseBounds { bytes: 4, parts: 9 });
        assert!(bytes.push(&Chunk::text(0, "abcd")).is_ok());
        assert_eq!(bytes.push(&Chunk::text(0, "e")).unwrap_err().kind(), ErrorKind::Malformed);

        let mut parts = Accumulator::new(ResponseBounds { bytes: 99, parts: 1 });
        assert!(parts.push(&Chunk::text(u32::MAX, "a")).is_ok());
        assert!(parts.push(&Chunk::text(0, "b")).is_err());
    }

    #[test]
    fn a_misspelt_bound_is_refused() {
        let read = |text| serde_json::from_str::<ResponseBounds>(text);
        assert_eq!(read(r#"{"bytes":4}"#).unwrap(), ResponseBounds { bytes: 4, parts: 4096 });
        assert!(read(r#"{"byte":4}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_split_of_a_text_gives_the_same_response(text in ".{0,60}", cuts in prop::collection::vec(0usize..60, 0..8)) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&at| text.is_char_boundary(at)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| Chunk::text(0, &text[pair[0]..pair[1]]));
            let whole: Vec<Part> = if text.is_empty() { vec![] } else { vec![Part::text(&text)] };
            prop_assert_eq!(accumulate(pieces.chain([Chunk::done(FinishReason::Stop)])).content, whole);
        }
    }

    #[test]
    fn a_whole_response_survives_being_cut_into_chunks() {
        let response = ChatResponse::new(
            [Part::text("a"), Part::image_url("u"), Part::ToolCall(ToolCall::new("c", "n", "{}"))],
            FinishReason::ToolCalls,
        )
        .with_usage(Usage::counted(1, 2))
        .with_model("m");
        assert_eq!(accumulate(Chunk::from_response(response.clone())), response);
    }
}
