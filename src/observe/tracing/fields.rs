//! What spans say. A span's fields are known when it begins; those that are not yet are empty.

use std::time::Duration;

use ::tracing::field::Empty;
use ::tracing::{Level, Span, span};

use crate::event::Event;
use crate::observe::names::*;
use crate::usage::Usage;

/// The span of a call that starts.
pub(super) fn call(event: &Event<'_>) -> Span {
    let Event::CallStarted {
        call,
        operation,
        model,
        priority,
        max_output_tokens,
        temperature,
        top_p,
        ..
    } = *event
    else {
        return Span::none();
    };
    span!(
        Level::INFO,
        CALL_SPAN,
        { OTEL_NAME } = %Name(model),
        { OTEL_KIND } = "client",
        { OTEL_STATUS } = Empty,
        { ERROR_TYPE } = Empty,
        { OPERATION_NAME } = CHAT,
        { PROVIDER_NAME } = Empty,
        { REQUEST_MODEL } = model,
        { REQUEST_STREAM } = operation == "stream",
        { REQUEST_MAX_TOKENS } = max_output_tokens,
        { REQUEST_TEMPERATURE } = temperature,
        { REQUEST_TOP_P } = top_p,
        { RESPONSE_ID } = Empty,
        { RESPONSE_MODEL } = Empty,
        { USAGE_INPUT } = Empty,
        { USAGE_OUTPUT } = Empty,
        { USAGE_CACHE_READ } = Empty,
        { USAGE_CACHE_WRITE } = Empty,
        { USAGE_REASONING } = Empty,
        { CALL } = call,
        { PRIORITY } = priority.label(),
        { OUTCOME } = Empty,
        { SOURCE } = Empty,
        { ENDPOINT } = Empty,
        { ATTEMPTS } = Empty,
        { TTFT } = Empty,
        { QUEUED } = Empty,
        { OVERHEAD } = Empty,
        { COST } = Empty,
    )
}

/// The span of an attempt that starts.
pub(super) fn attempt(parent: &Span, event: &Event<'_>) -> Span {
    let Event::AttemptStarted {
        endpoint,
        number,
        provider,
        model,
        upstream_model,
        hedge,
        trial,
        ..
    } = *event
    else {
        return Span::none();
    };
    let model = upstream_model.or(model);
    span!(
        parent: parent,
        Level::INFO,
        ATTEMPT_SPAN,
        { OTEL_NAME } = %Name(model),
        { OTEL_KIND } = "client",
        { OTEL_STATUS } = Empty,
        { ERROR_TYPE } = Empty,
        { OPERATION_NAME } = CHAT,
        { PROVIDER_NAME } = provider,
        { REQUEST_MODEL } = model,
        { RESPONSE_MODEL } = Empty,
        { RESPONSE_FIRST_CHUNK } = Empty,
        { HTTP_STATUS } = Empty,
        { USAGE_INPUT } = Empty,
        { USAGE_OUTPUT } = Empty,
        { USAGE_CACHE_READ } = Empty,
        { USAGE_CACHE_WRITE } = Empty,
        { USAGE_REASONING } = Empty,
        { ENDPOINT } = endpoint,
        { ATTEMPT } = number,
        { HEDGE } = hedge,
        { TRIAL } = trial,
        { OUTCOME } = Empty,
        { TTFT } = Empty,
        { CHUNKS } = Empty,
        { LONGEST_GAP } = Empty,
        { COST } = Empty,
    )
}

/// Which provider a call is with last is known once an attempt starts.
pub(super) fn note_provider(span: &Span, event: &Event<'_>) {
    if let Event::AttemptStarted { provider, .. } = event {
        span.record(PROVIDER_NAME, provider);
    }
}

pub(super) fn end_call(span: &Span, event: &Event<'_>) {
    let Event::CallEnded {
        outcome,
        source,
        endpoint,
        response_model,
        response_id,
        attempts,
        usage,
        cost,
        ttft,
        queued,
        overhead,
        ..
    } = *event
    else {
        return;
    };
    end(span, outcome);
    span.record(SOURCE, source);
    span.record(ENDPOINT, endpoint.map(|id| id.as_str()));
    span.record(RESPONSE_MODEL, response_model);
    span.record(RESPONSE_ID, response_id);
    span.record(ATTEMPTS, attempts);
    tokens(span, &usage);
    span.record(COST, cost.map(|cost| cost.nano_dollars()));
    span.record(TTFT, seconds(ttft));
    span.record(QUEUED, queued.as_secs_f64());
    span.record(OVERHEAD, seconds(overhead));
}

pub(super) fn end_attempt(span: &Span, event: &Event<'_>) {
    let Event::AttemptEnded {
        response_model,
        outcome,
        status,
        first_chunk,
        ttft,
        chunks,
        longest_gap,
        usage,
        cost,
        ..
    } = *event
    else {
        return;
    };
    end(span, outcome);
    span.record(RESPONSE_MODEL, response_model);
    span.record(HTTP_STATUS, status);
    span.record(RESPONSE_FIRST_CHUNK, seconds(first_chunk));
    span.record(TTFT, seconds(ttft));
    span.record(CHUNKS, chunks);
    span.record(LONGEST_GAP, seconds(longest_gap));
    tokens(span, &usage);
    span.record(COST, cost.map(|cost| cost.nano_dollars()));
}

/// A caller that left is no error of anybody's.
fn end(span: &Span, outcome: &'static str) {
    span.record(OUTCOME, outcome);
    match outcome {
        "success" => {
            span.record(OTEL_STATUS, "OK");
        }
        "cancelled" => {
            span.record(ERROR_TYPE, outcome);
        }
        _ => {
            span.record(OTEL_STATUS, "ERROR");
            span.record(ERROR_TYPE, outcome);
        }
    }
}

fn tokens(span: &Span, usage: &Usage) {
    span.record(USAGE_INPUT, usage.input_tokens);
    span.record(USAGE_OUTPUT, usage.output_tokens);
    span.record(USAGE_CACHE_READ, usage.cached_input_tokens);
    span.record(USAGE_CACHE_WRITE, usage.cache_write_tokens);
    span.record(USAGE_REASONING, usage.reasoning_tokens);
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

/// The name of a span: the operation and the model, where one is named.
struct Name<'a>(Option<&'a str>);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(model) => write!(f, "{CHAT} {model}"),
            None => f.write_str(CHAT),
        }
    }
}
