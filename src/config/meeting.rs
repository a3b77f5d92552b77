//! From the description of where instances meet to the engines themselves.

use crate::client::Shared;
use crate::config::env_var::EnvVar;
use crate::config::path::under;
use crate::config::setting::set;
#[cfg(feature = "postgres")]
use crate::config::shared::PostgresConfig;
use crate::config::shared::{RedisConfig, SharedConfig, SharedQuotaConfig};
use crate::config::wires::Env;
use crate::error::BuildError;
use crate::quota::SharedQuota;
#[cfg(feature = "postgres")]
use crate::stores::postgres::{PostgresIndex, PostgresIndexBuilder};
use crate::stores::redis::{RedisShared, RedisSharedBuilder};

/// What a client is given to share, and the secret that its cache needs for it. Connects to nothing yet.
pub(super) fn build(config: &SharedConfig, env: Env<'_>) -> Result<(Shared, [u8; 32]), BuildError> {
    let secret = config.secret_env.secret("secret_env", env)?;
    let redis = redis(&config.redis, &secret, env)?;
    let of_the_cache = redis.cache_secret();
    let shared = Shared::from(redis).quota_with(|quota| settings(quota, &config.quota));
    Ok((with_index(shared, config, &secret, env)?, of_the_cache))
}

fn redis(config: &RedisConfig, secret: &str, env: Env<'_>) -> Result<RedisShared, BuildError> {
    let RedisConfig { url_env, answers_url_env, cluster_env, prefix } = config;
    let value = |name: &EnvVar, path: &str| name.secret(path, env);
    let answers = answers_url_env.as_ref().map(|name| value(name, "redis.answers_url_env"));
    let nodes = cluster_env.as_ref().map(|names| {
        let nodes = names.iter().enumerate();
        nodes
            .map(|(at, name)| value(name, &format!("redis.cluster_env[{at}]")))
            .collect::<Result<Vec<_>, _>>()
    });
    let builder = RedisShared::builder(value(url_env, "redis.url_env")?).secret(secret);
    let builder = set(builder, answers.transpose()?, RedisSharedBuilder::answers_at);
    let builder = set(builder, nodes.transpose()?, RedisSharedBuilder::cluster);
    let builder = set(builder, prefix.as_ref(), RedisSharedBuilder::prefix);
    builder.build().map_err(|error| renamed("redis", &error))
}

fn settings(shared: SharedQuota, config: &SharedQuotaConfig) -> SharedQuota {
    let SharedQuotaConfig { min_instances, on_store_failure, grants_expire_in, leases } = config;
    let shared = set(shared, *min_instances, SharedQuota::min_instances);
    let shared = set(shared, *on_store_failure, SharedQuota::on_store_failure);
    let shared = set(shared, *grants_expire_in, SharedQuota::grants_expire_in);
    if *leases == Some(false) { shared.without_leases() } else { shared }
}

#[cfg(feature = "postgres")]
fn with_index(
    shared: Shared,
    config: &SharedConfig,
    secret: &str,
    env: Env<'_>,
) -> Result<Shared, BuildError> {
    let index = config.postgres.as_ref().map(|config| postgres(config, secret, env)).transpose()?;
    Ok(set(shared, index, Shared::index))
}

#[cfg(not(feature = "postgres"))]
fn with_index(
    shared: Shared,
    config: &SharedConfig,
    _: &str,
    _: Env<'_>,
) -> Result<Shared, BuildError> {
    match config.postgres {
        None => Ok(shared),
        Some(_) => Err(BuildError::new("postgres", "this build lacks the feature `postgres`")),
    }
}

#[cfg(feature = "postgres")]
fn postgres(
    config: &PostgresConfig,
    secret: &str,
    env: Env<'_>,
) -> Result<PostgresIndex, BuildError> {
    use PostgresIndexBuilder as B;
    let server = config.server_env.secret("postgres.server_env", env)?;
    let builder = PostgresIndex::builder(server).secret(secret);
    let builder = set(builder, config.table.as_ref(), B::table);
    let builder = set(builder, config.dimensions, B::dimensions);
    let builder = set(builder, config.exact_up_to, B::exact_up_to);
    let builder = set(builder, config.most_per_partition, B::most_per_partition);
    let builder = set(builder, config.connections, B::connections);
    builder.build().map_err(|error| renamed("postgres", &error))
}

/// The error of an engine's builder, whose names for what comes from the environment are not the file's.
fn renamed(engine: &str, error: &BuildError) -> BuildError {
    let field = match error.field() {
        "secret" => return BuildError::new("secret_env", error.reason().to_owned()),
        "url" => "url_env",
        "answers_at" => "answers_url_env",
        "cluster" => "cluster_env",
        "server" => "server_env",
        field => field,
    };
    under(engine, &BuildError::new(field.to_owned(), error.reason().to_owned()))
}
