//! A cache as a configuration file describes it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::{
    AdmissionPolicy, CacheBuilder, Decision, LexicalEmbedder, Normalizer, SameText, Scope,
    SemanticCache,
};
use crate::config::path::under;
use crate::config::setting::set;
use crate::error::BuildError;

/// The settings of a [`SemanticCache`]. What is left out has the default of its builder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// What tells how similar questions are; `None` finds only the very same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<EmbedderName>,
    /// How long the embedder may take.
    #[serde(with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub embed_timeout: Option<Duration>,
    /// When a similar question's answer is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Who tells whether two answers say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeName>,
    /// The part of would-be hits that are fetched to go on learning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audits: Option<f64>,
    /// Who shares answers with whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeName>,
    /// Which texts are the same text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<Normalizer>,
    /// What is cached at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionPolicy>,
    /// How many entries are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<usize>,
    /// How many bytes they count for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
    /// The part of both that one scope may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_share: Option<f64>,
    /// In how many partitions similar questions are looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_partitions: Option<usize>,
    /// How long an answer is served.
    #[serde(with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Serves answers however old they are, in place of a `ttl`.
    pub no_ttl: bool,
}

/// The embedders a configuration can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum EmbedderName {
    /// [`LexicalEmbedder`]: by words, in process.
    Lexical,
    /// A model on a provider that speaks the wire of OpenAI.
    #[serde(rename = "openai")]
    OpenAi {
        /// The provider's name in the configuration.
        provider: String,
        /// The model.
        model: String,
        /// Shorter vectors than the model's own, where it can.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dimensions: Option<usize>,
    },
}

/// The judges a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JudgeName {
    /// [`SameText`].
    SameText,
}

/// A [`Scope`], as it is written.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScopeName {
    /// [`Scope::Tenant`].
    #[default]
    Tenant,
    /// [`Scope::Namespace`].
    Namespace(String),
    /// [`Scope::TenantIn`].
    TenantIn(String),
    /// [`Scope::Global`].
    Global,
}

impl From<&ScopeName> for Scope {
    fn from(name: &ScopeName) -> Self {
        match name {
            ScopeName::Tenant => Self::Tenant,
            ScopeName::Namespace(name) => Self::namespace(name.as_str()),
            ScopeName::TenantIn(name) => Self::tenant_in(name.as_str()),
            ScopeName::Global => Self::Global,
        }
    }
}

impl fmt::Debug for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Scope::from(self).fmt(f)
    }
}

impl CacheConfig {
    /// A cache of the very same questions, with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The cache, of a builder that `adjust` may change once all settings are in it.
    pub(super) fn build(
        &self,
        adjust: impl FnOnce(CacheBuilder) -> CacheBuilder,
    ) -> Result<SemanticCache, BuildError> {
        if self.no_ttl && self.ttl.is_some() {
            return Err(BuildError::new("cache.no_ttl", "excludes a ttl"));
        }
        adjust(self.builder()).build().map_err(|error| under("cache", &error))
    }

    /// Everything but an embedder on a provider.
    fn builder(&self) -> CacheBuilder {
        use CacheBuilder as B;
        let builder = match self.embedder {
            Some(EmbedderName::Lexical) => {
                SemanticCache::builder().embedder(LexicalEmbedder::new())
            }
            Some(EmbedderName::OpenAi { .. }) | None => SemanticCache::builder(),
        };
        let builder = match self.judge {
            Some(JudgeName::SameText) => builder.judge(SameText::new()),
            None => builder,
        };
        let builder = if self.no_ttl { builder.no_ttl() } else { builder };
        let builder = set(builder, self.ttl, B::ttl);
        let builder = set(builder, self.embed_timeout, B::embed_timeout);
        let builder = set(builder, self.decision, B::decision);
        let builder = set(builder, self.audits, B::audits);
        let builder = set(builder, self.scope.as_ref().map(Scope::from), B::scope);
        let builder = set(builder, self.normalizer, B::normalizer);
        let builder = set(builder, self.admission, B::admission);
        let builder = set(builder, self.max_entries, B::max_entries);
        let builder = set(builder, self.max_bytes, B::max_bytes);
        let builder = set(builder, self.max_share, B::max_share);
        set(builder, self.max_partitions, B::max_partitions)
    }
}
