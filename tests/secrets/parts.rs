//! The client, what it is configured with, and the adapters.

use evenkeel::client::{Fallback, FallbackOn, LlmClientBuilder, Shared};
use evenkeel::config::{
    AnthropicOptions, CacheConfig, ClientConfig, EmbedderName, EnvVar, OpenAiOptions,
    PostgresConfig, ProviderConfig, ProviderKind, QuotaConfig, RedisConfig, ScopeName,
    SharedConfig,
};
use evenkeel::histogram::Histogram;
use evenkeel::interop::tower::{ServiceProvider, StreamingService};
use evenkeel::observe::metrics::Metrics;
use evenkeel::observe::tracing::Spans;
use evenkeel::providers::model2vec::{Model2Vec, ModelFault};
use evenkeel::providers::{Anthropic, OpenAi};
use evenkeel::queue::QueueSettings;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::remote::Guarded;
use evenkeel::stores::postgres::PostgresIndex;
use evenkeel::stores::redis::RedisShared;
use evenkeel::testing::conformance::ProviderSuite;
use evenkeel::testing::{Answer, ScriptedProvider, SimulatedProvider};
use evenkeel::vector::ExactIndex;
use evenkeel::{Endpoint, LlmClient, RequestQueue, SemanticCache};
use futures::StreamExt as _;
use std::future::{Ready, ready};
use std::time::Duration;
use tower::Service as _;

use crate::observers::Notebook;
use crate::{CANARY, SECRET, Shown, failed, nouns, shown};

/// A URL that no server should ever see, for its password is in it.
pub(crate) fn url(scheme: &str) -> String {
    format!("{scheme}://{CANARY}:{CANARY}@127.0.0.1:1/{CANARY}?key={CANARY}")
}

pub(crate) fn all() -> Vec<Shown> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let used = [client().await, doubles().await].concat();
        [used, configurations(), wires(), stores(), observers()].concat()
    })
}

fn endpoint() -> Endpoint {
    Endpoint::new(scripted()).model("m")
}

fn scripted() -> ScriptedProvider {
    ScriptedProvider::new("p").forever(Answer::response(nouns::answer()))
}

fn builder() -> LlmClientBuilder {
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(1 << 40));
    LlmClient::builder()
        .endpoint(endpoint())
        .quota(quota.build().unwrap())
        .queue(RequestQueue::builder().weight(CANARY, 2).build().unwrap())
        .cache(SemanticCache::builder().secret(SECRET).build().unwrap())
        .shared(Shared::new(SECRET).quota(MemoryQuotaStore::new()))
        .observer(Notebook::default())
}

async fn client() -> Vec<Shown> {
    let client = builder().build().unwrap();
    let mut service = client.clone();
    let mut all = vec![shown("interop::CallFuture", service.call(nouns::call()))];
    let mut stream = client.stream(nouns::call()).await.unwrap();
    let _first = stream.next().await.unwrap().unwrap();
    let (stats, health) = (client.stats(), client.health());
    all.extend([
        shown("client::CompletionStream", &stream),
        shown("client::LlmClient", &client),
        shown("client::LlmClientBuilder", builder()),
        shown("client::ClientStats", &stats),
        shown("client::EndpointStats", &stats.endpoints),
        shown("client::EndpointState", &stats.endpoints[0].state),
        shown("client::ModelState", &stats.endpoints[0].models),
        shown("client::Health", &health),
        shown("client::ModelHealth", &health.models),
        shown("client::OutOfService", &health.models[0].out),
        shown("client::Shared", Shared::new(SECRET).quota(MemoryQuotaStore::new())),
        shown("client::Fallback", Fallback::new("m").to("n").on(FallbackOn::Unavailable)),
        shown("interop::StreamingService", StreamingService::new(client.clone())),
        shown("interop::ServiceProvider", ServiceProvider::new("p", client)),
    ]);
    all
}

/// A configuration with a canary wherever one could be written by mistake. Tenants are keys of maps.
pub(crate) fn config() -> ClientConfig {
    let mut openai = OpenAiOptions::default();
    openai.query.insert("key".into(), CANARY.into());
    let mut provider = ProviderConfig::new(ProviderKind::OpenAi);
    provider.base_url = Some(url("https"));
    provider.headers.insert("x-key".into(), CANARY.into());
    provider.headers_env.insert("x-other".into(), EnvVar::new("OTHER_KEY").unwrap());
    provider.openai = Some(openai);
    let mut quota = QuotaConfig::new();
    quota.tenants.insert(CANARY.into(), Limits::new().tokens_per_minute(1));
    let mut queue = QueueSettings::default();
    queue.weights.insert(CANARY.into(), 2);
    let mut cache = CacheConfig::new();
    cache.scope = Some(ScopeName::TenantIn(CANARY.into()));
    let mut config = ClientConfig::new();
    config.providers.insert("east".into(), provider);
    let variable = |name: &str| EnvVar::new(name).unwrap();
    let mut shared = SharedConfig::new(variable("SECRET"), RedisConfig::new(variable("URL")));
    shared.postgres = Some(PostgresConfig::new(variable("SERVER")));
    config.shared = Some(shared);
    (config.quota, config.queue, config.cache) = (Some(quota), Some(queue), Some(cache));
    config
}

