//! What may be served from a cache, and what may be kept in one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::options::{CacheControl, CallOptions};
use crate::request::{ChatRequest, MediaSource, Part, Role};
use crate::response::{ChatResponse, FinishReason};

/// Why the cache has nothing to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bypass {
    /// The call asked for it.
    Asked,
    /// The call wants the wire's own JSON, which is not kept.
    RawWanted,
    /// The request samples at a temperature above the policy's: it wants to be surprised.
    Temperature,
    /// The request wants several answers (`n` or `best_of` in its extra fields).
    SeveralAnswers,
    /// The turn is about what tools returned, and that is of this moment.
    ToolResults,
    /// The conversation does not end with something a user said.
    NoQuestion,
    /// The request points at content elsewhere (by address or by id), which may change.
    ContentElsewhere,
    /// The request is larger than the policy allows.
    TooLarge,
}

impl Bypass {
    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::RawWanted => "raw_wanted",
            Self::Temperature => "temperature",
            Self::SeveralAnswers => "several_answers",
            Self::ToolResults => "tool_results",
            Self::NoQuestion => "no_question",
            Self::ContentElsewhere => "content_elsewhere",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Why an answer was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotStored {
    /// The call only reads.
    #[error("the call only reads the cache")]
    ReadOnly,
    /// The answer was cut by its token bound.
    #[error("the answer was cut at its token bound")]
    Truncated,
    /// The answer ended without its terminal event, or for a reason this crate has no word for.
    #[error("the answer is not known to be complete")]
    Incomplete,
    /// A content filter cut or refused the answer.
    #[error("the answer was refused by a content filter")]
    Refused,
    /// The answer calls tools, and the policy keeps no such answers.
    #[error("the answer calls tools")]
    ToolCalls,
    /// The answer says nothing.
    #[error("the answer is empty")]
    Empty,
    /// The answer is larger than the policy allows, or than the cache.
    #[error("the answer is too large")]
    TooLarge,
}

/// What a cache takes. Whatever is not taken costs nothing but this look at it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdmissionPolicy {
    /// The highest sampling temperature of a request whose answer may be used again. A request that
    /// leaves the temperature to the server is taken. Default 0.3.
    pub most_temperature: f64,
    /// The largest request, in bytes of content. Default 1 MiB.
    pub most_request_bytes: usize,
    /// The largest answer, in bytes of memory. Default 1 MiB.
    pub most_answer_bytes: usize,
    /// Whether answers that call tools are kept. Default no: using one again repeats the call.
    pub tool_calls: bool,
}

impl Default for AdmissionPolicy {
    fn default() -> Self {
        Self {
            most_temperature: 0.3,
            most_request_bytes: 1 << 20,
            most_answer_bytes: 1 << 20,
            tool_calls: false,
        }
    }
}

impl AdmissionPolicy {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the highest temperature.
    #[must_use]
    pub const fn most_temperature(mut self, temperature: f64) -> Self {
        self.most_temperature = temperature;
        self
    }

    /// With the largest request, in bytes of content.
    #[must_use]
    pub const fn most_request_bytes(mut self, bytes: usize) -> Self {
        self.most_request_bytes = bytes;
        self
    }

    /// With the largest answer, in bytes of memory.
    #[must_use]
    pub const fn most_answer_bytes(mut self, bytes: usize) -> Self {
        self.most_answer_bytes = bytes;
        self
    }

    /// With answers that call tools.
    #[must_use]
    pub const fn tool_calls(mut self, kept: bool) -> Self {
        self.tool_calls = kept;
        self
    }

