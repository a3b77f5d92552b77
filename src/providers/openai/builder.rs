//! How a provider for this wire is put together.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::address::Address;
use crate::error::BuildError;
use crate::provider::Capabilities;
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::transport::{Config, Transport};
use crate::providers::openai::encode::{Dialect, MaxTokensField, ReasoningField};
use crate::providers::openai::provider::OpenAi;

const OPENAI: &str = "https://api.openai.com/v1";

/// Builds an [`OpenAi`]. By default it is OpenAI itself.
#[must_use]
pub struct OpenAiBuilder {
    id: String,
    base_url: String,
    key: Option<SecretString>,
    key_header: KeyHeader,
    headers: Vec<(String, SecretString)>,
    query: Vec<(String, String)>,
    bounds: HttpBounds,
    plain_http: bool,
    model: Option<String>,
    max_tokens_field: Option<MaxTokensField>,
    stream_usage: bool,
    reasoning: Option<ReasoningField>,
    capabilities: Capabilities,
}

/// Where the key goes.
enum KeyHeader {
    Bearer,
    ApiKey,
}

impl Default for OpenAiBuilder {
    fn default() -> Self {
        Self {
            id: "openai".to_owned(),
            base_url: OPENAI.to_owned(),
            key: None,
            key_header: KeyHeader::Bearer,
            headers: Vec::new(),
            query: Vec::new(),
            bounds: HttpBounds::default(),
            plain_http: false,
            model: None,
            max_tokens_field: None,
            stream_usage: true,
            reasoning: None,
            capabilities: Capabilities::all(),
        }
    }
}

impl OpenAiBuilder {
    pub(super) fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, BuildError> {
        let key =
            get("OPENAI_API_KEY").ok_or_else(|| BuildError::new("OPENAI_API_KEY", "is not set"))?;
        let set = |name| get(name).filter(|value| !value.is_empty());
        let mut builder = Self::default().api_key(key);
        if let Some(url) = set("OPENAI_BASE_URL") {
            builder = builder.base_url(url);
        }
        if let Some(model) = set("OPENAI_MODEL") {
            builder = builder.model(model);
        }
        Ok(builder)
    }

    pub(super) fn azure(
        endpoint: &str,
        deployment: &str,
        api_version: String,
        key: String,
    ) -> Result<Self, BuildError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if deployment.is_empty() || !deployment.chars().all(plain) {
            return Err(BuildError::new("deployment", "is no deployment name"));
        }
        let endpoint = endpoint.trim_end_matches('/');
        let mut builder = Self::default()
            .id("azure")
            .base_url(format!("{endpoint}/openai/deployments/{deployment}"))
            .query("api-version", api_version)
            .max_tokens_field(MaxTokensField::MaxCompletionTokens)
            .api_key(key);
        builder.key_header = KeyHeader::ApiKey;
        Ok(builder)
    }

    /// The provider's id. Default `openai`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// What stands before `/chat/completions`. Default OpenAI's own address. `https`, or `http` for a
    /// server on this machine.
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

    /// The key. Servers on one's own machine often want none.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into().into());
        self
    }

    /// The model of calls that name none. Without it such calls name none to the server either.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// A header to send with every request. A second value for a name replaces the first.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into().into()));
        self
    }

    /// A query parameter to send with every request.
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// The organisation that is billed, for keys that belong to several.
    pub fn organization(self, organization: impl Into<String>) -> Self {
        self.header("openai-organization", organization)
    }

    /// The project that is billed, for keys that belong to several.
    pub fn project(self, project: impl Into<String>) -> Self {
        self.header("openai-project", project)
    }

    /// How much a server may send.
    pub fn bounds(mut self, bounds: HttpBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The field that bounds the answer's tokens. OpenAI's newer models refuse the old one, and many
    /// compatible servers ignore the new one; the default is the new one for OpenAI and Azure and the
    /// old one for all others.
    pub fn max_tokens_field(mut self, field: MaxTokensField) -> Self {
        self.max_tokens_field = Some(field);
        self
    }

    /// Whether streams are asked for their token counts. Default yes; some servers refuse the
    /// question.
    pub fn stream_usage(mut self, yes: bool) -> Self {
        self.stream_usage = yes;
        self
    }

    /// Sends reasoning in the conversation back to the server, in `field`. Default no: some servers
    /// refuse it, some need it between the calls of a tool.
    pub fn send_reasoning(mut self, field: ReasoningField) -> Self {
        self.reasoning = Some(field);
        self
    }

    /// What the server can do. Default everything this wire carries.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Checks everything and builds the provider. Does not connect.
    ///
    /// # Errors
    /// When a field cannot be used; the error names it.
    pub fn build(self) -> Result<OpenAi, BuildError> {
        if self.id.is_empty() {
            return Err(BuildError::new("id", "is empty"));
        }
        let mut config = Config::new(self.base_url);
        config.query = self.query;
        config.bounds = self.bounds;
        config.plain_http = self.plain_http;
        if let Some(key) = &self.key {
            let (name, value) = key_header(&self.key_header, key.expose_secret())?;
            config.header(name, value);
        }
        // After the key, so that a header given by hand can replace it.
        config.headers.extend(self.headers);
        let transport = Transport::new(config)?;
        let by_host = || default_max_tokens_field(transport.host());
        let dialect = Dialect {
            model: self.model,
            max_tokens_field: self.max_tokens_field.unwrap_or_else(by_host),
            stream_usage: self.stream_usage,
            reasoning: self.reasoning,
        };
        Ok(OpenAi::from_parts(self.id, transport, dialect, self.capabilities))
    }
}

