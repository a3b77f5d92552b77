//! Calls that wait for an endpoint, through the whole client.

use std::time::Duration;

use evenkeel::admission::QueueRefusal;
use evenkeel::balance::EndpointLimits;
use evenkeel::client::{HedgePolicy, LlmClientBuilder, RetryPolicy};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    Call, ChatRequest, Endpoint, Error, ErrorKind, LlmClient, Priority, RequestQueue, time,
};
use futures::StreamExt as _;
use futures::future::{join, join_all};

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds, tried};

fn queue() -> RequestQueue {
    RequestQueue::builder().patience(1.0).build().unwrap()
}

fn builder_over<const N: usize>(endpoints: [Endpoint; N]) -> LlmClientBuilder {
    let builder = LlmClient::builder().seed(1).queue(queue());
    endpoints.into_iter().fold(builder, LlmClientBuilder::endpoint)
}

/// One call at a time.
fn single(provider: &ScriptedProvider) -> Endpoint {
    Endpoint::new(provider.clone()).limits(EndpointLimits::new().concurrency(1))
}

fn question() -> ChatRequest {
    ChatRequest::new("m").user("q")
}

fn takes(id: &str, time: Duration) -> ScriptedProvider {
    always(id, Answer::text("done").delay(time))
}

fn waiting(client: &LlmClient) -> usize {
    client.queue().unwrap().depth()
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_full_endpoint_instead_of_failing() {
    let provider = takes("only", seconds(2));
    let notebook = Notebook::default();
    let client = builder_over([single(&provider)]).observer(notebook.clone()).build().unwrap();
    let start = time::now();
    let calls = (0..3).map(|_| async {
        let done = client.complete(question()).await.unwrap();
        (done.report.queued.as_secs(), start.elapsed().as_secs())
    });
    assert_eq!(join_all(calls).await, [(0, 2), (2, 4), (4, 6)]);
    assert_eq!(notebook.count("Queued"), 2);
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_whichever_endpoint_frees_first() {
    let (slow, quick) = (takes("slow", seconds(10)), takes("quick", seconds(3)));
    let client = builder_over([single(&slow), single(&quick)]).build().unwrap();
    let busy = join(client.complete(question()), client.complete(question()));
    let third = async {
        let done = client.complete(question()).await.unwrap();
        (tried(&done.report.attempts), done.report.queued)
    };
    let (_, third) = join(busy, third).await;
    assert_eq!(third, (vec!["quick".to_owned()], seconds(3)));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_window_is_waited_out_on_the_same_endpoint() {
    let provider = ScriptedProvider::new("only")
        .repeat(5, Answer::rate_limited(seconds(7)))
        .forever(Answer::text("done"));
    let client = builder_over([Endpoint::new(provider.clone())])
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let done = client.complete(question()).await.unwrap();
    assert_eq!(done.report.attempts.len(), 6, "refusals for the rate are not counted");
    assert!(done.report.queued >= seconds(35), "{:?}", done.report.queued);
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn windows_without_end_are_not_waited_for_without_end() {
    let provider = always("only", Answer::rate_limited(Duration::from_millis(50)));
    let client = builder_over([Endpoint::new(provider.clone())])
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let error = client.complete(question()).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    assert_eq!(provider.counts().started, 33);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_too_late_is_not_waited_for() {
    let provider = always("only", Answer::rate_limited(seconds(60)));
    let client = builder_over([Endpoint::new(provider.clone())]).build().unwrap();
    let start = time::now();
    let error = client.complete(question().deadline_in(seconds(30))).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(error.retry_after().unwrap() >= seconds(60), "{error}");
    assert_eq!(error.trail().len(), 1);
    // Nor by the calls after it.
    let error = client.complete(question().deadline_in(seconds(30))).await.unwrap_err();
    let Error::Queue(refused) = &error else { panic!("{error}") };
    assert!(matches!(refused.why, QueueRefusal::WouldMissDeadline { .. }));
    assert!(error.retry_after().unwrap() >= seconds(60));
    assert_eq!(provider.counts().started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_retried_after_its_pause_and_keeps_its_place() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::error(ErrorKind::Server).delay(seconds(1)))
        .forever(Answer::text("done").delay(seconds(1)));
    let client = builder_over([single(&provider)]).build().unwrap();
    let first = async { client.complete(question()).await.unwrap().report };
    let second = async { client.complete(question()).await.unwrap().report };
    let (first, second) = join(first, second).await;
    assert_eq!((first.attempts.len(), second.attempts.len()), (2, 1));
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_before_what_its_tenant_asked_for_later() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::rate_limited(seconds(5)))
        .forever(Answer::text("done").delay(seconds(1)));
    let client = builder_over([single(&provider)]).build().unwrap();
    let start = time::now();
    let ended = |call: Call| async {
        client.complete(call).await.unwrap();
        start.elapsed()
    };
    let retried = ended(question().tenant("t"));
    let later = async {
        time::sleep_until(start + seconds(1)).await;
        ended(question().tenant("t")).await
    };
    let (retried, later) = join(retried, later).await;
    assert!(retried < later, "{retried:?}, {later:?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_lacks_for_good_is_not_waited_for() {
    let provider = always("only", Answer::error(ErrorKind::ModelNotFound));
    let client = builder_over([Endpoint::new(provider.clone())]).build().unwrap();
    let start = time::now();
    let error = client.complete(question()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. } | Error::Unavailable(_)), "{error}");
    assert_eq!((start.elapsed(), provider.counts().started), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_refused_at_once() {
    let provider = takes("only", seconds(1));
    let client = builder_over([Endpoint::new(provider).model("m")]).build().unwrap();
    let error = client.complete(ChatRequest::new("other").user("q")).await.unwrap_err();
    assert!(matches!(error, Error::NoEndpoint(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_its_place_until_its_end() {
    let provider = always("only", Answer::text("one two three").pace(seconds(1)));
    let client = builder_over([single(&provider)]).build().unwrap();
    let mut stream = client.stream(question()).await.unwrap();
    let second = async {
        let done = client.complete(question()).await.unwrap();
        done.report.queued
    };
    let first = async { while stream.next().await.is_some() {} };
    let ((), queued) = join(first, second).await;
    assert_eq!(queued, seconds(2), "the first word was there before");
    assert_eq!(client.queue().unwrap().stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_lets_the_next_call_pass_at_once() {
    let provider = always("only", Answer::text("one two three").pace(seconds(1)));
    let client = builder_over([single(&provider)]).build().unwrap();
    let stream = client.stream(question()).await.unwrap();
    let start = time::now();
    let second = async { client.stream(question()).await.unwrap().ttft() };
    let leave = async {
        time::sleep_until(start + Duration::from_millis(300)).await;
        drop(stream);
    };
    let (ttft, ()) = join(second, leave).await;
    assert_eq!(ttft, Some(Duration::from_millis(1_300)));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so() {
    let provider = takes("only", seconds(5));
    let queue = RequestQueue::builder().max_depth(1).patience(1.0).build().unwrap();
    let notebook = Notebook::default();
    let client = LlmClient::builder()
        .endpoint(single(&provider))
        .queue(queue)
        .observer(notebook.clone())
        .build()
        .unwrap();
    let calls = (0..3).map(|_| client.complete(question().tenant("t")));
    let ended = join_all(calls).await;
    let refused: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    let [Error::Queue(refused)] = refused[..] else { panic!("{refused:?}") };
    assert!(matches!(refused.why, QueueRefusal::Full { depth: 1, .. }), "{refused}");
    assert_eq!(notebook.count("QueueRefused"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let provider = takes("only", seconds(50));
    let client = builder_over([single(&provider)]).build().unwrap();
    let second = async {
        let start = time::now();
        let error = client.complete(question().deadline_in(seconds(3))).await.unwrap_err();
        assert_eq!((error.label(), start.elapsed()), ("deadline", seconds(3)));
        assert_eq!(waiting(&client), 0);
    };
    let _ = join(client.complete(question()), second).await;
}

#[tokio::test(start_paused = true)]
async fn the_queues_own_bound_ends_the_wait_too() {
    let provider = takes("only", seconds(50));
    let queue = RequestQueue::builder().max_wait(seconds(2)).patience(1.0).build().unwrap();
    let client = LlmClient::builder().endpoint(single(&provider)).queue(queue).build().unwrap();
    let second = async {
        let error = client.complete(question()).await.unwrap_err();
        assert_eq!(error.label(), "queue_timeout", "{error}");
    };
    let _ = join(client.complete(question()), second).await;
}

#[tokio::test(start_paused = true)]
async fn urgent_calls_go_first() {
    let provider = takes("only", seconds(1));
    let client = builder_over([single(&provider)]).build().unwrap();
    let start = time::now();
    let of = |priority| {
        let call = question().priority(priority);
        let client = &client;
        async move {
            client.complete(call).await.unwrap();
            start.elapsed().as_secs()
        }
    };
    let calls = [Priority::Normal, Priority::Batch, Priority::Normal, Priority::Interactive];
    assert_eq!(join_all(calls.map(of)).await, [1, 4, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_endpoints_lets_waiting_calls_pass() {
    let busy = takes("busy", seconds(50));
    let client = builder_over([single(&busy)]).build().unwrap();
    let second = async { client.complete(question()).await.unwrap().report };
    let add = async {
        time::sleep_until(time::now() + seconds(4)).await;
        client.balancer().add(single(&takes("new", seconds(1)))).unwrap();
    };
    let (_, (second, ())) = join(client.complete(question()), join(second, add)).await;
    assert_eq!((tried(&second.attempts), second.queued), (vec!["new".to_owned()], seconds(4)));
}

#[tokio::test(start_paused = true)]
async fn what_another_client_frees_is_handed_over_as_well() {
    let provider = takes("only", seconds(2));
    let balancer = evenkeel::Balancer::builder().endpoint(single(&provider)).build().unwrap();
    let other = LlmClient::builder().balancer(balancer.clone()).build().unwrap();
    let client = LlmClient::builder().balancer(balancer).queue(queue()).build().unwrap();
    let (first, second) = join(other.complete(question()), client.complete(question())).await;
    first.unwrap();
    assert_eq!(second.unwrap().report.queued, seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_takes_no_place_that_others_wait_for() {
    let (slow, spare) = (takes("slow", seconds(9)), takes("spare", seconds(3)));
    let client = builder_over([single(&slow), single(&spare)])
        .hedge(HedgePolicy::after(seconds(4)))
        .retry(RetryPolicy::new().budget(1.0, 100.0))
        .build()
        .unwrap();
    let calls = (0..5).map(|_| async { client.complete(question()).await.unwrap().report });
    let reports = join_all(calls).await;
    let attempts = reports.iter().flat_map(|report| report.attempts.iter());
    let hedges: Vec<_> = attempts.filter(|attempt| attempt.hedge).collect();
    // The spare endpoint is somebody's until 12 s; what then waits for the slow one is hedged there.
    assert!(hedges.iter().all(|hedge| hedge.started >= seconds(12)), "{hedges:?}");
    assert!(!hedges.is_empty(), "the last call is slow, and the spare endpoint free");
}

#[tokio::test(start_paused = true)]
async fn draining_the_client_ends_calls_that_wait() {
    let provider = takes("only", seconds(50));
    let client = builder_over([single(&provider)]).build().unwrap();
    let drain = async { client.drain(time::now() + seconds(5)).await.cut_off };
    let (first, (second, cut_off)) =
        join(client.complete(question()), join(client.complete(question()), drain)).await;
    assert_eq!((first.unwrap_err().label(), second.unwrap_err().label()), ("closed", "closed"));
    assert_eq!((cut_off, waiting(&client)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_dropped_at_any_poll_leaves_its_place() {
    let provider = takes("only", seconds(1));
    let client = builder_over([single(&provider)]).build().unwrap();
    let done = drop_at_every_poll(
        || async {
            let busy = client.stream(question()).await.unwrap();
            let release = async {
                time::sleep_until(time::now() + seconds(1)).await;
                drop(busy);
            };
            join(client.complete(question()), release).await.0
        },
        |polls| {
            assert_nothing_is_held(&client, [&provider]);
            let stats = client.queue().unwrap().stats();
            assert_eq!((stats.depth, stats.running), (0, 0), "after {polls} polls");
        },
    )
    .await;
    assert_eq!(done.unwrap().text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_model_has_a_place_of_its_own() {
    let (small, large) = (takes("small", seconds(5)), takes("large", seconds(1)));
    let client = builder_over([single(&small).model("m"), single(&large).model("spare")])
        .fallback(evenkeel::client::Fallback::new("m").to("spare"))
        .build()
        .unwrap();
    let second = async {
        let call = question().deadline_in(seconds(3));
        client.complete(call).await
    };
    let (first, second) = join(client.complete(question()), second).await;
    first.unwrap();
    // Nothing is known of how long the wait will be, so it waits for its own model to the end.
    assert_eq!(second.unwrap_err().label(), "deadline");
    assert_eq!(client.queue().unwrap().stats().running, 0);

    // Here it is known.
    small.become_forever(Answer::rate_limited(seconds(60)));
    let done = client.complete(question().deadline_in(seconds(30))).await.unwrap();
    let done =
        (tried(&done.report.attempts), client.complete(question().deadline_in(seconds(30))).await);
    assert_eq!(done.0, ["small", "large"]);
    assert_eq!(tried(&done.1.unwrap().report.attempts), ["large"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_out_its_pause_also_in_the_queue() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::error(ErrorKind::Server))
        .forever(Answer::text("done"));
    let client = builder_over([Endpoint::new(provider)])
        .retry(RetryPolicy::new().delays(seconds(50), seconds(50)))
        .build()
        .unwrap();
    let done = client.complete(question()).await.unwrap();
    // A random part of fifty seconds; the seed is fixed.
    assert!(done.report.queued > seconds(1), "{:?}", done.report.queued);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_not_tried_is_not_paused_for() {
    let first = ScriptedProvider::new("first")
        .repeat(2, Answer::text("done"))
        .forever(Answer::error(ErrorKind::Server));
    let second = ScriptedProvider::new("second")
        .then(Answer::rate_limited(seconds(3)))
        .forever(Answer::text("done"));
    let client = builder_over([Endpoint::new(first).weight(1), Endpoint::new(second).weight(1)])
        .retry(RetryPolicy::new().delays(seconds(50), seconds(50)).budget(1.0, 100.0))
        .build()
        .unwrap();
    client.complete(question()).await.unwrap();
    let refused = client.complete(question()).await.unwrap();
    assert_eq!(tried(&refused.report.attempts), ["second", "first"]);
    // The second endpoint is out for three seconds, and the first one fails meanwhile.
    let done = client.complete(question()).await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["first", "second"]);
    assert!(done.report.queued < seconds(4), "{:?}", done.report.queued);
}

#[tokio::test(start_paused = true)]
async fn a_call_comes_back_to_the_endpoint_it_left_longest_ago() {
    let failing = |id| always(id, Answer::error(ErrorKind::Server));
    let (heavy, light) = (failing("heavy"), failing("light"));
    let client = builder_over([Endpoint::new(heavy).weight(1_000), Endpoint::new(light).weight(1)])
        .retry(RetryPolicy::new().max_attempts(4).budget(1.0, 100.0))
        .build()
        .unwrap();
    let error = client.complete(question()).await.unwrap_err();
    assert_eq!(tried(error.trail()), ["heavy", "light", "heavy", "light"]);
}

#[tokio::test(start_paused = true)]
async fn who_lacks_the_model_is_left_for_who_is_only_busy() {
    let lacking = always("lacking", Answer::error(ErrorKind::ModelNotFound));
    let busy = takes("busy", seconds(5));
    let client = builder_over([single(&busy), Endpoint::new(lacking).tier(1)]).build().unwrap();
    let second = async { client.complete(question()).await.unwrap().report };
    let (first, second) = join(client.complete(question()), second).await;
    first.unwrap();
    assert_eq!(tried(&second.attempts), ["lacking", "busy"]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_floods_does_not_go_before_one_that_does_not() {
    let provider = takes("only", seconds(1));
    let client = builder_over([single(&provider)]).build().unwrap();
    let start = time::now();
    let ended = |tenant: &'static str| {
        let client = &client;
        async move {
            client.complete(question().tenant(tenant)).await.unwrap();
            (tenant, start.elapsed().as_secs())
        }
    };
    let calls = ["flood", "flood", "flood", "flood", "polite"].map(ended);
    let [.., polite] = join_all(calls).await[..] else { unreachable!() };
    assert!(polite.1 <= 3, "{polite:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_fair_is_measured_in_tokens() {
    // It uses all it may.
    let provider = evenkeel::provider_fn("only", |request, _| {
        let tokens = request.sampling.max_output_tokens.unwrap();
        async move {
            time::sleep_until(time::now() + seconds(1)).await;
            let usage = evenkeel::Usage::counted(0, tokens);
            Ok(evenkeel::ChatResponse::text_only("done").with_usage(usage))
        }
    });
    let single = Endpoint::new(provider).limits(EndpointLimits::new().concurrency(1));
    let client = builder_over([single]).build().unwrap();
    let start = time::now();
    let ended = |(tenant, tokens): (&'static str, u64)| {
        let client = &client;
        async move {
            let request = question().max_output_tokens(tokens);
            client.complete(request.tenant(tenant)).await.unwrap();
            start.elapsed().as_secs()
        }
    };
    let calls = [
        ("first", 1),
        ("large", 10_000),
        ("large", 10_000),
        ("small", 1_000),
        ("small", 1_000),
        ("small", 1_000),
    ];
    let ends = join_all(calls.map(ended)).await;
    assert!(ends[2] > ends[5], "the second large call comes after three small ones: {ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_held_to_what_it_used_not_to_what_it_might_have() {
    // Two tenants that ask for as much, of whom one uses next to nothing of it.
    let provider = evenkeel::provider_fn("only", |request, _| {
        let tokens = if request.messages[0].text() == "brief" { 1 } else { 1_000 };
        async move {
            time::sleep_until(time::now() + seconds(1)).await;
            let usage = evenkeel::Usage::counted(0, tokens);
            Ok(evenkeel::ChatResponse::text_only("done").with_usage(usage))
        }
    });
    let single = Endpoint::new(provider).limits(EndpointLimits::new().concurrency(1));
    let client = builder_over([single]).build().unwrap();
    let start = time::now();
    let ended = |tenant: &'static str| {
        let client = &client;
        async move {
            let request = ChatRequest::new("m").user(tenant).max_output_tokens(1_000);
            client.complete(request.tenant(tenant)).await.unwrap();
            start.elapsed().as_secs()
        }
    };
    let calls = ["wordy", "wordy", "wordy", "wordy", "brief", "brief", "brief", "brief"];
    let ends = join_all(calls.map(ended)).await;
    assert!(ends[7] < ends[2], "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_without_room_holds_no_other_model_up() {
    let (full, quick) = (takes("full", seconds(50)), takes("quick", seconds(5)));
    let endpoints = [single(&full).model("m"), single(&quick).model("n")];
    let client = builder_over(endpoints).build().unwrap();
    let of = |model: &'static str, priority| {
        let call = ChatRequest::new(model).user("q").priority(priority);
        let client = &client;
        async move {
            let done = client.complete(call).await.unwrap();
            (done.report.queued.as_secs(), model)
        }
    };
    let calls = [
        of("m", Priority::Normal),
        of("n", Priority::Normal),
        of("m", Priority::Interactive),
        of("n", Priority::Normal),
    ];
    let waits = join_all(calls).await;
    assert_eq!(waits, [(0, "m"), (0, "n"), (50, "m"), (5, "n")]);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_needs_and_weighs_is_asked_for_in_its_turn_too() {
    let plain =
        takes("plain", seconds(1)).with_capabilities(evenkeel::Capabilities::all().tools(false));
    let able = takes("able", seconds(1));
    let client = builder_over([Endpoint::new(plain).weight(1_000), single(&able)]).build().unwrap();
    let with_tools = || {
        let schema = serde_json::json!({"type": "object"});
        client.complete(question().tool(evenkeel::Tool::new("look_up", schema)))
    };
    let (first, second) = join(with_tools(), with_tools()).await;
    for done in [first, second] {
        assert_eq!(tried(&done.unwrap().report.attempts), ["able"]);
    }

    let limits = EndpointLimits::new().input_tokens_per_minute(1_000).burst(seconds(60));
    let narrow = Endpoint::new(takes("narrow", Duration::ZERO)).limits(limits);
    let client = builder_over([narrow]).build().unwrap();
    let long = || client.complete(ChatRequest::new("m").user("x".repeat(3_200)));
    assert_eq!(long().await.unwrap().report.queued, Duration::ZERO);
    let second = long().await.unwrap().report.queued;
    assert!((seconds(30)..seconds(40)).contains(&second), "600 of 1,000 tokens: {second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_falls_back_leaves_its_place_and_takes_another() {
    let small = always("small", Answer::error(ErrorKind::ContextLength));
    let large = takes("large", seconds(1));
    let client = builder_over([single(&small).model("m"), single(&large).model("spare")])
        .fallback(evenkeel::client::Fallback::new("m").to("spare"))
        .build()
        .unwrap();
    let (first, second) = join(client.complete(question()), client.complete(question())).await;
    for done in [first, second] {
        assert_eq!(done.unwrap().report.fell_back_to.as_deref(), Some("spare"));
    }
    let stats = client.queue().unwrap().stats();
    assert_eq!((stats.depth, stats.running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_refusal_for_the_rate_is_an_attempt_like_any_other() {
    let limited = always("limited", Answer::rate_limited(seconds(1)));
    let free = always("free", Answer::text("done"));
    let client = crate::doubles::builder_over([&limited, &free])
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let error = client.complete(question()).await.unwrap_err();
    assert_eq!(tried(error.trail()), ["limited"]);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_learns_from_the_ttft_of_attempts() {
    let provider = ScriptedProvider::new("only")
        .repeat(40, Answer::text("done").delay(seconds(1)))
        .forever(Answer::text("done").delay(seconds(9)));
    let mut policy = evenkeel::queue::AdaptivePolicy::default();
    (policy.initial, policy.max) = (20, 20);
    let queue = RequestQueue::builder().adaptive(policy).build().unwrap();
    let client =
        LlmClient::builder().endpoint(Endpoint::new(provider)).queue(queue).build().unwrap();
    let limit = || client.queue().unwrap().stats().concurrency_limit.unwrap();
    for _ in 0..2 {
        join_all((0..20).map(|_| client.complete(question()))).await;
    }
    assert_eq!(limit(), 20);
    for _ in 0..2 {
        join_all((0..20).map(|_| client.complete(question()))).await;
    }
    assert!(limit() < 20, "answers begin nine times later, and {} may run", limit());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_one_that_is_busy_where_the_other_is_out_for_longer_than_it_has() {
    let limited = ScriptedProvider::new("limited").forever(Answer::rate_limited(seconds(60)));
    let busy = takes("busy", seconds(5));
    let client = builder_over([Endpoint::new(limited), single(&busy)]).build().unwrap();
    let call = || client.complete(question().deadline_in(seconds(30)));
    // The first one finds the limited endpoint limited, the second one only what is left.
    let (first, second) = join(call(), call()).await;
    assert_eq!(tried(&first.unwrap().report.attempts), ["limited", "busy"]);
    assert_eq!(second.unwrap().report.queued, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_refused_waits_for_one_that_is_busy_as_well() {
    let busy = takes("busy", seconds(5));
    let limited = ScriptedProvider::new("limited").forever(Answer::rate_limited(seconds(60)));
    let client = builder_over([single(&busy), Endpoint::new(limited)]).build().unwrap();
    let call = || client.complete(question().deadline_in(seconds(30)));
    let (first, second) = join(call(), call()).await;
    first.unwrap();
    assert_eq!(tried(&second.unwrap().report.attempts), ["limited", "busy"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_with_no_time_for_its_pause_is_the_calls_error() {
    let provider = always("only", Answer::error(ErrorKind::Server));
    let client = builder_over([Endpoint::new(provider)])
        .retry(RetryPolicy::new().delays(seconds(5_000), seconds(5_000)))
        .build()
        .unwrap();
    let start = time::now();
    let error = client.complete(question().deadline_in(seconds(1))).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_waited_for() {
    for kind in [ErrorKind::Auth, ErrorKind::QuotaExhausted] {
        let provider = always("only", Answer::error(kind));
        let client = builder_over([Endpoint::new(provider.clone())]).build().unwrap();
        let start = time::now();
        let error = client.complete(question().deadline_in(seconds(3_600))).await.unwrap_err();
        assert_eq!(error.provider_error().map(evenkeel::ProviderError::kind), Some(kind));
        assert_eq!((start.elapsed(), provider.counts().started), (Duration::ZERO, 1), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_gets_no_calls_is_not_waited_for() {
    let unable = always("unable", Answer::error(ErrorKind::Unsupported));
    for drains in [false, true] {
        let spare = Endpoint::new(takes("spare", seconds(1))).weight(u32::from(drains));
        let client = builder_over([Endpoint::new(unable.clone()), spare]).build().unwrap();
        if drains {
            client.balancer().drain(&"spare".into()).unwrap();
        }
        let start = time::now();
        let error = client.complete(question()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_pauses_holds_up_nobody_who_could_pass() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::error(ErrorKind::Server).delay(seconds(20)))
        .forever(Answer::text("done"));
    let client = builder_over([Endpoint::new(provider)])
        .retry(RetryPolicy::new().delays(seconds(50), seconds(50)))
        .build()
        .unwrap();
    let start = time::now();
    let second = async {
        time::sleep_until(start + seconds(20) + Duration::from_millis(1)).await;
        client.complete(question()).await.unwrap().report.queued
    };
    let (first, second) = join(client.complete(question()), second).await;
    assert!(first.unwrap().report.queued > seconds(1));
    assert_eq!(second, Duration::ZERO, "the endpoint is idle and in service");
}

#[tokio::test(start_paused = true)]
async fn a_model_cannot_starve_another_on_the_same_endpoint() {
    let provider = takes("only", seconds(1));
    let client = builder_over([single(&provider)]).build().unwrap();
    let start = time::now();
    let ended = |model: &'static str| {
        let client = &client;
        async move {
            client.complete(ChatRequest::new(model).user("q")).await.unwrap();
            start.elapsed().as_secs()
        }
    };
    let models = ["m", "m", "n", "m", "m", "m", "m", "m", "m"];
    let ends = join_all(models.map(ended)).await;
    assert!(ends[2] <= 4, "the call for n came third: {ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_full_of_one_model_lets_another_pass_that_need_not_wait() {
    let (full, idle) = (takes("full", seconds(5)), takes("idle", seconds(1)));
    let queue = RequestQueue::builder().max_depth(1).patience(1.0).build().unwrap();
    let client = LlmClient::builder()
        .endpoint(single(&full).model("m"))
        .endpoint(Endpoint::new(idle).model("n"))
        .queue(queue)
        .build()
        .unwrap();
    let of = |model: &'static str, tenant: &'static str| {
        client.complete(ChatRequest::new(model).user("q").tenant(tenant))
    };
    let ended = join_all([of("m", "a"), of("m", "a"), of("n", "a"), of("n", "b")]).await;
    let refused: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_let_through_with_less_time_than_an_answer_takes() {
    let provider = takes("only", seconds(4));
    let client = builder_over([single(&provider)]).build().unwrap();
    client.complete(question()).await.unwrap();
    let (start, started) = (time::now(), provider.counts().started);
    // Free at 4 s, when an answer would still take as long: one call has the time, the other not.
    let late = client.complete(question().deadline_in(seconds(7)));
    let in_time = client.complete(question().deadline_in(seconds(60)));
    let (_, (late, in_time)) = join(client.complete(question()), join(late, in_time)).await;
    let Error::Queue(refusal) = late.unwrap_err() else { panic!("it was let through") };
    assert_eq!(refusal.why, QueueRefusal::TimedOut { waited: Duration::from_millis(3_500) });
    assert_eq!(in_time.unwrap().report.queued, seconds(4));
    assert_eq!(provider.counts().started - started, 2);
    assert_eq!(start.elapsed(), seconds(8));
}

#[tokio::test(start_paused = true)]
async fn an_estimate_of_the_answer_takes_no_more_than_half_of_the_time_to_wait() {
    let provider = takes("only", seconds(20));
    let client = builder_over([single(&provider)]).build().unwrap();
    client.complete(question()).await.unwrap();
    provider.become_forever(Answer::text("done").delay(seconds(1)));
    // By what is known it would take 20 s of the 4 there are. It does not.
    let patient = client.complete(question().deadline_in(seconds(4)));
    let (first, patient) = join(client.complete(question()), patient).await;
    assert!(first.is_ok() && patient.is_ok());
}
