//! What the fuzzers reach of the cache: keys as numbers, and snapshots without a file. No part of the
//! interface.

use crate::cache::builder::CacheBuilder;
use crate::cache::key::{self, Fingerprint, Normalizer, Scope, Secret};
use crate::cache::semantic_cache::SemanticCache;
use crate::cache::snapshot::{self, SnapshotFault};
use crate::options::TenantId;
use crate::request::ChatRequest;

/// The hashes of a request: scope, partition, exact key.
pub fn keys(
    request: &ChatRequest,
    scope: &Scope,
    tenant: Option<&TenantId>,
    normalizer: Normalizer,
) -> [u128; 3] {
    let secret = Secret::given(&[7; 32]);
    let scope = secret.scope(scope, tenant);
    let Fingerprint { scope, partition, exact } = secret.fingerprint(request, scope, normalizer);
    [scope.0, partition.0, exact.0]
}

/// The text that similarity may replace.
pub fn question(request: &ChatRequest) -> Option<&str> {
    key::question(request)
}

/// A snapshot file that holds `json`.
pub fn snapshot(json: &[u8]) -> Vec<u8> {
    [&snapshot::header(json)[..], json].concat()
}

/// What a file of these bytes is loaded as.
///
/// # Errors
/// What is the matter with it.
pub fn load(builder: CacheBuilder, file: &[u8]) -> Result<SemanticCache, SnapshotFault> {
    builder.load_from(file)
}

/// What a snapshot of the cache holds.
///
/// # Errors
/// Where that cannot be written as JSON.
pub fn saved(cache: &SemanticCache) -> Result<Vec<u8>, serde_json::Error> {
    snapshot::contents_of(cache)
}
