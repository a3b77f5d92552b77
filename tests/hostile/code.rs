//! Code and numbers of others: counters, usage, hints, streams of dust.

use std::time::Duration;

use evenkeel::chunk::ChunkStream;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    Call, CallContext, Capabilities, ChatRequest, ChatResponse, Chunk, Endpoint, Error, ErrorKind,
    LlmClient, Provider, ProviderError, Usage, async_trait,
};
use evenkeel::{FinishReason, RequestQueue};
use futures::StreamExt as _;

/// Counts as it likes.
struct Counts(fn() -> Option<u64>);

#[async_trait]
impl Provider for Counts {
    fn id(&self) -> &str {
        "counts"
    }

    fn count_tokens(&self, _: &ChatRequest) -> Option<u64> {
        (self.0)()
    }

    async fn complete(
        &self,
        _: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        Ok(ChatResponse::text_only("hi").with_usage(Usage::counted(1, 1)))
    }
}

fn limited(provider: impl Provider, tokens: u64) -> LlmClient {
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(tokens));
    LlmClient::builder()
        .endpoint(Endpoint::new(provider))
        .quota(quota.build().unwrap())
        .queue(RequestQueue::builder().build().unwrap())
        .build()
        .unwrap()
}

fn ask(tenant: &str) -> Call {
    ChatRequest::new("m").user("q").max_output_tokens(10).tenant(tenant)
}

#[tokio::test(start_paused = true)]
async fn a_counter_of_tokens_that_panics_or_lies_fails_no_call_of_others() {
    let panics = limited(Counts(|| panic!("a counter's own bug")), 1_000);
    assert_eq!(panics.complete(ask("a")).await.unwrap().text(), "hi");
    for lie in [|| Some(u64::MAX), || Some(u64::from(u32::MAX))] {
        let client = limited(Counts(lie), 1_000);
        let error = client.complete(ask("a")).await.unwrap_err();
        assert!(
            matches!(&error, Error::LargerThanQuota(over) if over.limit == "tokens"),
            "{error}"
        );
        assert_eq!(client.running(), 0);
    }
    let nothing = limited(Counts(|| Some(0)), 1_000);
    assert_eq!(nothing.complete(ask("a")).await.unwrap().text(), "hi");
}

#[tokio::test(start_paused = true)]
async fn usage_that_no_server_could_have_counted_moves_no_bound() {
    let absurd = [u64::MAX, u64::MAX - 1, 1 << 63];
    for tokens in absurd {
        let response = ChatResponse::text_only("hi").with_usage(Usage::counted(tokens, tokens));
        let provider = ScriptedProvider::new("p").forever(Answer::response(response));
        let client = limited(provider, 1_000);
        client.complete(ask("a")).await.unwrap();
        client.complete(ask("b")).await.unwrap();
        let denied = client.complete(ask("a")).await.unwrap_err();
        assert!(denied.retry_after().is_some(), "it ends: {denied}");
        assert_eq!(client.running(), 0);
        assert!(serde_json::to_string(&client.stats()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_ages_ends() {
    let hint = ProviderError::new(ErrorKind::RateLimited, "no").with_retry_after(Duration::MAX);
    let provider = ScriptedProvider::new("p").then(Answer::fail(hint)).forever(Answer::text("hi"));
    let client = LlmClient::builder().endpoint(Endpoint::new(provider)).build().unwrap();
    let error = client.complete("q").await.unwrap_err();
    let after = error.retry_after().unwrap();
    assert!(after <= Duration::from_secs(800), "{after:?}");
    tokio::time::advance(after).await;
    assert_eq!(client.complete("q").await.unwrap().text(), "hi");
}

/// A million pieces, each of one letter.
struct Dust;

#[async_trait]
impl Provider for Dust {
    fn id(&self) -> &str {
        "dust"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    async fn complete(
        &self,
        _: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        Err(ProviderError::new(ErrorKind::Unsupported, "streams only"))
    }

    async fn stream(&self, _: &ChatRequest, _: &CallContext) -> Result<ChunkStream, ProviderError> {
        let dust = (0..1_000_000_u32).map(|at| Ok(Chunk::text(at % 7, "x")));
        let done = [Ok(Chunk::done(FinishReason::Stop))];
        Ok(futures::stream::iter(dust.chain(done)).boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_million_crumbs_are_an_answer_and_nobody_else_waits_for_them() {
    let client = LlmClient::builder().endpoint(Endpoint::new(Dust)).build().unwrap();
    let other = async {
        let mut turns = 0;
        while client.running() > 0 || turns == 0 {
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    };
    let (done, turns) = futures::future::join(client.complete("q"), other).await;
    assert_eq!(done.unwrap().text().len(), 1_000_000);
    assert!(turns > 100, "others had {turns} turns");
}
