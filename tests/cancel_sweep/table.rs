//! Which test drops what at every poll.

use crate::found::{Pollable, pollables, pollables_among};
use crate::source::{Source, Token};

/// A test, and what it drops.
struct Sweep {
    /// Its file, below `tests/`.
    file: &'static str,
    test: &'static str,
    drops: &'static [&'static str],
}

const fn sweep(file: &'static str, test: &'static str, drops: &'static [&'static str]) -> Sweep {
    Sweep { file, test, drops }
}

/// One row for each test. Whoever adds something that can be polled adds what drops it.
const SWEEPS: &[Sweep] = &[
    sweep(
        "cancel_sweep/client.rs",
        "a_call_leaves_nothing_wherever_it_is_dropped",
        &["LlmClient::complete"],
    ),
    sweep(
        "cancel_sweep/client.rs",
        "a_stream_leaves_nothing_wherever_it_is_dropped",
        &["LlmClient::stream", "CompletionStream as Stream"],
    ),
    sweep(
        "cancel_sweep/client.rs",
        "a_stream_that_is_awaited_whole_leaves_nothing_wherever_it_is_dropped",
        &["CompletionStream::into_completion"],
    ),
    sweep(
        "cancel_sweep/client.rs",
        "a_drain_that_is_given_up_cuts_nobody_off",
        &["LlmClient::drain"],
    ),
    sweep(
        "cancel_sweep/balancer.rs",
        "a_round_of_probes_leaves_nothing_wherever_it_is_dropped",
        &["Balancer::probe"],
    ),
    sweep(
        "cancel_sweep/balancer.rs",
        "probing_for_ever_leaves_nothing_wherever_it_is_dropped",
        &["Balancer::keep_probing"],
    ),
    sweep(
        "cancel_sweep/balancer.rs",
        "a_store_of_facts_is_whole_wherever_it_is_dropped",
        &[
            "MemoryFactStore as FactStore::publish",
            "MemoryFactStore as FactStore::lift",
            "MemoryFactStore as FactStore::all",
            "Arc as FactStore::publish",
            "Arc as FactStore::lift",
            "Arc as FactStore::all",
        ],
    ),
    sweep(
        "cancel_sweep/queue.rs",
        "a_place_in_the_queue_is_given_up_wherever_it_is_dropped",
        // The first asks for the time and for the second.
        &["RequestQueue::acquire", "RequestQueue::acquire_at", "Slot::acquire_again"],
    ),
    sweep(
        "cancel_sweep/queue.rs",
        "a_drain_that_is_given_up_refuses_nobody",
        &["RequestQueue::drain", "RequestQueue::drained"],
    ),
    sweep(
        "cancel_sweep/quota.rs",
        "a_reservation_that_waits_takes_nothing_wherever_it_is_dropped",
        &["QuotaLimiter::reserve"],
    ),
    sweep(
        "cancel_sweep/quota.rs",
        "a_reservation_in_a_store_takes_nothing_wherever_it_is_dropped",
        &["QuotaLimiter::reserve"],
    ),
    sweep(
        "cancel_sweep/quota.rs",
        "a_flush_that_is_given_up_loses_nothing",
        &["QuotaLimiter::flush"],
    ),
    sweep("cancel_sweep/quota.rs", "getting_ready_may_be_given_up", &["SharedQuota::ready"]),
    sweep(
        "cancel_sweep/quota.rs",
        "a_store_of_quotas_is_whole_wherever_it_is_dropped",
        &[
            "MemoryQuotaStore as QuotaStore::reserve",
            "MemoryQuotaStore as QuotaStore::settle",
            "MemoryQuotaStore as QuotaStore::beat",
            "Arc as QuotaStore::reserve",
            "Arc as QuotaStore::settle",
            "Arc as QuotaStore::beat",
            "QuotaStore::beat",
        ],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "a_look_leaves_nothing_wherever_it_is_dropped",
        &["SemanticCache::lookup", "SemanticCache::search"],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "a_look_at_all_instances_gives_its_lead_back_wherever_it_is_dropped",
        &["SemanticCache::search_fleet"],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "taking_back_may_be_given_up_and_done_again",
        &["SemanticCache::invalidate_shared"],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "verifying_what_waits_leaves_nothing_wherever_it_is_dropped",
        &["SemanticCache::verify_waiting"],
    ),
    sweep("cancel_sweep/cache.rs", "a_replay_ends_wherever_it_is_dropped", &["Replay::stream"]),
    sweep(
        "cancel_sweep/cache.rs",
        "an_embedder_may_be_dropped_anywhere",
        &["LexicalEmbedder as Embedder::embed", "Arc as Embedder::embed"],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "a_store_of_answers_is_whole_wherever_it_is_dropped",
        &[
            "MemoryCacheStore as CacheStore::get",
            "MemoryCacheStore as CacheStore::put",
            "MemoryCacheStore as CacheStore::remove",
            "MemoryCacheStore as CacheStore::epochs",
            "MemoryCacheStore as CacheStore::advance",
            "MemoryCacheStore as CacheStore::try_lead",
            "MemoryCacheStore as CacheStore::renew",
            "MemoryCacheStore as CacheStore::release",
            "Arc as CacheStore::get",
            "Arc as CacheStore::put",
            "Arc as CacheStore::remove",
            "Arc as CacheStore::epochs",
            "Arc as CacheStore::advance",
            "Arc as CacheStore::try_lead",
            "Arc as CacheStore::renew",
            "Arc as CacheStore::release",
        ],
    ),
    sweep(
        "cancel_sweep/cache.rs",
        "an_index_is_whole_wherever_it_is_dropped",
        &[
            "MemoryVectorIndex as VectorIndex::nearest",
            "MemoryVectorIndex as VectorIndex::insert",
            "MemoryVectorIndex as VectorIndex::remove",
            "MemoryVectorIndex as VectorIndex::clean_up",
            "Arc as VectorIndex::nearest",
            "Arc as VectorIndex::insert",
            "Arc as VectorIndex::remove",
            "Arc as VectorIndex::clean_up",
        ],
    ),
    sweep(
        "cancel_sweep/flight.rs",
        "a_flight_ends_with_its_last_passenger_wherever_that_is_dropped",
        &["Participant as Stream"],
    ),
    sweep(
        "cancel_sweep/flight.rs",
        "a_follower_disturbs_nobody_wherever_it_is_dropped",
        &["Follower as Future"],
    ),
    sweep(
        "cancel_sweep/remote.rs",
        "an_operation_on_a_store_is_dropped_with_whoever_asked",
        &["Guarded::ask"],
    ),
    sweep("cancel_sweep/remote.rs", "a_deadline_is_dropped_with_its_work", &["time::until"]),
    sweep(
        "cancel_sweep/provider.rs",
        "a_double_works_for_nobody_wherever_it_is_dropped",
        &[
            "ScriptedProvider as Provider::complete",
            "ScriptedProvider as Provider::stream",
            "ScriptedProvider as Provider::probe",
            "SimulatedProvider as Provider::complete",
            "SimulatedProvider as Provider::stream",
            "SimulatedProvider as Provider::probe",
            "Arc as Provider::complete",
            "Arc as Provider::stream",
            "Arc as Provider::probe",
        ],
    ),
    sweep(
        "cancel_sweep/provider.rs",
        "what_a_provider_does_by_default_may_be_dropped_anywhere",
        &["FnProvider as Provider::complete", "Provider::stream", "Provider::probe"],
    ),
    sweep(
        "cancel_sweep/provider.rs",
        "the_laws_may_be_dropped_anywhere",
        &["ProviderSuite::run", "testing::conformance::provider"],
    ),
    sweep(
        "cancel_sweep/provider.rs",
        "the_laws_of_stores_may_be_dropped_anywhere",
        &[
            "testing::conformance::cache::store",
            "testing::conformance::facts::store",
            "testing::conformance::index::store",
            "testing::conformance::quota::store",
        ],
    ),
    sweep(
        "cancel_sweep/provider.rs",
        "dropping_may_itself_be_dropped",
        &["testing::cancel::drop_after_polls", "testing::cancel::drop_at_every_poll"],
    ),
    sweep(
        "cancel_sweep/tower.rs",
        "a_service_leaves_nothing_wherever_its_call_is_dropped",
        &["CallFuture as Future", "LlmClient as Service::call"],
    ),
    sweep(
        "cancel_sweep/tower.rs",
        "a_streaming_service_leaves_nothing_wherever_its_call_is_dropped",
        &["StreamingService as Service::call"],
    ),
    sweep(
        "cancel_sweep/tower.rs",
        "a_service_behind_a_provider_is_dropped_with_its_attempt",
        &["ServiceProvider as Provider::complete"],
    ),
    sweep(
        "cancel_sweep/openai.rs",
        "an_answer_is_let_go_of_wherever_it_is_dropped",
        &["OpenAi as Provider::complete"],
    ),
    sweep(
        "cancel_sweep/openai.rs",
        "a_stream_is_let_go_of_wherever_it_is_dropped",
        &["OpenAi as Provider::stream"],
    ),
    sweep(
        "cancel_sweep/openai.rs",
        "what_else_is_asked_is_let_go_of_wherever_it_is_dropped",
        &["OpenAi as Provider::probe", "OpenAiEmbedder as Embedder::embed"],
    ),
    sweep(
        "cancel_sweep/anthropic.rs",
        "everything_is_let_go_of_wherever_it_is_dropped",
        &[
            "Anthropic as Provider::complete",
            "Anthropic as Provider::stream",
            "Anthropic as Provider::probe",
        ],
    ),
    sweep("model2vec.rs", "a_list_may_be_dropped_at_any_text", &["Model2Vec as Embedder::embed"]),
    sweep(
        "stores_redis/cancellation.rs",
        "a_quota_takes_from_all_scopes_or_from_none_wherever_it_is_dropped",
        &[
            "RedisQuotaStore as QuotaStore::reserve",
            "RedisQuotaStore as QuotaStore::settle",
            "RedisQuotaStore as QuotaStore::beat",
        ],
    ),
    sweep(
        "stores_redis/cancellation.rs",
        "answers_are_whole_wherever_a_question_is_dropped",
        &[
            "RedisCacheStore as CacheStore::get",
            "RedisCacheStore as CacheStore::put",
            "RedisCacheStore as CacheStore::remove",
            "RedisCacheStore as CacheStore::epochs",
            "RedisCacheStore as CacheStore::advance",
            "RedisCacheStore as CacheStore::try_lead",
            "RedisCacheStore as CacheStore::renew",
            "RedisCacheStore as CacheStore::release",
        ],
    ),
    sweep(
        "stores_redis/cancellation.rs",
        "facts_are_whole_wherever_a_question_is_dropped",
        &[
            "RedisFactStore as FactStore::publish",
            "RedisFactStore as FactStore::lift",
            "RedisFactStore as FactStore::all",
        ],
    ),
    sweep(
        "stores_redis/cancellation.rs",
        "a_connection_that_nobody_waits_for_is_made_all_the_same_or_not",
        &["RedisShared::ready"],
    ),
    sweep(
        "stores_postgres/cancellation.rs",
        "a_table_is_made_wherever_its_making_was_dropped",
        &["PostgresIndex::migrate"],
    ),
    sweep(
        "stores_postgres/cancellation.rs",
        "an_index_is_whole_wherever_a_question_is_dropped",
        &[
            "PostgresIndex as VectorIndex::nearest",
            "PostgresIndex as VectorIndex::insert",
            "PostgresIndex as VectorIndex::remove",
            "PostgresIndex as VectorIndex::clean_up",
            "PostgresIndex::invalidate",
        ],
    ),
];