    /// Why the cache leaves a call alone; `None` where it does not. Linear in the number of parts.
    #[must_use]
    pub fn bypass(&self, request: &ChatRequest, options: &CallOptions) -> Option<Bypass> {
        if options.cache == CacheControl::Bypass {
            return Some(Bypass::Asked);
        }
        if options.keep_raw {
            return Some(Bypass::RawWanted);
        }
        // A temperature that is not a number is above any.
        let cool = |temperature: f64| temperature <= self.most_temperature;
        if !request.sampling.temperature.is_none_or(cool) {
            return Some(Bypass::Temperature);
        }
        if ["n", "best_of"].iter().any(|name| wants_several(request, name)) {
            return Some(Bypass::SeveralAnswers);
        }
        self.bypass_conversation(request)
    }

    fn bypass_conversation(&self, request: &ChatRequest) -> Option<Bypass> {
        let Some(last) = request.messages.last() else { return Some(Bypass::NoQuestion) };
        let returned = |part: &Part| matches!(part, Part::ToolResult { .. });
        if last.role == Role::Tool || last.content.iter().any(returned) {
            return Some(Bypass::ToolResults);
        }
        if last.role != Role::User || last.content.is_empty() {
            return Some(Bypass::NoQuestion);
        }
        let mut parts = request.messages.iter().flat_map(|message| &message.content);
        if parts.any(is_elsewhere) {
            return Some(Bypass::ContentElsewhere);
        }
        (request.content_bytes() > self.most_request_bytes).then_some(Bypass::TooLarge)
    }

    /// Why an answer of `bytes` bytes of memory is not kept.
    ///
    /// # Errors
    /// The reason.
    pub fn admit(&self, answer: &ChatResponse, bytes: usize) -> Result<(), NotStored> {
        match answer.finish {
            FinishReason::Stop => {}
            FinishReason::ToolCalls if self.tool_calls => {}
            FinishReason::ToolCalls => return Err(NotStored::ToolCalls),
            FinishReason::Length => return Err(NotStored::Truncated),
            FinishReason::ContentFilter => return Err(NotStored::Refused),
            FinishReason::Other(_) => return Err(NotStored::Incomplete),
        }
        // Some wires say "stop" although tools are to be called.
        if !self.tool_calls && answer.tool_calls().next().is_some() {
            return Err(NotStored::ToolCalls);
        }
        if !answer.content.iter().any(says_something) {
            return Err(NotStored::Empty);
        }
        if bytes > self.most_answer_bytes {
            return Err(NotStored::TooLarge);
        }
        Ok(())
    }
}

fn wants_several(request: &ChatRequest, name: &str) -> bool {
    request.extra.get(name).is_some_and(|n| n.as_u64() != Some(1))
}

fn is_elsewhere(part: &Part) -> bool {
    match part {
        Part::Image { source, .. } | Part::File { source, .. } => {
            !matches!(source, MediaSource::Base64 { .. })
        }
        Part::ToolResult { content, .. } => content.iter().any(is_elsewhere),
        _ => false,
    }
}

