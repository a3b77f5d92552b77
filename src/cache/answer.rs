//! What is stored: an answer, and what it was worth.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::{MediaSource, Part};
use crate::response::ChatResponse;
use crate::usage::Cost;

/// A complete answer that is kept, shared by everybody it is served to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredAnswer {
    /// The answer, without what belonged to the call that fetched it: rate limits and raw JSON.
    pub response: Arc<ChatResponse>,
    /// What it cost to fetch, and what each hit saves; `None` where no price is known.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// From the call that fetched it to its first content, where it streamed.
    #[serde(default)]
    pub ttft: Option<Duration>,
    /// From the call that fetched it to its end; `None` where nobody said.
    #[serde(default)]
    pub total: Option<Duration>,
}

impl StoredAnswer {
    /// An answer of unknown worth. One that is shared is copied only where something has to be taken
    /// out of it.
    #[must_use]
    pub fn new(response: impl Into<Arc<ChatResponse>>) -> Self {
        let mut response = response.into();
        if response.rate_limits.is_some() || response.raw.is_some() {
            let own = Arc::make_mut(&mut response);
            (own.rate_limits, own.raw) = (None, None);
        }
        Self { response, cost: None, ttft: None, total: None }
    }

    /// With what it cost to fetch.
    #[must_use]
    pub fn with_cost(mut self, cost: Option<Cost>) -> Self {
        self.cost = cost;
        self
    }

    /// With how long it took to fetch.
    #[must_use]
    pub fn with_timing(mut self, ttft: Option<Duration>, total: Duration) -> Self {
        self.ttft = ttft;
        self.total = Some(total);
        self
    }

    /// Bytes of memory, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ChatResponse { id, model, content, request_id, .. } = &*self.response;
        let names = [id, model, request_id].into_iter().flatten().map(String::capacity);
        // With the two counts of an `Arc`.
        let shells = size_of::<Self>() + size_of::<ChatResponse>() + 2 * size_of::<usize>();
        shells + names.sum::<usize>() + content.iter().map(part_bytes).sum::<usize>()
    }
}

impl From<ChatResponse> for StoredAnswer {
    fn from(response: ChatResponse) -> Self {
        Self::new(response)
    }
}

fn part_bytes(part: &Part) -> usize {
    let heap = match part {
        Part::Text { text } => text.capacity(),
        Part::Image { source, detail } => media_bytes(source) + capacity(detail.as_ref()),
        Part::File { source, name } => media_bytes(source) + capacity(name.as_ref()),
        Part::ToolCall(call) => {
            call.id.capacity() + call.name.capacity() + call.arguments.capacity()
        }
        Part::ToolResult { call_id, content, .. } => {
            call_id.capacity() + content.iter().map(part_bytes).sum::<usize>()
        }
        Part::Reasoning(reasoning) => {
            reasoning.text.capacity()
                + capacity(reasoning.signature.as_ref())
                + capacity(reasoning.encrypted.as_ref())
        }
        Part::Opaque { provider, value } => provider.capacity() + json_bytes(value),
    };
    size_of::<Part>() + heap
}

fn media_bytes(source: &MediaSource) -> usize {
    match source {
        MediaSource::Url(text) | MediaSource::Id(text) => text.capacity(),
        MediaSource::Base64 { media_type, data } => media_type.capacity() + data.capacity(),
    }
}

fn capacity(text: Option<&String>) -> usize {
    text.map_or(0, String::capacity)
}

/// A tree's nodes cost far more than their text, so each is counted.
fn json_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    /// A share of a map's node: three words of name, three of pointers and slack.
    const ENTRY: usize = 64;
    let heap = match value {
        Value::String(text) => text.capacity(),
        Value::Array(items) => items.iter().map(json_bytes).sum(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| ENTRY + name.capacity() + json_bytes(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + heap
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_belonged_to_the_fetching_call_is_not_kept() {
        let mut response = ChatResponse::text_only("x");
        response.raw = Some(json!({"a": 1}));
        assert_eq!(StoredAnswer::new(response).response.raw, None);
    }

    #[test]
    fn every_kind_of_content_is_counted() {
        let long = || "x".repeat(1_000);
        let parts = [
            Part::text(long()),
            Part::image_base64("image/png", long()),
            Part::tool_result("c", long()),
            Part::Reasoning(crate::request::Reasoning::encrypted(long())),
            Part::Opaque { provider: "p".into(), value: json!([{ "k": long() }]) },
        ];
        for part in parts {
            let response = ChatResponse::new([part], crate::response::FinishReason::Stop);
            let answer = StoredAnswer::new(response);
            assert!(answer.bytes() >= 1_000, "{answer:?}");
        }
    }
}
