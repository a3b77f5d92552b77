//! A server that speaks the wire of Anthropic, as a configuration describes it.

use std::sync::Arc;

use crate::config::http;
use crate::config::provider::{AnthropicOptions, ProviderConfig};
use crate::config::setting::set;
use crate::config::wires::{Built, Env};
use crate::error::BuildError;
use crate::providers::Anthropic;
use crate::providers::anthropic::AnthropicBuilder as B;

pub(super) fn build(
    name: &str,
    config: &ProviderConfig,
    env: Env<'_>,
) -> Result<Built, BuildError> {
    let builder = Anthropic::builder()
        .id(name)
        .bounds(http::bounds(config))
        .allow_http(config.allow_http)
        .capabilities(http::capabilities(config));
    let builder = set(builder, config.base_url.as_ref(), B::base_url);
    let builder = set(builder, config.model.as_ref(), B::model);
    let builder = set(builder, http::api_key(config, env)?, B::api_key);
    let builder = set(builder, config.anthropic.as_ref(), with_options);
    let headers = http::headers(config, env)?.into_iter();
    let builder = headers.fold(builder, |builder, (name, value)| builder.header(name, value));
    let server = builder.build().map_err(|error| http::renamed(&error))?;
    Ok(Built {
        provider: Arc::new(server),
        #[cfg(feature = "openai")]
        openai: None,
    })
}

fn with_options(builder: B, options: &AnthropicOptions) -> B {
    let AnthropicOptions { version, betas, max_tokens, cache_system } = options;
    let builder = set(builder, version.as_ref(), B::version);
    let builder = betas.iter().fold(builder, B::beta);
    let builder = set(builder, *max_tokens, B::max_tokens);
    set(builder, *cache_system, B::cache_system)
}
