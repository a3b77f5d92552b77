//! The gateway: what its handlers share, its routes, and its life.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use evenkeel::rng::Rng;
use evenkeel::{BuildError, LlmClient, time};
use tokio::net::TcpListener;

use crate::busy::Busy;
use crate::callers::Callers;
use crate::failure::Failure;
use crate::latency::Latency;
use crate::settings::Settings;
use crate::telemetry::{self, Telemetry};
use crate::{chat, models, probes, status};

/// How long connections may take to close once all calls have ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the handlers share.
pub struct Gateway {
    pub(crate) client: LlmClient,
    pub(crate) settings: Settings,
    pub(crate) callers: Callers,
    pub(crate) busy: Busy,
    pub(crate) latency: Latency,
    pub(crate) telemetry: Telemetry,
    pub(crate) rng: Rng,
}

impl Gateway {
    /// A gateway in front of `client`, which is observed by `telemetry`. `env` finds the callers' keys.
    ///
    /// # Errors
    /// When it is not clear who may call.
    pub fn new(
        settings: Settings,
        client: LlmClient,
        telemetry: Telemetry,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Self>, BuildError> {
        let callers = Callers::new(&settings, env)?;
        let (busy, latency) = (Busy::default(), Latency::default());
        let rng = Rng::from_entropy();
        Ok(Arc::new(Self { client, settings, callers, busy, latency, telemetry, rng }))
    }

    /// The routes.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(chat::completions))
            .route("/v1/models", get(models::models))
            .route("/healthz", get(probes::alive))
            .route("/readyz", get(probes::ready))
            .route("/metrics", get(telemetry::metrics_page))
            .route("/", get(status::page))
            .route("/status.json", get(status::json))
            .fallback(|_: Uri| async { Failure::not_served(StatusCode::NOT_FOUND) })
            .method_not_allowed_fallback(|| async {
                Failure::not_served(StatusCode::METHOD_NOT_ALLOWED)
            })
            .with_state(Arc::clone(self))
    }

    /// Serves until `stop` resolves; then takes no new calls, lets the running ones end within
    /// [`Settings::drain`], and returns how many were cut off.
    ///
    /// While it drains it still answers, so that a load balancer sees `/readyz` say no and callers get
    /// an answer they can act on.
    ///
    /// # Errors
    /// When listening fails.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<usize> {
        let (drained, cut_off) = tokio::sync::oneshot::channel();
        let draining = Arc::clone(&self);
        let end = async move {
            stop.await;
            let deadline = time::after(time::now(), draining.settings.drain);
            let _ = drained.send(draining.client.drain(deadline).await.cut_off);
        };
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(end).into_future();
        tokio::pin!(server);
        tokio::select! {
            // The server may end in the very moment in which the drain does.
            biased;
            cut_off = cut_off => {
                // Connections that a caller holds open must not hold the process open.
                let _ = tokio::time::timeout(FAREWELL, server).await;
                Ok(cut_off.unwrap_or(0))
            }
            ended = &mut server => ended.map(|()| 0),
            never = self.telemetry.upkeep() => match never {},
        }
    }
}
