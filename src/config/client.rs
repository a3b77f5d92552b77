//! The configuration as a whole.

use std::collections::BTreeMap;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use crate::balance::BalancerConfig;
use crate::chunk::ResponseBounds;
use crate::client::{Fallback, HedgePolicy, LlmClient, RetryPolicy};
use crate::config::assembly::Assembly;
use crate::config::cache::CacheConfig;
use crate::config::provider::ProviderConfig;
use crate::config::quota::QuotaConfig;
use crate::config::shared::SharedConfig;
use crate::document;
use crate::error::BuildError;
use crate::options::Timeouts;
use crate::queue::QueueSettings;

/// Every setting of a client that a file can hold.
///
/// Without a `quota`, a `queue`, a `cache` or a `hedge` section the client has none; an empty section
/// is one with the defaults.
///
/// ```
/// use evenkeel::config::{ClientConfig, ProviderKind};
///
/// let file = r#"
///     [providers.east]
///     kind = "openai"                  # the wire: openai, or anthropic
///     base_url = "https://east.example.com/v1"
///     api_key_env = "EAST_API_KEY"     # never the key itself
///
///     [[balancer.endpoints]]
///     provider = "east"
///     weight = 3
/// "#;
/// let config = ClientConfig::from_deserializer(toml::Deserializer::parse(file)?)?;
/// assert_eq!(config.providers["east"].kind, ProviderKind::OpenAi);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The servers, by the names that endpoints call them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, ProviderConfig>,
    /// The endpoints, and how one is chosen.
    pub balancer: BalancerConfig,
    /// What each stage of a call may take, for calls that do not say.
    pub timeouts: Timeouts,
    /// How often and how fast failed attempts are followed by others.
    pub retry: RetryPolicy,
    /// When a second attempt is started beside a slow one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgePolicy>,
    /// Which models take over for others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// How large an answer may grow.
    pub response_bounds: ResponseBounds,
    /// What tenants may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaConfig>,
    /// How calls wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSettings>,
    /// Which answers are used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// Where instances meet. Without it, this one knows what it sees itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedConfig>,
}

impl ClientConfig {
    /// No endpoints yet, and the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a configuration. What [`Deserialize`] does, with better errors: they have a path, and do
    /// not quote the document, as some formats' own do, for somebody may have written a key into it.
    ///
    /// # Errors
    /// Names the field at fault by its path, such as `providers.east.base_url`. Where the document
    /// itself cannot be read, the path is where that was noticed.
    pub fn from_deserializer<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, BuildError> {
        document::read(deserializer)
    }

    /// Builds the client. Keys come from the environment of the process.
    ///
    /// # Errors
    /// As [`Assembly::build`].
    pub fn build(&self) -> Result<LlmClient, BuildError> {
        self.assemble().build()
    }

    /// Starts to build the client, for what a file cannot hold.
    pub fn assemble(&self) -> Assembly<'_> {
        Assembly::new(self)
    }
}
