//! A client as a file describes it: what is read, what is refused and how, what comes of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::balance::EndpointConfig;
use evenkeel::cache::{AdmissionPolicy, Decision, Normalizer};
use evenkeel::chunk::ResponseBounds;
use evenkeel::client::{Fallback, FallbackOn, HedgePolicy, RetryPolicy};
use evenkeel::config::{
    AnthropicOptions, BodyBounds, CacheConfig, ClientConfig, EmbedderName, EnvVar, Feature,
    JudgeName, OpenAiOptions, PostgresConfig, ProviderConfig, ProviderKind, QuotaConfig,
    ReasoningName, RedisConfig, ScopeName, SharedConfig, SharedQuotaConfig, TokenLimitName,
};
use evenkeel::queue::{AdaptivePolicy, QueueSettings};
use evenkeel::quota::store::OnStoreFailure;
use evenkeel::quota::{Budget, Estimate, Limits};
use evenkeel::usage::Cost;
use evenkeel::{
    BuildError, ChatResponse, LlmClient, Provider, TenantId, Timeouts, provider_fn, time,
};
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../examples/gateway/evenkeel.toml");
const KEY: &str = "sk-test-0123456789abcdef";

fn read(text: &str) -> Result<ClientConfig, BuildError> {
    let deserializer = toml::Deserializer::parse(text);
    let deserializer = deserializer.map_err(|error| BuildError::new("", error.to_string()))?;
    ClientConfig::from_deserializer(deserializer)
}

fn own() -> impl Provider {
    provider_fn("own", |_, _| async { Ok(ChatResponse::text_only("hi")) })
}

/// Builds with providers `a` and `b` of the application's own.
fn build(config: &ClientConfig) -> Result<LlmClient, BuildError> {
    let secrets = |_: &str| Some(KEY.to_owned());
    config.assemble().env(secrets).provider("a", own()).provider("b", own()).build()
}

/// The path and the reason of what is wrong with `lines`, beside a valid endpoint.
fn fault(lines: &str) -> (String, String) {
    let file = format!("balancer.endpoints = [{{ provider = 'a' }}]\n{lines}");
    let error = read(&file).and_then(|config| build(&config).map(drop)).unwrap_err();
    (error.field().to_owned(), error.reason().to_owned())
}

/// The sample without the section that is the gateway's own.
fn sample() -> ClientConfig {
    let mut table: toml::Table = SAMPLE.parse().unwrap();
    assert!(table.remove("gateway").is_some());
    ClientConfig::from_deserializer(table).unwrap()
}

#[test]
fn an_endpoint_is_all_a_client_needs() {
    let config = read("balancer.endpoints = [{ provider = 'a' }]").unwrap();
    let client = build(&config).unwrap();
    assert!(client.quota().is_none() && client.queue().is_none() && client.cache().is_none());
    let mut without = config;
    without.balancer = Default::default();
    assert_eq!(without, ClientConfig::new());
    assert_eq!(build(&without).unwrap_err().field(), "balancer.endpoints");
}

#[test]
fn an_empty_section_is_one_with_the_defaults() {
    let config = read("balancer.endpoints = [{ provider = 'a' }]\n[quota]\n[queue]\n[cache]");
    let client = build(&config.unwrap()).unwrap();
    assert!(client.quota().is_some() && client.queue().is_some() && client.cache().is_some());
}

