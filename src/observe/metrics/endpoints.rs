//! What is recorded of endpoints and of shared stores.

use crate::event::Event;
use crate::observe::metrics::observer::Metrics;
use crate::observe::metrics::records::fixed;
use crate::observe::names;

/// The states an endpoint can be in. One that was removed is in none.
const STATES: [&str; 6] = ["eligible", "trial", "unhealthy", "cooling", "disabled", "draining"];

pub(super) fn record(metrics: &Metrics, event: &Event<'_>) {
    match *event {
        Event::EndpointConfigured { endpoint, model, .. } => {
            model.into_iter().for_each(|model| metrics.know_model(model));
            state(metrics, endpoint, "eligible");
        }
        Event::EndpointState { endpoint, state: entered, why, .. } => {
            state(metrics, endpoint, entered);
            let endpoint = ("endpoint", metrics.endpoint(endpoint));
            let labels = [endpoint, ("state", fixed(entered)), ("reason", fixed(why))];
            metrics.count(names::ENDPOINT_TRANSITIONS, &labels, 1);
        }
        Event::StoreFailed { store, why, .. } => {
            metrics.count(
                names::STORE_FAILURES,
                &[("store", fixed(store)), ("reason", fixed(why))],
                1,
            );
        }
        Event::StoreState { store, state, .. } => {
            let open = if state == "open" { 1.0 } else { 0.0 };
            metrics.set(names::STORE_OPEN, &[("store", fixed(store))], open);
        }
        _ => {}
    }
}

/// One of the states is 1, the others are 0.
pub(super) fn state(metrics: &Metrics, endpoint: &str, entered: &str) {
    let endpoint = metrics.endpoint(endpoint);
    for state in STATES {
        let labels = [("endpoint", endpoint.clone()), ("state", fixed(state))];
        metrics.set(names::ENDPOINT_STATE, &labels, if state == entered { 1.0 } else { 0.0 });
    }
}
