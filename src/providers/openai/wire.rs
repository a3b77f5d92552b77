//! What this wire answers, as loosely as servers write it.
//!
//! Only the frame has to be right. A server that puts something else in a field loses that field and
//! not the answer; unknown fields are ignored.

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess};
use serde_json::value::RawValue;

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::classify::Told;
use crate::providers::http::lenient::{Each, Element, Lenient, fields, lenient};
use crate::response::FinishReason;
use crate::usage::Usage;

/// More calls in one answer are nonsense; the bound keeps looking one up cheap, and what a call
/// takes in memory, many times its few bytes, within a constant.
pub(super) const MOST_CALLS: usize = 256;

/// A whole answer, or one event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub model: Option<String>,
    #[serde(borrow)]
    choices: Option<Choices<'a>>,
    #[serde(deserialize_with = "lenient")]
    usage: Option<Counts>,
    /// Where Groq puts the usage of a stream.
    #[serde(deserialize_with = "lenient")]
    x_groq: Option<Groq>,
    #[serde(deserialize_with = "lenient")]
    error: Option<Told>,
    /// Where some servers put an error that they do not call one.
    #[serde(deserialize_with = "lenient")]
    message: Option<String>,
}

/// The first choice; only one is ever asked for.
struct Choices<'a>(Option<Choice<'a>>);

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    #[serde(deserialize_with = "lenient")]
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<Spoken<'a>>,
    #[serde(borrow)]
    delta: Option<Spoken<'a>>,
    #[serde(deserialize_with = "lenient")]
    finish_reason: Option<String>,
    /// Where Moonshot puts the usage of a stream.
    #[serde(deserialize_with = "lenient")]
    usage: Option<Counts>,
}

/// What the model said: all of it, or a piece.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken<'a> {
    #[serde(deserialize_with = "lenient")]
    content: Content,
    #[serde(deserialize_with = "lenient")]
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "lenient")]
    reasoning: Option<String>,
    #[serde(deserialize_with = "lenient")]
    refusal: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Calls<'a>>,
}

/// A text, or a list of parts. Mistral lists thoughts among them.
#[derive(Default)]
struct Content {
    text: String,
    thinking: String,
}

/// One part of a listed content.
#[derive(Default)]
struct Listed {
    kind: Option<String>,
    text: Inner,
    thinking: Inner,
}

fields!(Listed: kind = "type", text, thinking);

/// The text inside a part: as it stands, or as a list of text parts.
#[derive(Default)]
struct Inner(String);

/// Whatever has a text.
#[derive(Default)]
struct Texted {
    text: Option<String>,
}

fields!(Texted: text);

/// The calls; one more than may be shows that there are too many.
#[derive(Default)]
struct Calls<'a>(Vec<Call<'a>>);

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Call<'a> {
    #[serde(deserialize_with = "lenient")]
    pub index: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Default)]
struct Groq {
    usage: Option<Counts>,
}

fields!(Groq: usage);

/// The wire's token counts.
#[derive(Default)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    prompt_cache_hit_tokens: Option<u64>,
    completion_tokens_details: Option<Details>,
}

fields!(Counts:
    prompt_tokens,
    completion_tokens,
    prompt_tokens_details,
    prompt_cache_hit_tokens,
    completion_tokens_details,
);

#[derive(Default)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

fields!(Details: cached_tokens, cache_write_tokens, reasoning_tokens);

impl<'a> Answer<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, ProviderError> {
        serde_json::from_slice(json).map_err(|error| malformed(&error))
    }

    /// The error the answer is, if it is one.
    pub(super) fn take_failure(&mut self) -> Option<ProviderError> {
        if let Some(error) = self.error.take() {
            return Some(error.in_answer());
        }
        let sentence = self.message.take().filter(|_| self.choices.is_none())?;
        Some(Told::sentence(sentence).in_answer())
    }

    pub(super) fn take_choice(&mut self) -> Option<Choice<'a>> {
        self.choices.take()?.0
    }

    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let elsewhere = || self.x_groq.take()?.usage;
        self.usage.take().or_else(elsewhere).map(Into::into)
    }
}

impl<'a> Choice<'a> {
    pub(super) fn take_spoken(&mut self) -> Spoken<'a> {
        self.delta.take().or_else(|| self.message.take()).unwrap_or_default()
    }

    pub(super) fn finish(&self) -> Option<FinishReason> {
        self.finish_reason.as_deref().filter(|reason| !reason.is_empty()).map(finish)
    }

    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        self.usage.take().map(Into::into)
    }
}

