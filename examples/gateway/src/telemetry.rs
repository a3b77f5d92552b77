//! `GET /metrics`: what the client records, as Prometheus reads it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use evenkeel::LlmClient;
use evenkeel::observe::metrics::{Metrics, buckets};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::gateway::Gateway;
use crate::settings::Settings;

/// How many tenants have series of their own, where tenants are shown at all.
const TENANTS: usize = 50;

/// How often records are summed up while nobody scrapes: until then each one takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// The client's metrics, and the exporter that keeps them.
pub struct Telemetry {
    metrics: Metrics,
    exporter: PrometheusHandle,
}

impl Telemetry {
    /// Makes an exporter the recorder of the process. To be called before the client is built: what is
    /// recorded earlier is lost.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub fn install(settings: &Settings) -> Result<Self, BuildError> {
        let exporter = builder()?.install_recorder()?;
        Ok(Self { metrics: metrics(settings), exporter })
    }

    /// The same beside whatever records for the process: nothing arrives here. For tests.
    ///
    /// # Errors
    /// None that is known.
    pub fn detached(settings: &Settings) -> Result<Self, BuildError> {
        Ok(Self { metrics: metrics(settings), exporter: builder()?.build_recorder().handle() })
    }

    /// What the client must be observed by.
    pub fn observer(&self) -> Metrics {
        self.metrics.clone()
    }

    fn render(&self, client: &LlmClient) -> String {
        self.metrics.sample(&client.stats());
        self.exporter.render()
    }

    /// Keeps the memory of what was recorded bounded, for as long as it is polled.
    pub(crate) async fn upkeep(&self) -> Infallible {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.exporter.run_upkeep();
        }
    }
}

fn metrics(settings: &Settings) -> Metrics {
    if settings.show_tenants { Metrics::with_tenants(TENANTS) } else { Metrics::new() }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    buckets::all().try_fold(builder, |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds)
    })
}

/// What has been recorded, and what is read at this moment.
pub async fn metrics_page(State(gateway): State<Arc<Gateway>>) -> Response {
    let text = gateway.telemetry.render(&gateway.client);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
