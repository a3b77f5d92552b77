//! What a client is doing, and did since it was built.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::balance::{Condition, EndpointStatus, EndpointTotals};
use crate::cache::CacheStats;
use crate::client::llm_client::Inner;
use crate::histogram::Distribution;
use crate::report::EndpointId;
use crate::time::{Instant, now};

/// What a client is doing, and did since it was built. Durations are serialised in seconds, money in
/// nano-dollars. It names endpoints and configured models, never a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClientStats {
    /// Calls that are running, streams included.
    pub running: usize,
    /// Whether the client takes no more calls.
    pub draining: bool,
    /// The calls that have ended.
    pub calls: CallTotals,
    /// Its endpoints, in the order they were added.
    pub endpoints: Vec<EndpointStats>,
    /// `None` without a queue.
    pub queue: Option<QueueTotals>,
    /// `None` without quotas.
    pub quota: Option<QuotaTotals>,
    /// `None` without a cache.
    pub cache: Option<CacheStats>,
}

/// The calls of a client that have ended, as their callers saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallTotals {
    /// Calls that were answered.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls whose caller left.
    pub cancelled: u64,
    /// Attempts that followed a failed one.
    pub retries: u64,
    /// Attempts that were started beside a slow one.
    pub hedges: u64,
    /// Changes to another model.
    pub fallbacks: u64,
    /// From the application's call to the first content it received.
    pub ttft: Distribution,
    /// From the application's call to its end, of those that were answered.
    pub total: Distribution,
}

/// One endpoint, as it is and what it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Its id.
    pub id: EndpointId,
    /// The provider's own id.
    pub provider: String,
    /// What it is doing; where it names several models, the one that is worst off.
    pub state: EndpointState,
    /// The same for each model it names.
    pub models: Vec<ModelState>,
    /// Attempts that are running, of all clients that share the endpoint.
    pub in_flight: u32,
    /// Its weight, as configured.
    pub weight: u32,
    /// Its tier.
    pub tier: u8,
    /// What its attempts came to.
    pub totals: EndpointTotals,
}

/// What an endpoint is doing, why, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EndpointState {
    /// [`Condition::label`].
    pub state: &'static str,
    /// The kind of failure that led to it, where it was one.
    pub why: Option<&'static str>,
    /// How long until it ends by itself; `None` where it does not.
    #[serde(rename = "ends_in_seconds", serialize_with = "seconds")]
    pub ends_in: Option<Duration>,
}

/// What one model of an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelState {
    /// The model's name.
    pub model: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: EndpointState,
}

/// A client's queue, and what it did for this client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueTotals {
    /// Calls that wait, of all clients that share the queue.
    pub depth: usize,
    /// The same by urgency: batch, normal, interactive.
    pub by_class: [usize; 3],
    /// How long the call that waits longest has waited.
    #[serde(rename = "oldest_wait_seconds", serialize_with = "seconds")]
    pub oldest_wait: Option<Duration>,
    /// How many calls may run at once, where that adapts itself.
    pub concurrency_limit: Option<usize>,
    /// How long those that had to wait waited before they were let through.
    pub waits: Distribution,
    /// Calls it turned away.
    pub refused: u64,
}

/// A client's limiter, and what it did for this client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuotaTotals {
    /// Scopes it keeps: tenants, models and keys.
    pub scopes: usize,
    /// Calls that got their reservation.
    pub granted: u64,
    /// Calls that a limit stood against.
    pub denied: u64,
}

impl EndpointState {
    pub(super) fn new(condition: &Condition, now: Instant) -> Self {
        let why = match condition {
            Condition::Unhealthy { .. } => Some("failures"),
            other => other.why().map(|kind| kind.label()),
        };
        let ends_in = condition.until().map(|until| until.saturating_duration_since(now));
        Self { state: condition.label(), why, ends_in }
    }
}

impl EndpointStats {
    fn new((status, totals): (EndpointStatus, EndpointTotals), now: Instant) -> Self {
        let EndpointStatus { id, provider, condition, models, in_flight, weight, tier, .. } =
            status;
        let state = |(model, condition): (String, Condition)| ModelState {
            model,
            state: EndpointState::new(&condition, now),
        };
        Self {
            id,
            provider: provider.as_ref().to_owned(),
            state: EndpointState::new(&condition, now),
            models: models.into_iter().map(state).collect(),
            in_flight,
            weight,
            tier,
            totals,
        }
    }
}

/// Reads all there is to read.
pub(super) fn read(client: &Inner) -> ClientStats {
    let now = now();
    let endpoints = client.balancer.totals(now).into_iter();
    ClientStats {
        running: client.active.running(),
        draining: client.active.is_closed(),
        calls: calls(client),
        endpoints: endpoints.map(|it| EndpointStats::new(it, now)).collect(),
        queue: queue(client),
        quota: client.quota.as_ref().map(|quota| QuotaTotals {
            scopes: quota.scopes(),
            granted: client.tally.quota_granted.read(),
            denied: client.tally.quota_denied.read(),
        }),
        cache: client.caching.as_ref().map(|caching| caching.cache.stats()),
    }
}

fn calls(client: &Inner) -> CallTotals {
    let tally = &client.tally;
    let total = tally.total.read();
    CallTotals {
        succeeded: total.count(),
        failed: tally.failed.read(),
        cancelled: tally.cancelled.read(),
        retries: tally.retries.read(),
        hedges: tally.hedges.read(),
        fallbacks: tally.fallbacks.read(),
        ttft: tally.ttft.read(),
        total,
    }
}

fn queue(client: &Inner) -> Option<QueueTotals> {
    let stats = client.waiting.as_ref()?.queue.stats();
    Some(QueueTotals {
        depth: stats.depth,
        by_class: stats.by_class,
        oldest_wait: stats.oldest_wait,
        concurrency_limit: stats.concurrency_limit,
        waits: client.tally.queue_waits.read(),
        refused: client.tally.queue_refused.read(),
    })
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
