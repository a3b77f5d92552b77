//! What the laws are tried with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use evenkeel::cache::{Hit, Lookup, SemanticCache, Ticket};
use evenkeel::{
    CacheControl, CallOptions, ChatRequest, ChatResponse, Embedder, Embedding, ProviderError,
    async_trait,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Two coordinates at the angle that stands in the text behind the last `@`, in degrees; where there
/// is none, a degree for each `~`. Similarity is the cosine of the difference.
#[derive(Clone, Default)]
pub(crate) struct Angles {
    pub(crate) texts: Arc<AtomicUsize>,
}

#[async_trait]
impl Embedder for Angles {
    fn id(&self) -> &str {
        "angles"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        texts.iter().map(|text| Ok(Embedding::new(angle(text))?)).collect()
    }
}

fn angle(text: &str) -> Vec<f32> {
    let degrees = text.rsplit_once('@').and_then(|(_, degrees)| degrees.parse().ok());
    let waves = text.matches('~').count() as f32;
    let (sin, cos) = degrees.unwrap_or(waves).to_radians().sin_cos();
    vec![cos, sin]
}

/// Vectors by text, looked up.
#[derive(Clone, Default)]
pub(crate) struct Table(pub(crate) Arc<Mutex<HashMap<String, Vec<f32>>>>);

#[async_trait]
impl Embedder for Table {
    fn id(&self) -> &str {
        "table"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let table = self.0.lock();
        texts.iter().map(|text| Ok(Embedding::new(table[*text].clone())?)).collect()
    }
}

pub(crate) fn ask(text: &str) -> ChatRequest {
    ChatRequest::new("m").user(text)
}

/// A question at so many degrees whose words do not say so.
pub(crate) fn ask_at(word: &str, degrees: usize) -> ChatRequest {
    ask(&format!("{word} {}", "~".repeat(degrees)))
}

pub(crate) fn of_tenant(tenant: &str) -> CallOptions {
    let mut options = CallOptions::new();
    options.tenant = Some(tenant.into());
    options
}

pub(crate) fn with(control: CacheControl) -> CallOptions {
    let mut options = CallOptions::new();
    options.cache = control;
    options
}

pub(crate) async fn miss(
    cache: &SemanticCache,
    request: &ChatRequest,
    options: &CallOptions,
) -> Ticket {
    match cache.lookup(request, options).await {
        Lookup::Miss(ticket) => ticket,
        other => panic!("expected a miss: {other:?}"),
    }
}

pub(crate) async fn hit(
    cache: &SemanticCache,
    request: &ChatRequest,
    options: &CallOptions,
) -> Hit {
    match cache.lookup(request, options).await {
        Lookup::Hit(hit) => hit,
        other => panic!("expected a hit: {other:?}"),
    }
}

/// Asks and, where nothing was found, stores `answer`; the answer that was served.
pub(crate) async fn ask_or_store(
    cache: &SemanticCache,
    request: &ChatRequest,
    options: &CallOptions,
    answer: &str,
) -> Option<String> {
    match cache.lookup(request, options).await {
        Lookup::Hit(hit) => Some(hit.answer.response.text()),
        Lookup::Miss(ticket) => {
            let _ = cache.store(ticket, ChatResponse::text_only(answer));
            None
        }
        other => panic!("unexpected: {other:?}"),
    }
}