fn default_max_tokens_field(host: &str) -> MaxTokensField {
    match host {
        "api.openai.com" => MaxTokensField::MaxCompletionTokens,
        _ => MaxTokensField::MaxTokens,
    }
}

fn key_header(header: &KeyHeader, key: &str) -> Result<(&'static str, String), BuildError> {
    if key.is_empty() {
        return Err(BuildError::new("api_key", "is empty"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BuildError::new("api_key", "has characters no key has"));
    }
    Ok(match header {
        KeyHeader::Bearer => ("authorization", format!("Bearer {key}")),
        KeyHeader::ApiKey => ("api-key", key.to_owned()),
    })
}

/// Without the key and the values of headers.
impl fmt::Debug for OpenAiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiBuilder")
            .field("id", &self.id)
            .field("base_url", &Address(&self.base_url))
            .field("key", &self.key.is_some())
            .field("headers", &self.headers.len())
            .field("model", &self.model)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_gives_key_address_and_model() {
        let error = OpenAiBuilder::from_lookup(|_| None).unwrap_err();
        assert_eq!(error.field(), "OPENAI_API_KEY");

        let builder = OpenAiBuilder::from_lookup(|name| {
            Some(match name {
                "OPENAI_API_KEY" => "sk-test-key".to_owned(),
                "OPENAI_BASE_URL" => "http://127.0.0.1:9/v1".to_owned(),
                _ => String::new(),
            })
        })
        .unwrap();
        assert_eq!(builder.base_url, "http://127.0.0.1:9/v1");
        assert_eq!(builder.model, None, "an empty variable is not set");
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused_without_being_shown() {
        for key in ["", "sk-test\r\nx: y", "sk test", "\u{e9}"] {
            let error = OpenAi::new(key).unwrap_err();
            assert_eq!(error.field(), "api_key");
            assert!(key.is_empty() || !error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn the_token_field_follows_the_server() {
        let shown = |provider: OpenAi| format!("{provider:?}");
        let other = OpenAi::compatible("x", "http://127.0.0.1:9/v1", "sk-test").unwrap();
        assert!(shown(OpenAi::new("sk-test").unwrap()).contains("MaxCompletionTokens"));
        assert!(shown(other).contains("MaxTokens"));
    }

    #[test]
    fn azure_puts_the_deployment_in_the_path() {
        let azure =
            |deployment| OpenAi::azure("https://n.example.com/", deployment, "2024-10-21", "k");
        let shown = format!("{:?}", azure("d-1").unwrap());
        assert!(shown.contains("https://n.example.com/openai/deployments/d-1"), "{shown}");
        assert_eq!(azure("a/../b").unwrap_err().field(), "deployment");
    }
}