fn configurations() -> Vec<Shown> {
    let config = config();
    let provider = &config.providers["east"];
    let embedder =
        || EmbedderName::OpenAi { provider: "east".into(), model: "m".into(), dimensions: None };
    vec![
        shown("config::ProviderConfig", provider),
        shown("config::OpenAiOptions", &provider.openai),
        shown("config::AnthropicOptions", AnthropicOptions::default()),
        shown("config::EnvVar", EnvVar::new("KEY").unwrap()),
        shown("config::QuotaConfig", &config.quota),
        shown("config::CacheConfig", &config.cache),
        shown("config::SharedConfig", &config.shared),
        shown("config::RedisConfig", &config.shared.as_ref().unwrap().redis),
        shown("config::PostgresConfig", &config.shared.as_ref().unwrap().postgres),
        shown("config::ScopeName", ScopeName::Namespace(CANARY.into())),
        shown("config::EmbedderName", embedder()),
        shown("config::Assembly", config.assemble().env(|_| Some(CANARY.into()))),
        shown("config::ClientConfig", &config),
    ]
}

fn wires() -> Vec<Shown> {
    let openai = || {
        let builder = OpenAi::builder().api_key(CANARY).header("x-key", CANARY);
        builder.query("key", CANARY)
    };
    let anthropic = || Anthropic::builder().api_key(CANARY).header("x-key", CANARY);
    let provider = openai().build().unwrap();
    let missing = Model2Vec::load("there-is-no-such-folder").unwrap_err();
    vec![
        shown("providers::OpenAiBuilder", openai()),
        shown("providers::OpenAiBuilder", openai().base_url(url("https"))),
        shown("providers::OpenAiEmbedder", provider.embedder("m")),
        shown("providers::OpenAi", provider),
        shown("providers::AnthropicBuilder", anthropic()),
        shown("providers::AnthropicBuilder", anthropic().base_url(url("https"))),
        shown("providers::Anthropic", anthropic().build().unwrap()),
        failed("providers::ModelFault", &missing.fault),
        failed("providers::ModelFault", &ModelFault::Damaged("no table".into())),
        failed("providers::ModelError", &missing),
    ]
}

fn stores() -> Vec<Shown> {
    let address = |scheme| format!("{scheme}://{CANARY}:{CANARY}@127.0.0.1:1/");
    let redis = || RedisShared::builder(address("redis")).secret(SECRET);
    let postgres = || PostgresIndex::builder(address("postgres")).secret(SECRET).dimensions(2);
    let shared = redis().build().unwrap();
    vec![
        shown("stores::RedisSharedBuilder", redis().answers_at(address("redis"))),
        shown("stores::RedisSharedBuilder", redis().cluster([address("redis")])),
        shown("stores::RedisCacheStore", shared.answers()),
        shown("stores::RedisFactStore", shared.facts()),
        shown("stores::RedisQuotaStore", shared.quotas()),
        shown("stores::RedisShared", shared),
        shown("stores::PostgresIndexBuilder", postgres()),
        shown("stores::PostgresIndex", postgres().build().unwrap()),
    ]
}

fn observers() -> Vec<Shown> {
    let histogram = Histogram::new();
    vec![
        shown("observe::Metrics", Metrics::with_tenants(3)),
        shown("observe::Spans", Spans::new()),
        shown("histogram::Distribution", histogram.read()),
        shown("histogram::Histogram", histogram),
        shown("remote::Guarded", Guarded::new("cache", Duration::ZERO)),
        shown("vector::ExactIndex", ExactIndex::new(2).unwrap()),
    ]
}

async fn doubles() -> Vec<Shown> {
    let provider = scripted().recording(8);
    let client = LlmClient::builder().endpoint(Endpoint::new(provider.clone())).build().unwrap();
    client.complete(nouns::call()).await.unwrap();
    let suite =
        ProviderSuite::new(made as fn() -> Ready<ScriptedProvider>).request(nouns::request());
    vec![
        shown("testing::Answer", Answer::response(nouns::answer())),
        shown("testing::Answer", Answer::fail(nouns::echo())),
        shown("testing::RecordedAttempt", provider.recorded()),
        shown("testing::ScriptedProvider", provider),
        shown("testing::SimulatedBuilder", SimulatedProvider::builder("p")),
        shown("testing::SimulatedProvider", SimulatedProvider::builder("p").build().unwrap()),
        shown("testing::ProviderSuite", suite),
    ]
}

/// A maker with a `Debug`, which closures lack.
fn made() -> Ready<ScriptedProvider> {
    ready(scripted())
}
