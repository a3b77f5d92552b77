//! A whole client as a configuration file describes it.
//!
//! [`ClientConfig`] holds every setting of [`LlmClient`](crate::LlmClient) and of what it is built of
//! that can be written down, in any format that serde reads. Settings that are left out have the
//! defaults of the builders; what is misspelt is refused, and every error names its field by its path.
//!
//! What only code can say is added to the [`Assembly`]: providers, embedders and stores of your own,
//! observers.
//!
//! ```
//! use evenkeel::config::ClientConfig;
//! use evenkeel::{ChatResponse, provider_fn};
//!
//! let file = r#"
//!     [[balancer.endpoints]]
//!     provider = "in-house"          # one of [providers], or one your application adds
//!     models = ["small"]
//!
//!     [quota.per_tenant]
//!     rates = [{ dimension = "tokens", amount = 100_000, window = "1m" }]
//!
//!     [queue]
//!     max_wait = "30s"
//!
//!     [cache]
//!     embedder = "lexical"
//!     decision = { tiered = { same = 0.84, substituted = 0.94, other = 0.89 } }
//!
//!     [retry]
//!     max_attempts = 2
//! "#;
//!
//! let config = ClientConfig::from_deserializer(toml::Deserializer::parse(file)?)?;
//! let in_house = provider_fn("in-house", |_, _| async { Ok(ChatResponse::text_only("hi")) });
//! let client = config.assemble().provider("in-house", in_house).build()?;
//! assert!(client.balancer().serves("small") && client.queue().is_some());
//!
//! let error = ClientConfig::from_deserializer(toml::Deserializer::parse("retry.max_atempts = 2")?);
//! assert_eq!(error.unwrap_err().field(), "retry.max_atempts");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Secrets.** A configuration holds no key. It names the environment variable that does, and refuses
//! a name that looks like a key instead, without repeating it.
//!
//! **Features.** A file may name a wire or a store that this build has no feature for; it can then be read, and
//! not be built. The error says which feature is missing.

#[cfg(feature = "anthropic")]
mod anthropic;
mod assembly;
mod cache;
mod client;
mod env_var;
#[cfg(feature = "__http")]
mod http;
#[cfg(feature = "redis")]
mod meeting;
#[cfg(feature = "openai")]
mod openai;
mod path;
mod provider;
mod quota;
mod setting;
mod shared;
mod wires;

pub use assembly::Assembly;
pub use cache::{CacheConfig, EmbedderName, JudgeName, ScopeName};
pub use client::ClientConfig;
pub use env_var::{EnvVar, NotAnEnvVar};
pub use provider::{
    AnthropicOptions, BodyBounds, Feature, OpenAiOptions, ProviderConfig, ProviderKind,
    ReasoningName, TokenLimitName,
};
pub use quota::QuotaConfig;
pub use shared::{PostgresConfig, RedisConfig, SharedConfig, SharedQuotaConfig};
