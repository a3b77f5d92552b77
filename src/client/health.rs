//! Whether a client should get traffic.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::balance::EndpointStatus;
use crate::client::llm_client::Inner;
use crate::client::stats::EndpointState;
use crate::report::EndpointId;
use crate::time::{Instant, now};

/// Whether a client should get traffic, and why not. For readiness endpoints: a process whose client
/// is not ready is alive all the same, and restarting it brings no provider back.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Not draining, and every configured model has an endpoint that takes calls.
    pub ready: bool,
    /// Whether the client takes no more calls.
    pub draining: bool,
    /// The models that endpoints name, and `None` for calls that name no model or one that nobody
    /// names, where there is an endpoint for those.
    pub models: Vec<ModelHealth>,
    /// The stores that instances share: those of the balancer, the limiter and the cache, and any
    /// other that the client [watches]. Calls go on without a store as its policy says, so none of
    /// them makes a client unready.
    ///
    /// [watches]: crate::client::LlmClientBuilder::watch_store
    pub stores: Vec<StoreHealth>,
}

/// Whether a model is served.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelHealth {
    /// The model's name; `None` for whatever nobody names.
    pub model: Option<String>,
    /// Whether an endpoint takes calls for it, free or busy.
    pub ready: bool,
    /// The endpoints that do not, and why.
    pub out: Vec<OutOfService>,
}

/// An endpoint that takes no calls for a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OutOfService {
    /// The endpoint's id.
    pub endpoint: EndpointId,
    /// What keeps it out. Where all that serve a model failed recently, health is ignored: then they
    /// are listed here, and the model is ready.
    #[serde(flatten)]
    pub state: EndpointState,
}

/// How a shared store stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Its name.
    pub store: &'static str,
    /// `"closed"` where it is asked, `"open"` where it is not, `"half_open"` while it is tried.
    pub state: &'static str,
}

/// Looks at everything that has to be there.
pub(super) fn read(client: &Inner) -> Health {
    let now = now();
    let draining = client.active.is_closed();
    let models = models(client, now);
    Health {
        ready: !draining && models.iter().all(|model| model.ready),
        draining,
        models,
        stores: stores(client),
    }
}

fn stores(client: &Inner) -> Vec<StoreHealth> {
    let facts = client.balancer.store().into_iter();
    let quota = client.quota.iter().filter_map(|quota| Some(("quota", quota.shared()?.store)));
    let cache = client.caching.iter().flat_map(|caching| caching.cache.store_states());
    let watched = client.stores.iter().map(|store| (store.name(), store.state()));
    let all = facts.chain(quota).chain(cache).chain(watched);
    all.map(|(store, state)| StoreHealth { store, state: state.label() }).collect()
}

fn models(client: &Inner, now: Instant) -> Vec<ModelHealth> {
    let mut models = BTreeMap::<Option<String>, Vec<OutOfService>>::new();
    let status = client.balancer.status(now);
    for endpoint in &status {
        for (model, out) in out_of_service(endpoint, now) {
            models.entry(model).or_default().extend(out);
        }
    }
    let of = |(model, out): (Option<String>, _)| ModelHealth {
        ready: client.balancer.is_serving(model.as_deref(), now),
        model,
        out,
    };
    models.into_iter().map(of).collect()
}

/// The models that `endpoint` serves, each with what keeps it from serving.
fn out_of_service(
    endpoint: &EndpointStatus,
    now: Instant,
) -> impl Iterator<Item = (Option<String>, Option<OutOfService>)> {
    let any = endpoint.models.is_empty().then_some((None, endpoint.condition));
    let named = endpoint.models.iter().map(|(model, condition)| (Some(model.clone()), *condition));
    any.into_iter().chain(named).map(move |(model, condition)| {
        let out = (!condition.is_serving()).then(|| OutOfService {
            endpoint: endpoint.id.clone(),
            state: EndpointState::new(&condition, now),
        });
        (model, out)
    })
}