/// What a sweep is made with.
const DROPS: &[&str] = &["drop_at_every_poll", "drop_after_polls", "sweep", "sweep_with"];

#[test]
fn whatever_can_be_polled_is_dropped_at_every_poll() {
    let missing: Vec<_> = pollables().into_iter().filter(|it| !has_a_row(it)).collect();
    let sentence = |it: &Pollable| {
        format!("{}: `{}` can be dropped half-way, and no sweep does so", it.place, it.name)
    };
    let sentences: Vec<_> = missing.iter().map(sentence).collect();
    assert!(missing.is_empty(), "\n{}\n", sentences.join("\n"));
}

fn has_a_row(pollable: &Pollable) -> bool {
    SWEEPS.iter().any(|sweep| sweep.drops.contains(&&*pollable.name))
}

#[test]
fn every_row_names_a_test_that_is_there_and_drops_what_is_there() {
    let (tests, pollables) = (Source::under("tests"), pollables());
    for Sweep { file, test, drops } in SWEEPS {
        let source = tests.iter().find(|source| source.path == format!("tests/{file}"));
        let source = source.unwrap_or_else(|| panic!("there is no tests/{file}"));
        assert!(sweeps(&source.tokens(), test), "tests/{file} has no sweep `{test}`");
        for name in *drops {
            assert!(pollables.iter().any(|it| it.name == *name), "there is no `{name}`");
        }
    }
}

