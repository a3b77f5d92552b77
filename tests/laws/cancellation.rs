//! Dropping anything anywhere is a complete cancellation.

use evenkeel::testing::{Answer, ScriptedProvider, drop_after_polls, drop_at_every_poll};
use evenkeel::{Chunk, ErrorKind, LlmClient};
use futures::StreamExt as _;

use crate::doubles::{
    Notebook, always, assert_nothing_is_held, builder_over, client_over, seconds,
};

/// One that fails after content was promised, one that takes its time.
fn eventful() -> [ScriptedProvider; 2] {
    let failing = always("failing", Answer::error(ErrorKind::Server).delay(seconds(1)));
    let slow =
        always("slow", Answer::text("one two three four").delay(seconds(1)).pace(seconds(1)));
    [failing, slow]
}

#[tokio::test(start_paused = true)]
async fn dropping_complete_at_every_poll_leaves_nothing() {
    let [failing, slow] = eventful();
    let done = drop_at_every_poll(
        || async {
            let client = client_over([&failing, &slow]);
            let done = client.complete("q").await;
            assert_nothing_is_held(&client, [&failing, &slow]);
            done
        },
        |polls| {
            let open = failing.counts().open + slow.counts().open;
            assert_eq!(open, 0, "a body is open after {polls} polls");
        },
    )
    .await;
    assert_eq!(done.unwrap().text(), "one two three four");
}

/// As above with one client for all, so that a leak of any of its drops would be seen.
#[tokio::test(start_paused = true)]
async fn dropping_complete_at_every_poll_leaves_the_client_as_it_was() {
    let [failing, slow] = eventful();
    let notebook = Notebook::default();
    let client = builder_over([&failing, &slow]).observer(notebook.clone()).build().unwrap();
    let done = drop_at_every_poll(
        || client.complete("q"),
        |_| assert_nothing_is_held(&client, [&failing, &slow]),
    )
    .await;
    assert_eq!(done.unwrap().text(), "one two three four");
    assert!(notebook.count("AttemptStarted") > 4);
    assert_eq!(notebook.count("AttemptStarted"), notebook.count("AttemptEnded"));
}

async fn read_to_the_end(client: LlmClient) -> String {
    let mut stream = client.stream("q").await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().as_text().unwrap_or_default());
    }
    text
}

#[tokio::test(start_paused = true)]
async fn dropping_stream_at_every_poll_leaves_nothing() {
    let [failing, slow] = eventful();
    let client = client_over([&failing, &slow]);
    let text = drop_at_every_poll(
        || read_to_the_end(client.clone()),
        |_| assert_nothing_is_held(&client, [&failing, &slow]),
    )
    .await;
    assert_eq!(text, "one two three four");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_after_any_chunk_closes_the_body_upstream() {
    let provider = always("p", Answer::text("one two three four").pace(seconds(1)));
    let client = client_over([&provider]);
    for chunks in 0..=6 {
        let mut stream = client.stream("q").await.unwrap();
        for _ in 0..chunks {
            stream.next().await.unwrap().unwrap();
        }
        assert_eq!(client.running(), usize::from(!ended(&stream)));
        drop(stream);
        assert_nothing_is_held(&client, [&provider]);
    }
    assert!(provider.counts().cancelled > 0);
}

fn ended(stream: &evenkeel::CompletionStream) -> bool {
    stream.report().is_some()
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_attempt_is_no_fault_of_its_endpoint() {
    let provider = always("p", Answer::hang());
    let client = client_over([&provider]);
    for _ in 0..20 {
        assert!(drop_after_polls(client.complete("q"), 1).await.is_none());
    }
    let status = &client.balancer().status(evenkeel::time::now())[0];
    assert_eq!(status.condition.label(), "eligible");
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_finish_that_fit_the_grace_and_ends_the_rest() {
    let quick = always("quick", Answer::text("a b c").pace(seconds(1)));
    let client = client_over([&quick]);
    let endless = always("endless", Answer::text("a b").hang_after(1));
    let stuck = client_over([&endless]);

    let mut stream = client.stream("q").await.unwrap();
    let reading = async {
        let mut last = None;
        while let Some(chunk) = stream.next().await {
            last = Some(chunk.unwrap());
        }
        last
    };
    let grace = evenkeel::time::now() + seconds(10);
    let (drained, last) = futures::future::join(client.drain(grace), reading).await;
    assert_eq!(drained.cut_off, 0);
    assert!(last.as_ref().is_some_and(Chunk::is_done));
    assert!(matches!(client.complete("q").await, Err(evenkeel::Error::Closed { .. })));

    let mut stream = stuck.stream("q").await.unwrap();
    let reading = async {
        while let Some(chunk) = stream.next().await {
            if let Err(error) = chunk {
                return Some(error);
            }
        }
        None
    };
    let grace = evenkeel::time::now() + seconds(10);
    let (drained, error) = futures::future::join(stuck.drain(grace), reading).await;
    assert_eq!((drained.cut_off, evenkeel::time::now()), (1, grace));
    assert!(matches!(error, Some(evenkeel::Error::Closed { .. })), "{error:?}");
    assert_nothing_is_held(&stuck, [&endless]);
}
