//! A provider as a configuration file describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::env_var::EnvVar;

/// A server and the wire it speaks.
///
/// `Debug` shows how many headers there are, not what they say.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// Which wire it speaks.
    pub kind: ProviderKind,
    /// What stands before the wire's own paths; `None` is the vendor's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Whether `base_url` may be `http` for a server that is not on this machine. Default no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// The environment variable that holds the key; `None` sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<EnvVar>,
    /// The server's name of the model for calls that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers whose values are secret: the environment variables that hold them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_env: BTreeMap<String, EnvVar>,
    /// What the server cannot do. Default nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<Feature>,
    /// How much the server may send.
    #[serde(default, skip_serializing_if = "BodyBounds::is_default")]
    pub bounds: BodyBounds,
    /// What only the wire of OpenAI knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAiOptions>,
    /// What only the wire of Anthropic knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<AnthropicOptions>,
}

/// The wires a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProviderKind {
    /// OpenAI's chat completions, which most servers speak. Needs the feature `openai`.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic's messages. Needs the feature `anthropic`.
    Anthropic,
}

/// What a server may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Answers in pieces.
    Streaming,
    /// Tools.
    Tools,
    /// Images in the conversation.
    Images,
    /// Documents in the conversation.
    Files,
    /// Answers that follow a JSON schema.
    StructuredOutput,
}

/// The bounds of `HttpBounds`, in bytes; `None` is its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BodyBounds {
    /// A whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<usize>,
    /// The part of an error's body that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_body: Option<usize>,
    /// One line of an event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// One event of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<usize>,
    /// A whole event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<usize>,
}

/// Settings of the builder of `OpenAi` that other wires lack; `None` is its default.
///
/// `Debug` shows how many query parameters there are, not what they say.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OpenAiOptions {
    /// The organisation that is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The project that is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Query parameters of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The field that bounds the answer's tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<TokenLimitName>,
    /// Whether streams are asked for their token counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<bool>,
    /// The field that sends reasoning back to the server; `None` sends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_reasoning: Option<ReasoningName>,
}

/// The fields that bound an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenLimitName {
    /// The old name.
    MaxTokens,
    /// The name OpenAI's newer models insist on.
    MaxCompletionTokens,
}

/// The fields that hold an assistant's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasoningName {
    /// `reasoning_content`.
    ReasoningContent,
    /// `reasoning`.
    Reasoning,
}

/// Settings of the builder of `Anthropic` that other wires lack; `None` is its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnthropicOptions {
    /// The `anthropic-version` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The beta features that are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<String>,
    /// The `max_tokens` of requests without a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Whether the server caches tools and system prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_system: Option<bool>,
}

impl ProviderConfig {
    /// The vendor's own server, without a key, and the defaults.
    #[must_use]
    pub fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            base_url: None,
            allow_http: false,
            api_key_env: None,
            model: None,
            headers: BTreeMap::new(),
            headers_env: BTreeMap::new(),
            without: BTreeSet::new(),
            bounds: BodyBounds::default(),
            openai: None,
            anthropic: None,
        }
    }
}

impl BodyBounds {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, base_url, api_key_env, model, headers, headers_env, .. } = self;
        f.debug_struct("ProviderConfig")
            .field("kind", kind)
            .field("base_url", &base_url.as_deref().map(Address))
            .field("api_key_env", api_key_env)
            .field("model", model)
            .field("headers", &headers.len())
            .field("headers_env", headers_env)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organization, project, query, max_tokens_field, stream_usage, send_reasoning } =
            self;
        f.debug_struct("OpenAiOptions")
            .field("organization", organization)
            .field("project", project)
            .field("query", &query.len())
            .field("max_tokens_field", max_tokens_field)
            .field("stream_usage", stream_usage)
            .field("send_reasoning", send_reasoning)
            .finish()
    }
}