/// Whether there is a function of this name that drops something.
fn sweeps(tokens: &[Token<'_>], test: &str) -> bool {
    let Some(at) = tokens.windows(2).position(|two| two[0].text == "fn" && two[1].text == test)
    else {
        return false;
    };
    let mut body = tokens[at + 2..].iter().take_while(|token| token.text != "fn");
    body.any(|token| DROPS.contains(&token.text))
}

mod the_search {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let found = pollables_among(&[Source::parse("src/a/b.rs", text)]);
        found.into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn finds_what_users_can_poll() {
        let text = "
            pub async fn free(x: impl Fn() -> u8) {}
            pub fn stream<'a>(at: &'a u8) -> BoxStream<'a, u8> { todo }
            impl<T: Fn() -> u8> Owner<T> where T: Send { #[inline] pub async fn own(&self) {} }
            impl<T: ?Sized> Door for Arc<T> { async fn open(&self) {} }
            pub trait Door { async fn open(&self); async fn shut(&self) { self.open() } }
            impl futures::Stream for Owner<u8> { type Item = u8; }";
        let found = [
            "Arc as Door::open",
            "Door::shut",
            "Owner as Stream",
            "Owner::own",
            "a::b::free",
            "a::b::stream",
        ];
        assert_eq!(names(text), found);
    }

    #[test]
    fn passes_over_what_they_cannot() {
        let text = "
            async fn private() {}
            pub(crate) async fn inner() {}
            pub fn takes(work: impl Future) -> u8 { 1 }
            pub fn lends(&self) -> &BoxFuture { x }
            pub fn starts<F>(f: F) -> Started<F> where F: Fn() -> Fut, Fut: Future {}
            pub(super) struct Hidden;
            impl Future for Hidden { type Output = u8; }
            #[cfg(test)] mod tests { pub async fn of_a_test() {} }";
        assert_eq!(names(text), [""; 0]);
    }
}
