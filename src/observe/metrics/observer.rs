//! The observer, and which event is recorded where.

use std::sync::{Arc, Once};

use ::metrics::SharedString;
use parking_lot::Mutex;

use crate::event::{Event, Observer};
use crate::observe::metrics::instruments::describe;
use crate::observe::metrics::labels::{Admitted, MOST_VALUES, Values, other};
use crate::observe::metrics::records::fixed;
use crate::observe::metrics::series::Series;
use crate::observe::metrics::tenants::TopTenants;
use crate::observe::metrics::{attempts, calls, endpoints};
use crate::observe::names;
use crate::options::TenantId;

/// Records what a client does, with the recorder that the application has installed for the `metrics`
/// facade. Install it before the client is built: what is recorded earlier is lost.
///
/// Cheap to clone; clones are one. Several clients may have it: what they do adds up, and endpoints of
/// the same id are one.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    described: Once,
    endpoints: Values,
    providers: Values,
    models: Values,
    levels: Values,
    series: Series,
    tenants: Option<Mutex<TopTenants>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Without a label for tenants.
    #[must_use]
    pub fn new() -> Self {
        Self::with(None)
    }

    /// With a label `tenant` on the number of calls, and the tokens of each: for as many tenants as
    /// `most` allows, those that call most; the rest is `_other`. At most [`MOST_VALUES`] less one;
    /// 50 is a fair number.
    ///
    /// A tenant's name is then in whatever the metrics are exported to. A value once given stays.
    #[must_use]
    pub fn with_tenants(most: usize) -> Self {
        Self::with(Some(Mutex::new(TopTenants::new(most.min(MOST_VALUES - 1)))))
    }

    fn with(tenants: Option<Mutex<TopTenants>>) -> Self {
        let shared = Shared {
            described: Once::new(),
            endpoints: Values::default(),
            providers: Values::default(),
            models: Values::default(),
            levels: Values::default(),
            series: Series::default(),
            tenants,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Gives calls for `model` a label value of their own, as calls for the models have that endpoints
    /// are configured with: for endpoints that serve any.
    #[must_use]
    pub fn allow_model(self, model: &str) -> Self {
        self.know_model(model);
        self
    }

    pub(super) fn know_model(&self, model: &str) {
        self.admitted(names::REQUEST_MODEL, self.shared.models.admit(model));
    }

    /// The value for an endpoint.
    pub(super) fn endpoint(&self, id: &str) -> SharedString {
        self.admitted("endpoint", self.shared.endpoints.admit(id))
    }

    /// The value for a provider.
    pub(super) fn provider(&self, id: &str) -> SharedString {
        self.admitted("provider", self.shared.providers.admit(id))
    }

    /// The value for a model: its name where it is known, for callers may name whatever they like.
    pub(super) fn model(&self, model: Option<&str>) -> SharedString {
        match model {
            None => fixed("_default"),
            Some(model) => self.shared.models.known(model).unwrap_or_else(other),
        }
    }

    /// The value for a level of quotas.
    pub(super) fn level(&self, level: &str) -> SharedString {
        self.admitted("level", self.shared.levels.admit(level))
    }

    pub(super) fn series(&self) -> &Series {
        &self.shared.series
    }

    /// A value that was let in, or that of all others, which is counted.
    fn admitted(&self, label: &'static str, value: Admitted) -> SharedString {
        value.unwrap_or_else(|_| {
            self.count_overflow(label);
            other()
        })
    }

    pub(super) fn count_overflow(&self, label: &'static str) {
        self.count(names::TELEMETRY_OVERFLOW, &[("label", fixed(label))], 1);
    }

    /// The value for a tenant that has made a call; `None` where there is no such label.
    pub(super) fn count_tenant(&self, tenant: Option<&TenantId>) -> Option<SharedString> {
        let tenants = self.shared.tenants.as_ref()?;
        Some(tenant.map_or(fixed("_anonymous"), |tenant| tenants.lock().count(tenant.as_str())))
    }
}

impl Observer for Metrics {
    fn on_event(&self, event: &Event<'_>) {
        self.shared.described.call_once(|| {
            ::metrics::with_recorder(|recorder| describe(recorder));
            self.set(names::BUILD_INFO, &[("version", fixed(env!("CARGO_PKG_VERSION")))], 1.0);
        });
        match event {
            Event::AttemptStarted { .. }
            | Event::AttemptEnded { .. }
            | Event::ChunkReceived { .. }
            | Event::Retry { .. }
            | Event::RetryBudgetExhausted { .. }
            | Event::Hedge { .. }
            | Event::HedgeEnded { .. } => attempts::record(self, event),
            Event::EndpointConfigured { .. }
            | Event::EndpointState { .. }
            | Event::StoreFailed { .. }
            | Event::StoreState { .. } => endpoints::record(self, event),
            _ => calls::record(self, event),
        }
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics")
            .field("tenants", &self.shared.tenants.is_some())
            .finish_non_exhaustive()
    }
}
