//! The gateway's own section of the file.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::config::{ClientConfig, EnvVar};
use evenkeel::{BuildError, Priority};
use serde::Deserialize;

/// How the gateway serves. Everything has a default but who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where it listens. Default port 8080 of this machine alone.
    pub listen: SocketAddr,
    /// The largest body of a request. Default 4 MiB.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive. Default 30 s.
    #[serde(with = "evenkeel::duration")]
    pub body_timeout: Duration,
    /// How long running answers may go on after the signal to stop. Default 30 s.
    #[serde(with = "evenkeel::duration")]
    pub drain: Duration,
    /// Whether the status page names tenants.
    pub show_tenants: bool,
    /// Whether calls without a key are taken, without a tenant.
    pub anonymous: bool,
    /// The header that names the tenant, where a proxy in front sets it. Keys are then not asked for.
    pub tenant_header: Option<String>,
    /// Who may call, by key.
    pub tenants: Vec<TenantSettings>,
}

/// One caller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// The tenant: who pays.
    pub name: String,
    /// The environment variable that holds its key.
    pub api_key_env: EnvVar,
    /// How urgent its calls are.
    #[serde(default)]
    pub priority: Priority,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 4 << 20,
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            show_tenants: false,
            anonymous: false,
            tenant_header: None,
            tenants: Vec::new(),
        }
    }
}

/// Reads a file: the section `gateway`, and the client from all others.
///
/// # Errors
/// Names the field at fault by its path.
pub fn parse(text: &str) -> Result<(Settings, ClientConfig), BuildError> {
    // The parser's own message alone: what it prints quotes the file, and keys get into files.
    let parsed = text.parse::<toml::Table>();
    let mut table = parsed.map_err(|error| BuildError::new("", error.message().to_owned()))?;
    let section = table.remove("gateway");
    let settings = section.map_or_else(|| Ok(Settings::default()), read)?;
    Ok((settings, ClientConfig::from_deserializer(table)?))
}

fn read(section: toml::Value) -> Result<Settings, BuildError> {
    serde_path_to_error::deserialize(section).map_err(|error| {
        let path = format!("gateway.{}", error.path());
        BuildError::new(path, error.inner().message().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_read_and_its_client_builds() {
        let (settings, config) = parse(include_str!("../evenkeel.toml")).unwrap();
        assert_eq!(settings.tenants.len(), 2);
        assert_eq!(settings.tenants[1].priority, Priority::Batch);
        assert!(config.assemble().env(|_| Some("sk-test-key".into())).build().is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path_and_not_quoted() {
        for (text, path) in [
            ("gateway.max_body_byte = 3", "gateway.max_body_byte"),
            ("gateway.listen = 'here'", "gateway.listen"),
            ("gateway.drain = '1 fortnight'", "gateway.drain"),
            (
                "gateway.tenants = [{ name = 'a', api_key_env = 'sk-secret-0' }]",
                "gateway.tenants[0].api_key_env",
            ),
            (
                "gateway.tenants = [{ name = 'a', api_key = 'sk-secret-0' }]",
                "gateway.tenants[0].api_key",
            ),
            ("retry.max_attempt = 1", "retry.max_attempt"),
            ("key = 'sk-secret-0", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.field(), path, "{error}");
            assert!(!error.to_string().contains("sk-secret-0"), "{error}");
        }
    }
}
