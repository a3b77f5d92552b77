//! Every name that spans and metrics have, so that a change of the conventions is a change of this
//! file.
//!
//! The `gen_ai.*` names are those of OpenTelemetry's semantic conventions for generative AI, version
//! 0.1.0, which are in development; the `llm_*` metrics and `llm.*` attributes are this crate's own.

/// `chat`, the only operation of the conventions that the crate performs.
pub const CHAT: &str = "chat";

// --- attributes of spans, and labels of the metrics of the conventions ---------------------------

/// What was done: [`CHAT`].
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The provider's id.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Whether the answer is wanted in pieces.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// The most output tokens that were asked for.
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// The temperature that was asked for.
pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
/// The nucleus that was asked for.
pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
/// The server's id of the response.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// Seconds to the first chunk.
pub const RESPONSE_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// Input tokens.
pub const USAGE_INPUT: &str = "gen_ai.usage.input_tokens";
/// Output tokens.
pub const USAGE_OUTPUT: &str = "gen_ai.usage.output_tokens";
/// Input tokens read from the provider's prompt cache.
pub const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
/// Input tokens written to the provider's prompt cache.
pub const USAGE_CACHE_WRITE: &str = "gen_ai.usage.cache_write.input_tokens";
/// Output tokens of hidden reasoning.
pub const USAGE_REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
/// How it failed: an error's label, or `cancelled`.
pub const ERROR_TYPE: &str = "error.type";
/// The HTTP status of a failure.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// The name a span is exported under.
pub const OTEL_NAME: &str = "otel.name";
/// The kind a span is exported as.
pub const OTEL_KIND: &str = "otel.kind";
/// `OK` or `ERROR`.
pub const OTEL_STATUS: &str = "otel.status_code";

// --- this crate's attributes of spans ------------------------------------------------------------

/// The span of a call.
pub const CALL_SPAN: &str = "llm.call";
/// The span of an attempt.
pub const ATTEMPT_SPAN: &str = "llm.attempt";
/// The call's number.
pub const CALL: &str = "llm.call.number";
/// How urgent the call is.
pub const PRIORITY: &str = "llm.call.priority";
/// Where the answer came from.
pub const SOURCE: &str = "llm.call.source";
/// How a call or an attempt ended.
pub const OUTCOME: &str = "llm.outcome";
/// How many attempts were made.
pub const ATTEMPTS: &str = "llm.call.attempts";
/// Seconds to the first content.
pub const TTFT: &str = "llm.ttft_seconds";
/// Seconds that were spent waiting.
pub const QUEUED: &str = "llm.call.queued_seconds";
/// Seconds that were spent neither waiting nor with a provider.
pub const OVERHEAD: &str = "llm.call.overhead_seconds";
/// Nano-dollars.
pub const COST: &str = "llm.cost_nano_usd";
/// The endpoint's id.
pub const ENDPOINT: &str = "llm.endpoint";
/// The attempt's number.
pub const ATTEMPT: &str = "llm.attempt.number";
/// Whether the attempt was made beside a slow one.
pub const HEDGE: &str = "llm.attempt.hedge";
/// Whether the attempt finds out if its endpoint works again.
pub const TRIAL: &str = "llm.attempt.trial";
/// Chunks of content.
pub const CHUNKS: &str = "llm.attempt.chunks";
/// The longest time between two chunks of content, in seconds.
pub const LONGEST_GAP: &str = "llm.attempt.longest_gap_seconds";

// --- metrics of the conventions, one record an attempt -------------------------------------------

/// How long attempts took.
pub const INFERENCE_DURATION: &str = "gen_ai.client.inference.duration";
/// From an attempt's start to its first chunk of any kind.
pub const INFERENCE_FIRST_CHUNK: &str = "gen_ai.client.inference.time_to_first_chunk";
/// From the end of a chunk of content to the end of the next.
pub const INFERENCE_OUTPUT_CHUNK: &str = "gen_ai.client.inference.time_per_output_chunk";
/// Input tokens, of failures too.
pub const INFERENCE_INPUT: &str = "gen_ai.client.inference.usage.input_tokens";
/// Output tokens, of failures too.
pub const INFERENCE_OUTPUT: &str = "gen_ai.client.inference.usage.output_tokens";
/// Input tokens read from providers' prompt caches.
pub const INFERENCE_CACHE_READ: &str = "gen_ai.client.inference.usage.cache_read.input_tokens";
/// Input tokens written to providers' prompt caches.
pub const INFERENCE_CACHE_WRITE: &str = "gen_ai.client.inference.usage.cache_write.input_tokens";
/// Output tokens of hidden reasoning.
pub const INFERENCE_REASONING: &str = "gen_ai.client.inference.usage.reasoning.output_tokens";
/// Input tokens of each attempt that succeeded.
pub const OPERATION_INPUT: &str = "gen_ai.client.inference.operation.input_tokens";
/// Output tokens of each attempt that succeeded.
pub const OPERATION_OUTPUT: &str = "gen_ai.client.inference.operation.output_tokens";