/// Hidden reasoning alone is no answer.
fn says_something(part: &Part) -> bool {
    match part {
        Part::Text { text } => !text.trim().is_empty(),
        Part::Reasoning(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Message, Reasoning, ToolCall};

    fn bypass(request: ChatRequest) -> Option<Bypass> {
        AdmissionPolicy::new().bypass(&request, &CallOptions::new())
    }

    fn ask() -> ChatRequest {
        ChatRequest::new("m").user("q")
    }

    #[test]
    fn what_a_call_asks_for_stands_above_all() {
        let policy = AdmissionPolicy::new();
        let mut options = CallOptions::new();
        options.cache = CacheControl::Bypass;
        assert_eq!(policy.bypass(&ask(), &options), Some(Bypass::Asked));
        options = CallOptions { keep_raw: true, ..CallOptions::new() };
        assert_eq!(policy.bypass(&ask(), &options), Some(Bypass::RawWanted));
    }

    #[test]
    fn requests_that_want_to_be_surprised_are_left_alone() {
        assert_eq!(bypass(ask()), None);
        assert_eq!(bypass(ask().temperature(0.3)), None);
        assert_eq!(bypass(ask().temperature(0.31)), Some(Bypass::Temperature));
        assert_eq!(bypass(ask().temperature(f64::NAN)), Some(Bypass::Temperature));
        assert_eq!(bypass(ask().extra("n", 1)), None);
        assert_eq!(bypass(ask().extra("n", 2)), Some(Bypass::SeveralAnswers));
        assert_eq!(bypass(ask().extra("best_of", 2)), Some(Bypass::SeveralAnswers));
    }

    #[test]
    fn a_turn_that_is_not_a_users_question_is_left_alone() {
        let tool = ask().message(Message::tool_result("c", "12 degrees"));
        assert_eq!(bypass(tool), Some(Bypass::ToolResults));
        let inside = Message::new(Role::User, [Part::tool_result("c", "x"), Part::text("and?")]);
        assert_eq!(bypass(ask().message(inside)), Some(Bypass::ToolResults));
        assert_eq!(bypass(ask().assistant("It is")), Some(Bypass::NoQuestion));
        assert_eq!(bypass(ChatRequest::new("m")), Some(Bypass::NoQuestion));
        assert_eq!(bypass(ask().message(Message::new(Role::User, []))), Some(Bypass::NoQuestion));
        let settled = ask().message(Message::tool_result("c", "x")).assistant("so").user("next?");
        assert_eq!(bypass(settled), None);
    }

    #[test]
    fn content_that_may_change_is_left_alone_wherever_it_stands() {
        let seen = |part: Part| ask().message(Message::user("see").part(part)).user("what is it?");
        assert_eq!(bypass(seen(Part::image_url("u"))), Some(Bypass::ContentElsewhere));
        let nested = Part::ToolResult {
            call_id: "c".into(),
            content: vec![Part::image_url("u")],
            is_error: false,
        };
        assert_eq!(bypass(seen(nested)), Some(Bypass::ContentElsewhere));
        assert_eq!(bypass(seen(Part::image_base64("image/png", "AAAA"))), None);
    }

    #[test]
    fn a_large_request_is_left_alone() {
        let small = AdmissionPolicy::new().most_request_bytes(3);
        let of = |text: &str| small.bypass(&text.into(), &CallOptions::new());
        assert_eq!(of("abc"), None);
        assert_eq!(of("abcd"), Some(Bypass::TooLarge));
    }

    #[test]
    fn only_complete_answers_that_say_something_are_kept() {
        let policy = AdmissionPolicy::new();
        let of = |finish| ChatResponse::new([Part::text("x")], finish);
        let verdict = |answer: &ChatResponse| policy.admit(answer, 1);
        assert_eq!(verdict(&of(FinishReason::Stop)), Ok(()));
        assert_eq!(verdict(&of(FinishReason::Length)), Err(NotStored::Truncated));
        assert_eq!(verdict(&of(FinishReason::ContentFilter)), Err(NotStored::Refused));
        let other = of(FinishReason::Other("incomplete".into()));
        assert_eq!(verdict(&other), Err(NotStored::Incomplete));
        let thought = Part::Reasoning(Reasoning::new("hm"));
        let silent = ChatResponse::new([thought, Part::text(" ")], FinishReason::Stop);
        assert_eq!(verdict(&silent), Err(NotStored::Empty));
        let large = policy.admit(&of(FinishReason::Stop), policy.most_answer_bytes + 1);
        assert_eq!(large, Err(NotStored::TooLarge));
    }

    #[test]
    fn answers_that_call_tools_are_kept_only_when_asked() {
        let call = || [Part::ToolCall(ToolCall::new("c", "find", "{}"))];
        for finish in [FinishReason::ToolCalls, FinishReason::Stop] {
            let answer = ChatResponse::new(call(), finish);
            assert_eq!(AdmissionPolicy::new().admit(&answer, 1), Err(NotStored::ToolCalls));
            assert_eq!(AdmissionPolicy::new().tool_calls(true).admit(&answer, 1), Ok(()));
        }
    }
}
