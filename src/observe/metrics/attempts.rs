//! What is recorded of attempts.

use ::metrics::SharedString;

use crate::event::Event;
use crate::observe::metrics::observer::Metrics;
use crate::observe::metrics::records::fixed;
use crate::observe::names;
use crate::rate_limits::RateLimits;
use crate::usage::Usage;

pub(super) fn record(metrics: &Metrics, event: &Event<'_>) {
    match *event {
        Event::AttemptEnded { .. } => ended(metrics, event),
        Event::ChunkReceived { provider, model, gap, .. } => {
            let of = conventional(metrics, provider, model);
            metrics.record_time(names::INFERENCE_OUTPUT_CHUNK, &of, gap);
        }
        Event::Retry { endpoint, reason, .. } => {
            let labels = [("endpoint", metrics.endpoint(endpoint)), ("reason", fixed(reason))];
            metrics.count(names::RETRIES, &labels, 1);
        }
        Event::RetryBudgetExhausted { endpoint, .. } => {
            let endpoint = ("endpoint", metrics.endpoint(endpoint));
            metrics.count(names::RETRY_BUDGET_EXHAUSTED, &[endpoint], 1);
        }
        Event::HedgeEnded { endpoint, outcome, .. } => {
            let labels = [("endpoint", metrics.endpoint(endpoint)), ("outcome", fixed(outcome))];
            metrics.count(names::HEDGES, &labels, 1);
        }
        _ => {}
    }
}

fn ended(metrics: &Metrics, event: &Event<'_>) {
    let Event::AttemptEnded {
        endpoint,
        provider,
        model,
        outcome,
        ttft,
        longest_gap,
        cost,
        rate_limits,
        ..
    } = *event
    else {
        return;
    };
    let endpoint = ("endpoint", metrics.endpoint(endpoint));
    let of = [endpoint.clone(), ("model", metrics.model(model))];
    if let Some(ttft) = ttft {
        metrics.record_time(names::ATTEMPT_TTFT, &of, ttft);
    }
    if let Some(gap) = longest_gap {
        metrics.record_time(names::STREAM_STALL, &of, gap);
    }
    if let Some(cost) = cost {
        metrics.count(names::COST_TOTAL, &of, cost.nano_dollars());
    }
    if let Some(limits) = rate_limits {
        remaining(metrics, &endpoint.1, limits);
    }
    let [endpoint, model] = of;
    let provider = ("provider", metrics.provider(provider));
    metrics.count(
        names::ATTEMPTS_ENDED,
        &[endpoint, provider, model, ("outcome", fixed(outcome))],
        1,
    );
    inference(metrics, event);
}

/// The instruments of the conventions.
fn inference(metrics: &Metrics, event: &Event<'_>) {
    let Event::AttemptEnded { provider, model, outcome, elapsed, first_chunk, usage, .. } = *event
    else {
        return;
    };
    let of = conventional(metrics, provider, model);
    if let Some(first_chunk) = first_chunk {
        metrics.record_time(names::INFERENCE_FIRST_CHUNK, &of, first_chunk);
    }
    tokens(metrics, &of, &usage);
    if outcome == "success" {
        metrics.record(names::OPERATION_INPUT, &of, usage.input_tokens.unwrap_or(0) as f64);
        metrics.record(names::OPERATION_OUTPUT, &of, usage.output_tokens.unwrap_or(0) as f64);
        metrics.record_time(names::INFERENCE_DURATION, &of, elapsed);
    } else {
        let [operation, provider, model] = of;
        let of = [operation, provider, model, (names::ERROR_TYPE, fixed(outcome))];
        metrics.record_time(names::INFERENCE_DURATION, &of, elapsed);
    }
}

/// Unknown counts are zero, so that every series is there.
fn tokens(metrics: &Metrics, of: &[(&'static str, SharedString)], usage: &Usage) {
    for (name, tokens) in [
        (names::INFERENCE_INPUT, usage.input_tokens),
        (names::INFERENCE_OUTPUT, usage.output_tokens),
        (names::INFERENCE_CACHE_READ, usage.cached_input_tokens),
        (names::INFERENCE_CACHE_WRITE, usage.cache_write_tokens),
        (names::INFERENCE_REASONING, usage.reasoning_tokens),
    ] {
        metrics.count(name, of, tokens.unwrap_or(0));
    }
}

/// The labels that the conventions require.
fn conventional(
    metrics: &Metrics,
    provider: &str,
    model: Option<&str>,
) -> [(&'static str, SharedString); 3] {
    [
        (names::OPERATION_NAME, fixed(names::CHAT)),
        (names::PROVIDER_NAME, metrics.provider(provider)),
        (names::REQUEST_MODEL, metrics.model(model)),
    ]
}

fn remaining(metrics: &Metrics, endpoint: &SharedString, limits: &RateLimits) {
    for (limit, window) in [
        ("requests", limits.requests),
        ("tokens", limits.tokens),
        ("input_tokens", limits.input_tokens),
        ("output_tokens", limits.output_tokens),
    ] {
        if let Some(remaining) = window.and_then(|window| window.remaining) {
            let labels = [("endpoint", endpoint.clone()), ("limit", fixed(limit))];
            metrics.set(names::ENDPOINT_LIMIT_REMAINING, &labels, remaining as f64);
        }
    }
}