// --- this crate's metrics -------------------------------------------------------------------------

/// Calls that ended.
pub const REQUESTS: &str = "llm_requests_total";
/// How long calls took, as their callers saw it.
pub const REQUEST_DURATION: &str = "llm_request_duration_seconds";
/// From the call to the first content its caller received.
pub const REQUEST_TTFT: &str = "llm_time_to_first_token_seconds";
/// What of a call was neither spent waiting nor with a provider.
pub const REQUEST_OVERHEAD: &str = "llm_overhead_seconds";
/// Calls that run.
pub const INFLIGHT: &str = "llm_inflight";
/// Attempts that ended.
pub const ATTEMPTS_ENDED: &str = "llm_attempts_total";
/// From an attempt's start to its first content.
pub const ATTEMPT_TTFT: &str = "llm_attempt_time_to_first_token_seconds";
/// The longest time between two chunks of an attempt.
pub const STREAM_STALL: &str = "llm_stream_stall_seconds";
/// Attempts that follow a failed one.
pub const RETRIES: &str = "llm_retries_total";
/// Retries and hedges there was no budget for.
pub const RETRY_BUDGET_EXHAUSTED: &str = "llm_retry_budget_exhausted_total";
/// Changes to another model.
pub const FALLBACKS: &str = "llm_fallbacks_total";
/// Attempts beside slow ones.
pub const HEDGES: &str = "llm_hedges_total";
/// Calls that wait in the queue.
pub const QUEUE_DEPTH: &str = "llm_queue_depth";
/// How long calls waited in the queue.
pub const QUEUE_WAIT: &str = "llm_queue_wait_seconds";
/// Calls that the queue turned away.
pub const QUEUE_SHED: &str = "llm_queue_shed_total";
/// What quotas decided.
pub const QUOTA_DECISIONS: &str = "llm_quota_decisions_total";
/// Tokens that were reserved and charged.
pub const QUOTA_TOKENS: &str = "llm_quota_tokens_total";
/// How long calls waited for their quota.
pub const QUOTA_WAIT: &str = "llm_quota_wait_seconds";
/// Scopes the limiter keeps.
pub const QUOTA_SCOPES: &str = "llm_quota_scopes";
/// What the cache did for calls.
pub const CACHE_LOOKUPS: &str = "llm_cache_lookups_total";
/// How alike the questions of semantic hits were.
pub const CACHE_SIMILARITY: &str = "llm_cache_similarity";
/// Entries the cache holds.
pub const CACHE_ENTRIES: &str = "llm_cache_entries";
/// Bytes the cache holds.
pub const CACHE_BYTES: &str = "llm_cache_bytes";
/// Tokens that hits spared.
pub const TOKENS_SAVED: &str = "llm_tokens_saved_total";
/// Nano-dollars that hits spared.
pub const COST_SAVED: &str = "llm_cost_saved_nano_usd_total";
/// Nano-dollars that attempts cost.
pub const COST_TOTAL: &str = "llm_cost_nano_usd_total";
/// 1 for the state an endpoint is in, 0 for the others.
pub const ENDPOINT_STATE: &str = "llm_endpoint_state";
/// States that endpoints entered.
pub const ENDPOINT_TRANSITIONS: &str = "llm_endpoint_transitions_total";
/// Attempts that run on an endpoint.
pub const ENDPOINT_INFLIGHT: &str = "llm_endpoint_inflight";
/// What a backend's headers said is left.
pub const ENDPOINT_LIMIT_REMAINING: &str = "llm_endpoint_limit_remaining";
/// 1 where a shared store is not asked.
pub const STORE_OPEN: &str = "llm_store_open";
/// Failures of shared stores.
pub const STORE_FAILURES: &str = "llm_store_failures_total";
/// Tokens by tenant, where tenants are asked for.
pub const TENANT_TOKENS: &str = "llm_tenant_tokens_total";
/// Label values that had no room.
pub const TELEMETRY_OVERFLOW: &str = "llm_telemetry_overflow_total";
/// Always 1.
pub const BUILD_INFO: &str = "llm_build_info";

/// The value of a label whose own has no room, or is not known.
pub const OTHER: &str = "_other";
