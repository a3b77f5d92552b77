//! A chunk of a stream, over the same chunk of the provider's own stream; and the way to the first one.
//!
//! A chunk is *plain* where it is there when it is asked for; it meets the *timer* where it is waited for,
//! which is when the idle limit has to be watched; it has *followers* where calls that ask the same receive
//! it too, and then the figure is what it costs a participant, the one upstream call paid by all together.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;

use evenkeel::cache::SemanticCache;
use evenkeel::client::LlmClientBuilder;
use evenkeel::{Call, Endpoint, LlmClient, Provider};
use futures::Stream;
use tokio::runtime::{Builder, Runtime};

use super::{Goal, Row, complete};
use crate::instantaneous::{Instantaneous, Question, context};
use crate::measure::{self, Effort};

/// Chunks in nanoseconds, the first one in microseconds.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "stream_chunk_ns", goal: Goal::AtMost(100.0), run: |effort| plain(effort, false) },
    Row {
        name: "stream_chunk_timer_ns",
        goal: Goal::AtMost(200.0),
        run: |effort| plain(effort, true),
    },
    Row { name: "stream_chunk_followers_ns", goal: Goal::AtMost(300.0), run: followed },
    Row { name: "stream_first_us", goal: Goal::AtMost(10.0), run: first },
];

/// Long enough that a stream's beginning and end are nothing beside it.
const CHUNKS: u32 = 2_000;

/// Calls that receive what another one fetches.
const FOLLOWERS: usize = 3;

fn plain(effort: Effort, pending: bool) -> f64 {
    chunk(effort, pending, 0, |builder| builder)
}

fn followed(effort: Effort) -> f64 {
    chunk(effort, true, FOLLOWERS, cached)
}

pub(crate) fn cached(builder: LlmClientBuilder) -> LlmClientBuilder {
    builder.cache(SemanticCache::builder().build().expect("defaults"))
}

/// What a chunk costs each of those who receive it more than it costs the one who has the provider's own
/// stream.
pub(crate) fn chunk(
    effort: Effort,
    pending: bool,
    followers: usize,
    with: impl FnOnce(LlmClientBuilder) -> LlmClientBuilder,
) -> f64 {
    let provider = || Instantaneous { id: "only", chunks: CHUNKS, pending };
    let client = with(LlmClient::builder().endpoint(Endpoint::new(provider())));
    let client = client.build().expect("one endpoint");
    let added = measure::added(effort, bare(provider()), shared(client, followers + 1));
    added / f64::from(CHUNKS) / (followers + 1) as f64
}

/// The provider's own stream, received in a task.
fn bare(provider: Instantaneous) -> impl FnMut() {
    let (runtime, mut question) = (runtime(), Question::new(1_000));
    let (provider, cx): (Arc<dyn Provider>, _) = (Arc::new(provider), Arc::new(context()));
    move || {
        let (provider, cx, request) = (Arc::clone(&provider), Arc::clone(&cx), question.next());
        let work = runtime.spawn(async move {
            receive(provider.stream(&request, &cx).await.expect("it answers")).await;
        });
        runtime.block_on(work).expect("it does not panic");
    }
}

/// A client's stream, received in so many tasks that ask the same.
fn shared(client: LlmClient, participants: usize) -> impl FnMut() {
    let (runtime, mut question) = (runtime(), Question::new(1_000));
    move || {
        let request = question.next();
        let tasks: Vec<_> = (0..participants)
            .map(|_| {
                let (client, call) = (client.clone(), Call::from(Arc::clone(&request)));
                runtime.spawn(async move {
                    receive(client.stream(call).await.expect("it answers")).await;
                })
            })
            .collect();
        drop(request);
        for task in tasks {
            runtime.block_on(task).expect("it does not panic");
        }
    }
}

/// The whole of a stream of one word, with everything on: its first chunk is there before.
pub(crate) fn first(effort: Effort) -> f64 {
    let runtime = runtime();
    let bare = {
        let (provider, cx): (Arc<dyn Provider>, _) =
            (Arc::new(Instantaneous::whole("bare")), context());
        let mut question = Question::new(1_000);
        let runtime = &runtime;
        move || {
            let request = question.next();
            runtime.block_on(async {
                receive(provider.stream(&request, &cx).await.expect("it answers")).await;
            });
        }
    };
    let (client, mut question) = (complete::client(complete::ALL), Question::new(1_000));
    let mut ours = || {
        let call = Call::from(question.next()).tenant("acme");
        runtime.block_on(async { receive(client.stream(call).await.expect("it answers")).await });
    };
    (0..complete::CACHED).for_each(|_| ours());
    measure::added(effort, bare, ours) / 1e3
}

async fn receive<S, T, E>(mut stream: S)
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: std::fmt::Debug,
{
    let mut next = async || poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
    while let Some(chunk) = next().await {
        black_box(chunk.expect("nothing breaks"));
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
