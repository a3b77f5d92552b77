//! Every instrument, with its unit and what it says of itself.

use ::metrics::{Recorder, SharedString, Unit};

use crate::observe::names;

/// What a histogram is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Duration,
    OutputChunk,
    Overhead,
    Tokens,
    Similarity,
}

impl Scale {
    const fn unit(self) -> Unit {
        match self {
            Self::Duration | Self::OutputChunk | Self::Overhead => Unit::Seconds,
            Self::Tokens | Self::Similarity => Unit::Count,
        }
    }
}

pub(super) const HISTOGRAMS: &[(&str, Scale, &str)] = &[
    (names::INFERENCE_DURATION, Scale::Duration, "How long attempts took."),
    (
        names::INFERENCE_FIRST_CHUNK,
        Scale::Duration,
        "From an attempt's start to its first chunk of any kind.",
    ),
    (
        names::INFERENCE_OUTPUT_CHUNK,
        Scale::OutputChunk,
        "From the end of a chunk of content to the end of the next.",
    ),
    (names::OPERATION_INPUT, Scale::Tokens, "Input tokens of each attempt that succeeded."),
    (names::OPERATION_OUTPUT, Scale::Tokens, "Output tokens of each attempt that succeeded."),
    (names::REQUEST_DURATION, Scale::Duration, "How long calls took, as their callers saw it."),
    (
        names::REQUEST_TTFT,
        Scale::Duration,
        "From the call to the first content its caller received, waiting and retries included.",
    ),
    (
        names::REQUEST_OVERHEAD,
        Scale::Overhead,
        "What of a call was neither spent waiting nor with a provider.",
    ),
    (names::ATTEMPT_TTFT, Scale::Duration, "From an attempt's start to its first content."),
    (
        names::STREAM_STALL,
        Scale::OutputChunk,
        "The longest time between two chunks of content of an attempt.",
    ),
    (names::QUEUE_WAIT, Scale::Duration, "How long calls that had to wait in the queue waited."),
    (names::QUOTA_WAIT, Scale::Duration, "How long calls waited for their quota."),
    (names::CACHE_SIMILARITY, Scale::Similarity, "How alike the questions of semantic hits were."),
];

const COUNTERS: &[(&str, &str)] = &[
    (names::INFERENCE_INPUT, "Input tokens of attempts, failed ones included."),
    (names::INFERENCE_OUTPUT, "Output tokens of attempts, failed ones included."),
    (names::INFERENCE_CACHE_READ, "Input tokens read from providers' prompt caches."),
    (names::INFERENCE_CACHE_WRITE, "Input tokens written to providers' prompt caches."),
    (names::INFERENCE_REASONING, "Output tokens of hidden reasoning."),
    (names::REQUESTS, "Calls that ended."),
    (names::ATTEMPTS_ENDED, "Attempts that ended."),
    (names::RETRIES, "Attempts that follow a failed one, by the failure."),
    (names::RETRY_BUDGET_EXHAUSTED, "Retries and hedges there was no budget for."),
    (names::FALLBACKS, "Calls that went on with another model."),
    (names::HEDGES, "Attempts beside slow ones, by what became of them."),
    (names::QUEUE_SHED, "Calls that the queue turned away."),
    (names::QUOTA_DECISIONS, "What quotas decided."),
    (names::QUOTA_TOKENS, "Tokens that were reserved from quotas, and charged to them."),
    (names::CACHE_LOOKUPS, "What the cache did for calls."),
    (names::TOKENS_SAVED, "Tokens that hits of the cache spared."),
    (names::COST_SAVED, "Nano-dollars that hits of the cache spared."),
    (names::COST_TOTAL, "Nano-dollars that attempts cost, as far as prices are known."),
    (names::ENDPOINT_TRANSITIONS, "States that endpoints, or one of their models, entered."),
    (names::STORE_FAILURES, "Failures of stores that instances share."),
    (names::TENANT_TOKENS, "Tokens by tenant."),
    (names::TELEMETRY_OVERFLOW, "Label values that had no room."),
];

const GAUGES: &[(&str, Unit, &str)] = &[
    (names::INFLIGHT, Unit::Count, "Calls that run, streams included."),
    (names::QUEUE_DEPTH, Unit::Count, "Calls that wait in the queue."),
    (names::QUOTA_SCOPES, Unit::Count, "Scopes the limiter keeps."),
    (names::CACHE_ENTRIES, Unit::Count, "Entries the cache holds."),
    (names::CACHE_BYTES, Unit::Bytes, "Bytes the cache holds."),
    (names::ENDPOINT_STATE, Unit::Count, "1 for the state an endpoint is in."),
    (names::ENDPOINT_INFLIGHT, Unit::Count, "Attempts that run on an endpoint."),
    (names::ENDPOINT_LIMIT_REMAINING, Unit::Count, "What a backend's headers said is left."),
    (names::STORE_OPEN, Unit::Count, "1 where a store that instances share is not asked."),
    (names::BUILD_INFO, Unit::Count, "Always 1; the version is in the label."),
];

/// Tells a recorder what the instruments are.
pub(super) fn describe(recorder: &dyn Recorder) {
    let text = |help: &'static str| SharedString::const_str(help);
    for (name, scale, help) in HISTOGRAMS {
        recorder.describe_histogram((*name).into(), Some(scale.unit()), text(help));
    }
    for (name, help) in COUNTERS {
        recorder.describe_counter((*name).into(), Some(Unit::Count), text(help));
    }
    for (name, unit, help) in GAUGES {
        recorder.describe_gauge((*name).into(), Some(*unit), text(help));
    }
}