#[test]
fn a_field_that_cannot_be_read_is_named_by_its_path() {
    for (lines, path, reason) in [
        ("tiemouts.total = 3", "tiemouts", "unknown field"),
        ("timeouts.totel = 3", "timeouts.totel", "unknown field"),
        ("timeouts.total = 'soon'", "timeouts.total", "no duration"),
        ("retry.max_attempts = -1", "retry.max_attempts", "-1"),
        ("hedge.delay = { fixed = '1' }", "hedge.delay.fixed", "no duration"),
        ("fallbacks = [{ model = 'm', to = 3 }]", "fallbacks[0].to", "sequence"),
        ("providers.x.kind = 'openia'", "providers.x.kind", "unknown variant `openia`"),
        ("providers.x.base_url = ''", "providers.x", "missing field `kind`"),
        (
            "providers.x = { kind = 'openai', bounds = { boddy = 1 } }",
            "providers.x.bounds.boddy",
            "unknown field",
        ),
        (
            "providers.x = { kind = 'openai', without = ['speed'] }",
            "providers.x.without[0]",
            "unknown variant",
        ),
        (
            "providers.x = { kind = 'openai', openai = { qurey = {} } }",
            "providers.x.openai.qurey",
            "unknown field",
        ),
        (
            "quota.tenants.acme.rates = [{ dimension = 'tokens', amount = 'x', window = '1m' }]",
            "quota.tenants.acme.rates[0].amount",
            "expected u64",
        ),
        ("quota.per_tenant.concurrency = -2", "quota.per_tenant.concurrency", "-2"),
        (
            "quota.global.rates = [{ dimension = 'cost', amount = 1 }]",
            "quota.global.rates[0]",
            "missing field `window`",
        ),
        ("queue.adaptive.tolerence = 2", "queue.adaptive.tolerence", "unknown field"),
        ("cache.embedder = 'lexicle'", "cache.embedder", "unknown variant"),
        (
            "cache.embedder = { openai = { provider = 'x' } }",
            "cache.embedder.openai",
            "missing field `model`",
        ),
        ("cache.admission.tools = true", "cache.admission.tools", "unknown field"),
        ("cache.ttl = '1 day'", "cache.ttl", "no duration"),
    ] {
        let (at, why) = fault(lines);
        assert!(at == path && why.contains(reason), "{lines}: {at}: {why}");
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_named_by_its_path() {
    for (lines, path, reason) in [
        ("timeouts.idle = 0", "timeouts.idle", "above zero"),
        ("retry.max_attempts = 0", "retry.max_attempts", "at least 1"),
        ("hedge.delay = { ttft_quantile = 2 }", "hedge.delay", "between 0 and 1"),
        ("response_bounds.bytes = 0", "response_bounds", "above zero"),
        ("fallbacks = [{ model = 'm', to = [] }]", "fallbacks[0].to", "at least one"),
        ("quota.per_tenant.concurrency = 0", "quota.per_tenant.concurrency", "above zero"),
        ("quota.most_scopes = 0", "quota.most_scopes", "above zero"),
        ("quota.tenants.acme.concurrency = 0", "quota.tenants.acme.concurrency", "above zero"),
        (
            "quota.per_key.team.rates = [{ dimension = 'tokens', amount = 0, window = 1 }]",
            "quota.per_key.team.rates[0]",
            "zero",
        ),
        ("queue.max_depth = 0", "queue.max_depth", "above zero"),
        ("queue.adaptive.min = 0", "queue.adaptive", "0 < min"),
        ("cache.max_share = 2", "cache.max_share", "from 0 to 1"),
        ("cache.decision = { threshold = 1.5 }", "cache.decision.threshold", "(0, 1]"),
        (
            "cache.decision = { calibrated = { max_wrong_per_hit = 0.02 } }",
            "cache.judge",
            "learns from one",
        ),
        ("cache = { ttl = '1h', no_ttl = true }", "cache.no_ttl", "excludes"),
    ] {
        let (at, why) = fault(lines);
        assert!(at == path && why.contains(reason), "{lines}: {at}: {why}");
    }
    let nobody = read("balancer.endpoints = [{ provider = 'nobody' }]").unwrap();
    assert_eq!(build(&nobody).unwrap_err().field(), "balancer.endpoints[0].provider");
}

#[test]
fn a_key_in_a_file_is_refused_and_not_repeated() {
    for field in ["api_key_env", "headers_env.x-key", "api_key"] {
        let (path, reason) =
            fault(&format!("providers.x.kind = 'openai'\nproviders.x.{field} = '{KEY}'"));
        assert_eq!(path, format!("providers.x.{field}"));
        assert!(!reason.contains("0123"), "{reason}");
        let why = if field == "api_key" { "unknown field" } else { "does not belong" };
        assert!(reason.contains("line 3") && reason.contains(why), "{reason}");
    }
}

#[test]
fn debug_shows_no_header_and_no_tenant() {
    let mut config = everything();
    let provider = config.providers.get_mut("a").unwrap();
    provider.headers.insert("x-secret".into(), KEY.into());
    let shown = format!("{config:?} {:?}", config.assemble());
    assert!(!shown.contains(KEY) && !shown.contains("acme"), "{shown}");
}

/// A configuration in which nothing is as it is by default.
fn everything() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.providers = BTreeMap::from([("a".into(), openai()), ("b".into(), anthropic())]);
    let mut endpoint = EndpointConfig::new("a");
    endpoint.models = ["m", "n"].map(|model| (model.into(), format!("vendor-{model}"))).into();
    config.balancer.endpoints = vec![endpoint];
    config.timeouts = Timeouts::new().connect(Duration::from_secs(1)).total(Duration::from_secs(9));
    config.retry = RetryPolicy::never();
    config.hedge = Some(HedgePolicy::after_ttft_quantile(0.9).min_samples(9));
    config.fallbacks = vec![Fallback::new("m").to("n").on(FallbackOn::ContextLength)];
    let mut bounds = ResponseBounds::default();
    (bounds.bytes, bounds.parts) = (4_096, 16);
    config.response_bounds = bounds;
    config.quota = Some(quota());
    config.queue = Some(queue());
    config.cache = Some(cache());
    config
}

fn shared() -> SharedConfig {
    let mut redis = RedisConfig::new(variable("REDIS_URL"));
    redis.answers_url_env = Some(variable("ANSWERS_URL"));
    redis.cluster_env = Some(vec![variable("SECOND_URL")]);
    redis.prefix = Some("chat".to_owned());
    let mut postgres = PostgresConfig::new(variable("DATABASE_URL"));
    postgres.table = Some("answers".to_owned());
    postgres.dimensions = Some(384);
    postgres.exact_up_to = Some(500);
    postgres.most_per_partition = Some(9_000);
    postgres.connections = Some(2);
    let mut shared = SharedConfig::new(variable("FLEET_SECRET"), redis);
    shared.postgres = Some(postgres);
    let mut quota = SharedQuotaConfig::default();
    quota.min_instances = Some(3);
    quota.on_store_failure = Some(OnStoreFailure::Closed);
    quota.grants_expire_in = Some(Duration::from_secs(120));
    quota.leases = Some(false);
    shared.quota = quota;
    shared
}

fn variable(name: &str) -> EnvVar {
    EnvVar::new(name).unwrap()
}

fn openai() -> ProviderConfig {
    let mut provider = ProviderConfig::new(ProviderKind::OpenAi);
    provider.base_url = Some("http://127.0.0.1:1/v1".into());
    provider.api_key_env = Some(variable("A_KEY"));
    provider.model = Some("vendor-m".into());
    provider.headers = BTreeMap::from([("x-plain".into(), "yes".into())]);
    provider.headers_env = BTreeMap::from([("x-secret".into(), variable("A_HEADER"))]);
    provider.without = [Feature::Images, Feature::Files].into();
    let mut bounds = BodyBounds::default();
    (bounds.body, bounds.line) = (Some(1_000), Some(100));
    provider.bounds = bounds;
    let mut options = OpenAiOptions::default();
    options.organization = Some("org".into());
    options.project = Some("proj".into());
    options.query = BTreeMap::from([("api-version".into(), "2024-10-21".into())]);
    options.max_tokens_field = Some(TokenLimitName::MaxCompletionTokens);
    options.stream_usage = Some(false);
    options.send_reasoning = Some(ReasoningName::Reasoning);
    provider.openai = Some(options);
    provider
}

fn anthropic() -> ProviderConfig {
    let mut provider = ProviderConfig::new(ProviderKind::Anthropic);
    provider.base_url = Some("http://127.0.0.1:1".into());
    let mut options = AnthropicOptions::default();
    options.version = Some("2024-01-01".into());
    options.betas = vec!["x".into(), "y".into()];
    options.max_tokens = Some(99);
    options.cache_system = Some(true);
    provider.anthropic = Some(options);
    provider
}

fn quota() -> QuotaConfig {
    let limits = |amount| Limits::new().tokens_per_minute(amount).wait_for_concurrency();
    let mut quota = QuotaConfig::new();
    quota.global = limits(1_000);
    quota.per_tenant = limits(100).concurrency(4);
    quota.per_tenant_and_model = limits(50);
    let budget = Budget::daily_cost(Cost::from_nano_dollars(7));
    quota.tenants = BTreeMap::from([(TenantId::new("acme"), limits(500).budget(budget))]);
    quota.per_key = BTreeMap::from([("team".into(), limits(200))]);
    quota.estimate = Estimate::Expected;
    quota.most_scopes = Some(77);
    quota.count_cache_hits = true;
    quota
}

fn queue() -> QueueSettings {
    let mut queue = QueueSettings::default();
    queue.max_depth = 9;
    queue.max_depth_per_tenant = Some(3);
    queue.max_wait = Duration::from_millis(1_500);
    queue.aging = Duration::from_secs(1);
    queue.patience = 0.25;
    queue.bypass = Duration::from_secs(3);
    queue.weights = [(TenantId::new("acme"), 4)].into();
    let mut adaptive = AdaptivePolicy::default();
    adaptive.max = 50;
    queue.adaptive = Some(adaptive);
    queue
}

fn cache() -> CacheConfig {
    let mut cache = CacheConfig::new();
    cache.embedder = Some(EmbedderName::Lexical);
    cache.embed_timeout = Some(Duration::from_millis(250));
    cache.decision = Some(Decision::calibrated(0.02));
    cache.judge = Some(JudgeName::SameText);
    cache.audits = Some(0.5);
    cache.scope = Some(ScopeName::Namespace("faq".into()));
    cache.normalizer = Some(Normalizer::CaseFold);
    cache.admission = Some(AdmissionPolicy::new().most_temperature(1.0).tool_calls(true));
    cache.max_entries = Some(10);
    cache.max_bytes = Some(10_000);
    cache.max_share = Some(0.25);
    cache.max_partitions = Some(2);
    cache.ttl = Some(Duration::from_secs(90));
    cache
}

#[test]
fn what_is_written_is_read_back_in_either_format() {
    let mut meeting = everything();
    meeting.shared = Some(shared());
    for config in [everything(), meeting, ClientConfig::new(), sample()] {
        let json = serde_json::to_string(&config).unwrap();
        let mut deserializer = serde_json::Deserializer::from_str(&json);
        assert_eq!(ClientConfig::from_deserializer(&mut deserializer).unwrap(), config);
        let table = toml::Table::try_from(&config).unwrap();
        assert_eq!(ClientConfig::from_deserializer(table).unwrap(), config);
    }
    assert!(build(&everything()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn settings_reach_what_they_are_for() {
    let config = everything();
    let client = build(&config).unwrap();
    let call = || evenkeel::ChatRequest::new("m").user("q").max_output_tokens(10);

    // More is left to it than a tenant without limits of its own ever had.
    let acme = TenantId::new("acme");
    client.complete(call().tenant("acme")).await.unwrap();
    let usage = client.quota().unwrap().usage(&acme).unwrap();
    assert!(usage.available.iter().any(|&(_, left)| left > 100), "{usage:?}");

    // The namespace is shared: the second tenant is served what the first one paid for.
    let hit = client.complete(call().tenant("other")).await.unwrap();
    assert_eq!(hit.report.served_by, evenkeel::ServedBy::ExactHit);
    assert_eq!(client.balancer().status(time::now())[0].id, "a");
    assert_eq!(client.queue().unwrap().stats().concurrency_limit, Some(20));
}

proptest! {
    /// Nothing that a file may hold is worse than an error.
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = read(&text);
    }

    /// Values of every type in the place of every setting.
    #[test]
    fn no_value_in_any_place_panics(place in 0_usize..1_000, value in value()) {
        let mut json = serde_json::to_value(everything()).unwrap();
        let places = count(&json);
        replace(&mut json, &mut (place % places), &value);
        let read = ClientConfig::from_deserializer(json);
        if let Ok(config) = read {
            let _ = build(&config);
            let _ = config.assemble().env(|_| None).build();
        }
    }

    /// A sample with a piece of it torn out or doubled.
    #[test]
    fn no_damaged_file_panics(from in 0_usize..SAMPLE.len(), length in 0_usize..80, twice: bool) {
        let to = (from + length).min(SAMPLE.len());
        if let (Some(head), Some(piece), Some(tail)) =
            (SAMPLE.get(..from), SAMPLE.get(from..to), SAMPLE.get(to..))
        {
            let piece = if twice { piece.repeat(2) } else { String::new() };
            if let Ok(config) = read(&format!("{head}{piece}{tail}")) {
                let _ = build(&config);
            }
        }
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, u64::MAX]).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9.]{1,9}(ms|s|m|h|d)".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, "x"])),
        Just(json!({"x": 1})),
    ]
}

