//! What both wires set in the same way.

use crate::config::provider::{BodyBounds, Feature, ProviderConfig};
use crate::config::setting::set;
use crate::config::wires::Env;
use crate::error::BuildError;
use crate::provider::Capabilities;
use crate::providers::HttpBounds;

pub(super) fn api_key(config: &ProviderConfig, env: Env<'_>) -> Result<Option<String>, BuildError> {
    config.api_key_env.as_ref().map(|name| name.secret("api_key_env", env)).transpose()
}

/// The headers, those with secret values last.
pub(super) fn headers(
    config: &ProviderConfig,
    env: Env<'_>,
) -> Result<Vec<(String, String)>, BuildError> {
    let plain = config.headers.iter().map(|(name, value)| Ok((name.clone(), value.clone())));
    let secrets = config.headers_env.iter().map(|(name, variable)| {
        Ok((name.clone(), variable.secret(&format!("headers_env.{name}"), env)?))
    });
    plain.chain(secrets).collect()
}

pub(super) fn capabilities(config: &ProviderConfig) -> Capabilities {
    config.without.iter().fold(Capabilities::all(), |all, missing| match missing {
        Feature::Streaming => all.streaming(false),
        Feature::Tools => all.tools(false),
        Feature::Images => all.images(false),
        Feature::Files => all.files(false),
        Feature::StructuredOutput => all.structured_output(false),
    })
}

pub(super) fn bounds(config: &ProviderConfig) -> HttpBounds {
    let BodyBounds { body, error_body, line, event, stream } = config.bounds;
    let bounds = set(HttpBounds::new(), body, HttpBounds::body);
    let bounds = set(bounds, error_body, HttpBounds::error_body);
    let bounds = set(bounds, line, HttpBounds::line);
    let bounds = set(bounds, event, HttpBounds::event);
    set(bounds, stream, HttpBounds::stream)
}

/// The error of a provider's builder, whose names for two fields are not the file's.
pub(super) fn renamed(error: &BuildError) -> BuildError {
    let field = match error.field() {
        "api_key" => "api_key_env",
        "max_tokens" => "anthropic.max_tokens",
        field => field,
    };
    BuildError::new(field.to_owned(), error.reason().to_owned())
}
