//! What a provider answered, and what a call returns.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rate_limits::RateLimits;
use crate::report::CallReport;
use crate::request::{Message, Part, Role, ToolCall, joined_text};
use crate::usage::Usage;

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was done, or met a stop string.
    Stop,
    /// It met the token bound.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// A content filter cut it off.
    ContentFilter,
    /// Something this crate has no word for, in the wire's own words.
    Other(String),
}

/// A provider's whole answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The wire's id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The model that answered, as the server names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The answer, in the order the model gave it.
    pub content: Vec<Part>,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// What it took.
    #[serde(default)]
    pub usage: Usage,
    /// The server's id of the request, from its headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The rate limits in the response's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// The wire's own JSON, when the call asked for it and the answer did not stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl ChatResponse {
    /// An answer of `content`.
    pub fn new(content: impl IntoIterator<Item = Part>, finish: FinishReason) -> Self {
        Self {
            id: None,
            model: None,
            content: content.into_iter().collect(),
            finish,
            usage: Usage::new(),
            request_id: None,
            rate_limits: None,
            raw: None,
        }
    }

    /// A finished textual answer.
    pub fn text_only(text: impl Into<String>) -> Self {
        Self::new([Part::text(text)], FinishReason::Stop)
    }

    /// With what it took.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// With the model's name.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The text of the answer, its text parts joined.
    #[must_use]
    pub fn text(&self) -> String {
        joined_text(&self.content)
    }

    /// Bytes of its content, in all parts.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.content.iter().map(Part::bytes).sum()
    }

    /// The tools the model wants called, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The answer as the next turn of the conversation, reasoning and signatures included.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message::new(Role::Assistant, self.content.iter().cloned())
    }
}

impl fmt::Debug for ChatResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, model, content, finish, usage, request_id, rate_limits, raw } = self;
        f.debug_struct("ChatResponse")
            .field("id", id)
            .field("model", model)
            .field("content", content)
            .field("finish", finish)
            .field("usage", usage)
            .field("request_id", request_id)
            .field("rate_limits", rate_limits)
            .field("raw", &raw.is_some())
            .finish()
    }
}

/// What a call returns: the answer, and the account of how it came about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// The answer, which a cache may be serving to others as well: shared, so that a hit copies
    /// nothing of it. [`into_response`](Self::into_response) gives one's own.
    pub response: Arc<ChatResponse>,
    /// Who served it, what was tried, and how long it took.
    pub report: CallReport,
}

impl Completion {
    /// `response`, which came about as `report` says.
    #[must_use]
    pub fn new(response: impl Into<Arc<ChatResponse>>, report: CallReport) -> Self {
        Self { response: response.into(), report }
    }

    /// The answer as one's own. Copies it where others have it too.
    #[must_use]
    pub fn into_response(self) -> ChatResponse {
        Arc::unwrap_or_clone(self.response)
    }

    /// The text of the answer.
    #[must_use]
    pub fn text(&self) -> String {
        self.response.text()
    }
}
