//! The providers that a configuration describes, as far as this build has their wires.

use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(feature = "anthropic")]
use crate::config::anthropic::build as anthropic;
#[cfg(feature = "openai")]
use crate::config::openai::build as openai;
use crate::config::path::under;
use crate::config::provider::{ProviderConfig, ProviderKind};
use crate::embed::Embedder;
use crate::error::BuildError;
use crate::provider::Provider;

/// Finds a secret by the name of its environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The providers of a configuration, by name.
pub(super) struct Wires {
    built: BTreeMap<String, Built>,
}

/// A provider, and what else its server can be used for.
pub(super) struct Built {
    pub(super) provider: Arc<dyn Provider>,
    #[cfg(feature = "openai")]
    pub(super) openai: Option<crate::providers::OpenAi>,
}

impl Wires {
    /// Builds all of `configs` but those that `own` takes the place of.
    pub(super) fn build(
        configs: &BTreeMap<String, ProviderConfig>,
        own: &BTreeMap<String, Arc<dyn Provider>>,
        env: Env<'_>,
    ) -> Result<Self, BuildError> {
        let needed = configs.iter().filter(|(name, _)| !own.contains_key(*name));
        let built = needed.map(|(name, config)| {
            let built = build(name, config, env);
            let built = built.map_err(|error| under(&format!("providers.{name}"), &error))?;
            Ok((name.clone(), built))
        });
        Ok(Self { built: built.collect::<Result<_, BuildError>>()? })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.built.get(name).map(|built| &built.provider)
    }

    /// An embedder on the server of the provider `name`.
    #[cfg(feature = "openai")]
    pub(super) fn embedder(
        &self,
        name: &str,
        model: &str,
        dimensions: Option<usize>,
    ) -> Result<Arc<dyn Embedder>, BuildError> {
        let server = self.built.get(name).and_then(|built| built.openai.as_ref());
        let server = server.ok_or_else(|| {
            let reason = format!("there is no provider {name:?} of kind openai in [providers]");
            BuildError::new("provider", reason)
        })?;
        let embedder = server.embedder(model);
        Ok(Arc::new(match dimensions {
            Some(dimensions) => embedder.dimensions(dimensions),
            None => embedder,
        }))
    }

    #[cfg(not(feature = "openai"))]
    pub(super) fn embedder(
        &self,
        _name: &str,
        _model: &str,
        _dimensions: Option<usize>,
    ) -> Result<Arc<dyn Embedder>, BuildError> {
        Err(needs_feature("", "openai"))
    }
}

fn build(name: &str, config: &ProviderConfig, env: Env<'_>) -> Result<Built, BuildError> {
    let foreign = |field: &'static str| BuildError::new(field, "is for providers of that kind");
    match config.kind {
        ProviderKind::OpenAi if config.anthropic.is_some() => Err(foreign("anthropic")),
        ProviderKind::OpenAi => openai(name, config, env),
        ProviderKind::Anthropic if config.openai.is_some() => Err(foreign("openai")),
        ProviderKind::Anthropic => anthropic(name, config, env),
    }
}

#[cfg(not(all(feature = "openai", feature = "anthropic")))]
fn needs_feature(field: &'static str, feature: &str) -> BuildError {
    BuildError::new(field, format!("this build lacks the feature `{feature}`"))
}

#[cfg(not(feature = "openai"))]
fn openai(_: &str, _: &ProviderConfig, _: Env<'_>) -> Result<Built, BuildError> {
    Err(needs_feature("kind", "openai"))
}

#[cfg(not(feature = "anthropic"))]
fn anthropic(_: &str, _: &ProviderConfig, _: Env<'_>) -> Result<Built, BuildError> {
    Err(needs_feature("kind", "anthropic"))
}
