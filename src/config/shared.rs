//! Where instances meet, as a configuration file describes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::env_var::EnvVar;
use crate::quota::store::OnStoreFailure;

/// The engines through which the instances of one service share what they know: limits, answers and
/// facts about accounts on Redis, similar questions on PostgreSQL.
///
/// Each part of the client is shared that the configuration has; a `quota` alone shares limits alone.
/// URLs hold passwords, so they come from the environment, as secrets do.
///
/// ```
/// use evenkeel::config::ClientConfig;
///
/// let file = r#"
///     [shared]
///     secret_env = "FLEET_SECRET"      # at least 16 random bytes, the same for all instances
///     quota = { min_instances = 3 }
///
///     [shared.redis]
///     url_env = "REDIS_URL"
///     prefix = "chat"
///
///     [shared.postgres]                # only with a cache that has an embedder
///     server_env = "DATABASE_URL"
///     dimensions = 384
/// "#;
/// let config = ClientConfig::from_deserializer(toml::Deserializer::parse(file)?)?;
/// assert_eq!(config.shared.unwrap().redis.url_env.as_str(), "REDIS_URL");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SharedConfig {
    /// The variable that holds the secret of the fleet, of at least 16 bytes: every instance has the
    /// same. What is stored is hashed and sealed with it.
    pub secret_env: EnvVar,
    /// How limits are shared.
    #[serde(default)]
    pub quota: SharedQuotaConfig,
    /// The server of limits, answers and facts.
    pub redis: RedisConfig,
    /// The server of similar questions; without one, each instance finds those it was asked itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresConfig>,
}

/// How limits are shared; `None` is the default of [`SharedQuota`](crate::quota::SharedQuota).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SharedQuotaConfig {
    /// How many instances there are at the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_instances: Option<u32>,
    /// What limits do while the server is away that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_store_failure: Option<OnStoreFailure>,
    /// After how long a call that was not settled is taken for one of an instance that died.
    #[serde(with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub grants_expire_in: Option<Duration>,
    /// Whether busy scopes are asked for in advance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<bool>,
}

/// A Redis or Valkey server, or a cluster; `None` is the default of the builder of `RedisShared`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The variable that holds the URL: `redis://`, `rediss://` for TLS, or `unix://`.
    pub url_env: EnvVar,
    /// The variable that holds the URL of another server, for answers and facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_url_env: Option<EnvVar>,
    /// The variables that hold the URLs of more nodes, where the server is one of a cluster. Empty is a
    /// cluster that is found by the first alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_env: Option<Vec<EnvVar>>,
    /// What every key begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A PostgreSQL server with pgvector; `None` is the default of the builder of `PostgresIndex`.
///
/// The table has to be there: `PostgresIndex::migrate` makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// The variable that holds the connection string.
    pub server_env: EnvVar,
    /// The table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How many dimensions the embedder's vectors have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Up to how many rows a partition is read from end to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_up_to: Option<usize>,
    /// The most rows of a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_per_partition: Option<usize>,
    /// How many connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
}

impl SharedConfig {
    /// The server at `redis`, and the defaults.
    #[must_use]
    pub fn new(secret_env: EnvVar, redis: RedisConfig) -> Self {
        Self { secret_env, quota: SharedQuotaConfig::default(), redis, postgres: None }
    }
}

impl RedisConfig {
    /// The server whose URL is in the variable `url_env`, and the defaults.
    #[must_use]
    pub const fn new(url_env: EnvVar) -> Self {
        Self { url_env, answers_url_env: None, cluster_env: None, prefix: None }
    }
}

impl PostgresConfig {
    /// The server whose connection string is in the variable `server_env`, and the defaults.
    #[must_use]
    pub const fn new(server_env: EnvVar) -> Self {
        Self {
            server_env,
            table: None,
            dimensions: None,
            exact_up_to: None,
            most_per_partition: None,
            connections: None,
        }
    }
}
