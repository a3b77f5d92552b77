//! Everything about the provider that can be set.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::provider::{Anthropic, Inner};
use crate::address::Address;
use crate::error::BuildError;
use crate::provider::Capabilities;
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::transport::{Config, Transport};

/// Builds an [`Anthropic`]. `Debug` shows no key and no header's value.
#[derive(Clone)]
#[must_use]
pub struct AnthropicBuilder {
    id: String,
    base_url: String,
    api_key: Option<SecretString>,
    model: Option<String>,
    version: String,
    betas: Vec<String>,
    headers: Vec<(String, SecretString)>,
    bounds: HttpBounds,
    plain_http: bool,
    max_tokens: u64,
    capabilities: Capabilities,
    cache_system: bool,
}

impl Default for AnthropicBuilder {
    fn default() -> Self {
        Self {
            id: "anthropic".into(),
            base_url: "https://api.anthropic.com".into(),
            api_key: None,
            model: None,
            version: "2023-06-01".into(),
            betas: Vec::new(),
            headers: Vec::new(),
            bounds: HttpBounds::new(),
            plain_http: false,
            max_tokens: 4096,
            capabilities: Capabilities::all(),
            cache_system: false,
        }
    }
}

impl AnthropicBuilder {
    /// The provider's name in labels and errors. Default `anthropic`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Where `/v1/messages` is. Default `https://api.anthropic.com`. `https`, or `http` for a server on
    /// this machine.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Whether `http` is taken for a server that is not on this machine. Default no: the key and every
    /// prompt would be legible on the way.
    pub fn allow_http(mut self, yes: bool) -> Self {
        self.plain_http = yes;
        self
    }

    /// The key, sent as `x-api-key`. Without one no such header is sent, for gateways that know
    /// their callers by other means.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into().into());
        self
    }

    /// The model for requests that name none. Without it such requests are refused unsent.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The `anthropic-version` header. Default `2023-06-01`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Opts in to a beta feature, in the `anthropic-beta` header. May be repeated.
    pub fn beta(mut self, feature: impl Into<String>) -> Self {
        self.betas.push(feature.into());
        self
    }

    /// A header sent with every request; it replaces one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into().into()));
        self
    }

    /// How much a server may send.
    pub fn bounds(mut self, bounds: HttpBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The `max_tokens` of requests without a bound, since the wire demands one. Default 4096.
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// What the server can do. Default everything.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Has the server cache the tools and the system prompts for the next request that begins with
    /// the same ones. Writing costs more than plain input and reading less, and short prompts are
    /// not cached. Default off.
    pub fn cache_system(mut self, yes: bool) -> Self {
        self.cache_system = yes;
        self
    }

    /// Checks everything and builds the provider. Does not connect.
    ///
    /// # Errors
    /// When a field cannot be used; the error names it.
    pub fn build(self) -> Result<Anthropic, BuildError> {
        if self.id.is_empty() {
            return Err(BuildError::new("id", "is empty"));
        }
        if self.max_tokens == 0 {
            return Err(BuildError::new("max_tokens", "is zero"));
        }
        let config = self.config()?;
        let Self { id, model, max_tokens, capabilities, cache_system, .. } = self;
        let transport = Transport::new(config)?;
        let inner = Inner { id, transport, model, max_tokens, cache_system, capabilities };
        Ok(Anthropic::from_parts(inner))
    }

    fn config(&self) -> Result<Config, BuildError> {
        let mut config = Config::new(&self.base_url);
        config.bounds = self.bounds;
        config.plain_http = self.plain_http;
        if let Some(key) = &self.api_key {
            config.header("x-api-key", checked(key)?);
        }
        config.header("anthropic-version", &self.version);
        if !self.betas.is_empty() {
            config.header("anthropic-beta", self.betas.join(","));
        }
        // Last, so that they replace ours.
        config.headers.extend(self.headers.iter().cloned());
        Ok(config)
    }

    pub(super) fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, BuildError> {
        let key = get("ANTHROPIC_API_KEY")
            .ok_or_else(|| BuildError::new("ANTHROPIC_API_KEY", "is not set"))?;
        let mut builder = Self::default().api_key(key);
        if let Some(url) = get("ANTHROPIC_BASE_URL").filter(|url| !url.is_empty()) {
            builder = builder.base_url(url);
        }
        builder.model = get("ANTHROPIC_MODEL").filter(|model| !model.is_empty());
        Ok(builder)
    }
}

/// A key that a header can carry: the error must name the key, not the header it becomes.
fn checked(key: &SecretString) -> Result<&str, BuildError> {
    let key = key.expose_secret();
    let wrong = |reason| Err(BuildError::new("api_key", reason));
    if key.is_empty() {
        return wrong("is empty");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("has blanks, line ends or other characters that no key has");
    }
    Ok(key)
}

impl fmt::Debug for AnthropicBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicBuilder")
            .field("id", &self.id)
            .field("base_url", &Address(&self.base_url))
            .field("key", &self.api_key.is_some())
            .field("headers", &self.headers.len())
            .field("model", &self.model)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider as _;

    const KEY: &str = "sk-ant-test-0123456789";

    #[test]
    fn the_environment_gives_key_address_and_model() {
        let get = |name: &str| match name {
            "ANTHROPIC_API_KEY" => Some(KEY.to_owned()),
            "ANTHROPIC_BASE_URL" => Some("http://127.0.0.1:1/proxy".to_owned()),
            "ANTHROPIC_MODEL" => Some("claude-x".to_owned()),
            _ => None,
        };
        let provider = AnthropicBuilder::from_lookup(get).unwrap().build().unwrap();
        let shown = format!("{provider:?}");
        assert!(
            shown.contains("http://127.0.0.1:1/proxy") && shown.contains("claude-x"),
            "{shown}"
        );
        assert_eq!(provider.id(), "anthropic");
    }

    #[test]
    fn an_environment_without_a_key_names_the_variable() {
        let error = AnthropicBuilder::from_lookup(|_| None).unwrap_err();
        assert_eq!(error.field(), "ANTHROPIC_API_KEY");
    }

    #[test]
    fn what_is_wrong_is_named_and_a_key_is_not_shown() {
        for key in ["", "line\nend", "sp ace", "\u{e9}"] {
            let error = Anthropic::new(key).unwrap_err();
            assert_eq!(error.field(), "api_key");
            assert!(key.is_empty() || !error.to_string().contains(key), "{error}");
        }
        let id = Anthropic::builder().id("").build().unwrap_err();
        assert_eq!(id.field(), "id");
        let zero = Anthropic::builder().max_tokens(0).build().unwrap_err();
        assert_eq!(zero.field(), "max_tokens");
        let url = Anthropic::builder().base_url("ftp://x").build().unwrap_err();
        assert_eq!(url.field(), "base_url");
    }

    #[test]
    fn debug_shows_no_key() {
        let builder = Anthropic::builder().api_key(KEY).header("x-gateway-key", KEY);
        let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