impl<'a> Spoken<'a> {
    pub(super) fn take_text(&mut self) -> Option<String> {
        said(Some(std::mem::take(&mut self.content.text)))
    }

    pub(super) fn take_reasoning(&mut self) -> Option<String> {
        let listed = Some(std::mem::take(&mut self.content.thinking));
        let fields = [self.reasoning_content.take(), self.reasoning.take(), listed];
        fields.into_iter().find_map(said)
    }

    pub(super) fn take_refusal(&mut self) -> Option<String> {
        said(self.refusal.take())
    }

    pub(super) fn take_calls(&mut self) -> Result<Vec<Call<'a>>, ProviderError> {
        let calls = self.tool_calls.take().unwrap_or_default().0;
        if calls.len() > MOST_CALLS { Err(too_many_calls()) } else { Ok(calls) }
    }
}

impl Call<'_> {
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.function.as_ref().and_then(|function| function.name.as_deref()).unwrap_or_default()
    }

    /// The arguments as JSON text; some servers send the JSON itself.
    pub(super) fn arguments(&self) -> Result<String, ProviderError> {
        let arguments = self.function.as_ref().and_then(|function| function.arguments);
        match arguments.map_or("", RawValue::get) {
            text if text.starts_with('"') => {
                serde_json::from_str(text).map_err(|error| malformed(&error))
            }
            json => Ok(json.to_owned()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut first = None;
        deserializer.deserialize_seq(Each::new(|choice: Choice<'a>| {
            if first.is_none() && choice.index.unwrap_or(0) == 0 {
                first = Some(choice);
            }
            Ok::<_, &str>(())
        }))?;
        Ok(Self(first))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Calls<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut calls = Vec::new();
        deserializer.deserialize_seq(Each::new(|call: Call<'a>| {
            if calls.len() <= MOST_CALLS {
                calls.push(call);
            }
            Ok::<_, &str>(())
        }))?;
        Ok(Self(calls))
    }
}

impl<'de> Lenient<'de> for Content {
    fn of_text(text: &str) -> Self {
        Self { text: text.to_owned(), thinking: String::new() }
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut content = Self::default();
        while let Some(Element(part)) = list.next_element::<Element<Option<Listed>>>()? {
            let part = part.unwrap_or_default();
            match part.kind.as_deref() {
                Some("text") => content.text.push_str(&part.text.0),
                Some("thinking") => content.thinking.push_str(&part.thinking.0),
                _ => {}
            }
        }
        Ok(content)
    }
}

impl<'de> Lenient<'de> for Inner {
    fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut inner = String::new();
        while let Some(Element(part)) = list.next_element::<Element<Option<Texted>>>()? {
            inner.push_str(&part.and_then(|part| part.text).unwrap_or_default());
        }
        Ok(Self(inner))
    }
}

/// The reason in our words. Some servers name the token that ended the answer.
fn finish(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "eos_token" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.chars().take(64).collect()),
    }
}

/// The finish of an answer that names none.
pub(super) fn unspecified() -> FinishReason {
    FinishReason::Other("unspecified".to_owned())
}

/// The finish of an answer whose text is a refusal.
pub(super) fn refused(finish: FinishReason) -> FinishReason {
    match finish {
        FinishReason::Stop => FinishReason::Other("refusal".to_owned()),
        finish => finish,
    }
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let prompt = counts.prompt_tokens_details.unwrap_or_default();
        Self {
            input_tokens: counts.prompt_tokens,
            output_tokens: counts.completion_tokens,
            cached_input_tokens: prompt.cached_tokens.or(counts.prompt_cache_hit_tokens),
            cache_write_tokens: prompt.cache_write_tokens,
            reasoning_tokens: counts
                .completion_tokens_details
                .and_then(|completion| completion.reasoning_tokens),
            estimated: false,
        }
    }
}

/// A text that says something.
pub(super) fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Of an answer with more than [`MOST_CALLS`].
pub(super) fn too_many_calls() -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the answer has too many tool calls")
}

/// Where the JSON went wrong, without quoting it.
pub(super) fn malformed(error: &serde_json::Error) -> ProviderError {
    let message = format!("the JSON is wrong at line {} column {}", error.line(), error.column());
    ProviderError::new(ErrorKind::Malformed, message)
}
