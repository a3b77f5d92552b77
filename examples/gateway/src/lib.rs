//! `evenkeel` behind the chat completions API that OpenAI's clients speak.
//!
//! An example to start from: `evenkeel-gateway evenkeel.toml` reads the client and the gateway from
//! one file and serves
//!
//! | path | |
//! |---|---|
//! | `POST /v1/chat/completions` | whole answers and streams, tools, structured output |
//! | `GET /v1/models` | the models that endpoints name |
//! | `GET /healthz`, `/readyz` | the process lives; it can serve calls right now |
//! | `GET /metrics` | what the client records, for Prometheus |
//! | `GET /`, `/status.json` | what the client is doing, for people and for scripts |
//!
//! Who calls is told by the API key, or by a header that a proxy in front sets. TLS, and who may see
//! the status page and the metrics, are that proxy's business.

pub mod answer;
pub mod busy;
pub mod callers;
pub mod chat;
pub mod failure;
pub mod gateway;
pub mod latency;
pub mod models;
pub mod probes;
pub mod request;
pub mod settings;
pub mod sse;
pub mod status;
pub mod telemetry;