/// How many values `json` holds, itself included.
fn count(json: &serde_json::Value) -> usize {
    1 + children(json).map(count).sum::<usize>()
}

fn children(json: &serde_json::Value) -> Box<dyn Iterator<Item = &serde_json::Value> + '_> {
    match json {
        serde_json::Value::Array(items) => Box::new(items.iter()),
        serde_json::Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Puts `value` in the place number `place`, counted from `json` itself.
fn replace(json: &mut serde_json::Value, place: &mut usize, value: &serde_json::Value) -> bool {
    if *place == 0 {
        *json = value.clone();
        return true;
    }
    *place -= 1;
    match json {
        serde_json::Value::Array(items) => items.iter_mut().any(|item| replace(item, place, value)),
        serde_json::Value::Object(fields) => {
            fields.values_mut().any(|field| replace(field, place, value))
        }
        _ => false,
    }
}

#[cfg(all(feature = "openai", feature = "anthropic"))]
#[path = "config/wires.rs"]
mod wires;

#[cfg(all(feature = "redis", feature = "postgres"))]
#[path = "config/meeting.rs"]
mod meeting;

#[cfg(not(feature = "redis"))]
#[test]
fn a_store_that_this_build_lacks_is_named_with_its_feature() {
    let lines = "[shared]\nsecret_env = 'S'\nredis.url_env = 'URL'";
    let (path, reason) = fault(lines);
    assert_eq!(path, "shared.redis");
    assert!(reason.contains("`redis`"), "{reason}");
}
