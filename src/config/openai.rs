//! A server that speaks the wire of OpenAI, as a configuration describes it.

use std::sync::Arc;

use crate::config::http;
use crate::config::provider::{OpenAiOptions, ProviderConfig, ReasoningName, TokenLimitName};
use crate::config::setting::set;
use crate::config::wires::{Built, Env};
use crate::error::BuildError;
use crate::providers::OpenAi;
use crate::providers::openai::{MaxTokensField, OpenAiBuilder as B, ReasoningField};

pub(super) fn build(
    name: &str,
    config: &ProviderConfig,
    env: Env<'_>,
) -> Result<Built, BuildError> {
    let builder = OpenAi::builder()
        .id(name)
        .bounds(http::bounds(config))
        .allow_http(config.allow_http)
        .capabilities(http::capabilities(config));
    let builder = set(builder, config.base_url.as_ref(), B::base_url);
    let builder = set(builder, config.model.as_ref(), B::model);
    let builder = set(builder, http::api_key(config, env)?, B::api_key);
    let builder = set(builder, config.openai.as_ref(), with_options);
    let headers = http::headers(config, env)?.into_iter();
    let builder = headers.fold(builder, |builder, (name, value)| builder.header(name, value));
    let server = builder.build().map_err(|error| http::renamed(&error))?;
    Ok(Built { provider: Arc::new(server.clone()), openai: Some(server) })
}

fn with_options(builder: B, options: &OpenAiOptions) -> B {
    let OpenAiOptions {
        organization,
        project,
        query,
        max_tokens_field,
        stream_usage,
        send_reasoning,
    } = options;
    let builder = set(builder, organization.as_ref(), B::organization);
    let builder = set(builder, project.as_ref(), B::project);
    let query = query.iter();
    let builder = query.fold(builder, |builder, (name, value)| builder.query(name, value));
    let builder = set(builder, max_tokens_field.map(Into::into), B::max_tokens_field);
    let builder = set(builder, *stream_usage, B::stream_usage);
    set(builder, send_reasoning.map(Into::into), B::send_reasoning)
}

impl From<TokenLimitName> for MaxTokensField {
    fn from(name: TokenLimitName) -> Self {
        match name {
            TokenLimitName::MaxTokens => Self::MaxTokens,
            TokenLimitName::MaxCompletionTokens => Self::MaxCompletionTokens,
        }
    }
}

impl From<ReasoningName> for ReasoningField {
    fn from(name: ReasoningName) -> Self {
        match name {
            ReasoningName::ReasoningContent => Self::ReasoningContent,
            ReasoningName::Reasoning => Self::Reasoning,
        }
    }
}
