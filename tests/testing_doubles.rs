//! The doubles keep what they promise: scripts are followed, servers are fair, nothing leaks.

use std::time::Duration;

use evenkeel::chunk::ChunkStart;
use evenkeel::rng::Rng;
use evenkeel::testing::{
    Answer, CallCounts, Distribution, Fault, ScriptedProvider, ServerLimits, SimulatedBuilder,
    SimulatedProvider, drop_at_every_poll,
};
use evenkeel::time::{Instant, after, now, sleep_until, until};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Chunk, ErrorKind, FinishReason, Provider,
    ProviderError, Usage,
};
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn cx() -> CallContext {
    CallContext::new(after(now(), 600 * SECOND))
}

async fn ask(provider: &impl Provider) -> Result<ChatResponse, ProviderError> {
    provider.complete(&"to be or not".into(), &cx()).await
}

/// Everything a stream gives, or the failure that ends it.
async fn stream(provider: &impl Provider) -> Result<Vec<Chunk>, ProviderError> {
    let stream = provider.stream(&"to be or not".into(), &cx()).await?;
    stream.collect::<Vec<_>>().await.into_iter().collect()
}

fn text(chunks: &[Chunk]) -> String {
    chunks.iter().filter_map(Chunk::as_text).collect()
}

/// Whether `future` is still not ready after an hour.
async fn hangs<T>(future: impl Future<Output = T>) -> bool {
    until(after(now(), 3_600 * SECOND), future).await.is_none()
}

async fn panics<T>(future: impl Future<Output = T>) -> bool {
    std::panic::AssertUnwindSafe(future).catch_unwind().await.is_err()
}

fn assert_settled(counts: CallCounts) {
    let CallCounts { started, open, served, rate_limited, failed, cancelled, .. } = counts;
    assert_eq!(open, 0, "{counts:?}");
    assert_eq!(started, served + rate_limited + failed + cancelled, "{counts:?}");
}

mod scripted {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_are_given_in_order_and_the_end_of_the_script_is_an_error() {
        let provider = ScriptedProvider::new("p")
            .then(Answer::error(ErrorKind::Overloaded))
            .repeat(2, Answer::text("twice"))
            .then(Answer::rate_limited(SECOND));
        assert_eq!(provider.unused(), 4);

        let error = ask(&provider).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Overloaded, Some(503)));
        assert_eq!(ask(&provider.clone()).await.unwrap().text(), "twice");
        assert_eq!(text(&stream(&provider).await.unwrap()), "twice");
        assert_eq!(ask(&provider).await.unwrap_err().retry_after(), Some(SECOND));

        let error = ask(&provider).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(error.message().contains("\"p\" has no answer left"), "{}", error.message());

        let counts = provider.counts();
        assert_settled(counts);
        let CallCounts { started, served, rate_limited, failed, .. } = counts;
        assert_eq!((started, served, rate_limited, failed), (5, 2, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_can_change_while_a_test_runs() {
        let provider = ScriptedProvider::new("p").forever(Answer::text("well"));
        assert!(ask(&provider).await.is_ok());
        provider.become_forever(Answer::error(ErrorKind::Server));
        assert!(ask(&provider).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_come_before_the_headers_and_before_each_content_chunk() {
        let answer = Answer::text("a b c").delay(300 * MILLI).pace(20 * MILLI);
        let provider = ScriptedProvider::new("p").forever(answer);
        let start = now();
        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert_eq!(now() - start, 300 * MILLI);
        assert!(matches!(body.next().await, Some(Ok(Chunk::Start(_)))));
        assert_eq!(now() - start, 300 * MILLI);
        for n in 1..=3 {
            assert!(body.next().await.unwrap().unwrap().is_content());
            assert_eq!(now() - start, (300 + 20 * n) * MILLI);
        }
        assert!(matches!(body.next().await, Some(Ok(Chunk::Usage(_)))));
        assert_eq!(body.next().await.unwrap().unwrap(), Chunk::done(FinishReason::Stop));
        assert_eq!(now() - start, 360 * MILLI);

        let start = now();
        ask(&provider).await.unwrap();
        assert_eq!(now() - start, 360 * MILLI, "a whole answer takes as long as the stream");
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_are_sent_as_given_each_after_its_own_wait() {
        let chunks = [
            (SECOND, Chunk::Heartbeat),
            (2 * SECOND, Chunk::text(4, "x")),
            (Duration::ZERO, Chunk::Usage(Usage::counted(1, 1))),
        ];
        let provider = ScriptedProvider::new("p").forever(Answer::timed_chunks(chunks.clone()));
        let start = now();
        let sent = stream(&provider).await.unwrap();
        assert_eq!(sent, chunks.map(|(_, chunk)| chunk));
        assert_eq!(now() - start, 3 * SECOND);
        assert_eq!(ask(&provider).await.unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_badly_after_as_many_content_chunks_as_it_was_told() {
        let answer = || Answer::text("a b c");
        let broken = ProviderError::new(ErrorKind::Transport, "reset");
        let provider = ScriptedProvider::new("p")
            .repeat(2, answer().cut_after(2))
            .repeat(2, answer().fail_after(1, broken))
            .then(answer().cut_after(9));

        let cut = stream(&provider).await.unwrap();
        assert_eq!((text(&cut).as_str(), cut.last().unwrap().is_done()), ("a b ", false));
        assert_eq!(ask(&provider).await.unwrap_err().kind(), ErrorKind::Interrupted);

        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert!(matches!(body.next().await, Some(Ok(Chunk::Start(_)))));
        assert_eq!(body.next().await.unwrap().unwrap(), Chunk::text(0, "a "));
        assert_eq!(body.next().await.unwrap().unwrap_err().kind(), ErrorKind::Transport);
        assert!(body.next().await.is_none(), "an error ends the body");
        drop(body);
        assert_eq!(ask(&provider).await.unwrap_err().kind(), ErrorKind::Transport);

        let all = stream(&provider).await.unwrap();
        assert_eq!(text(&all), "a b c");
        assert!(matches!(all.last(), Some(Chunk::Usage(_))), "all but the terminal event");
        assert_settled(provider.counts());
        assert_eq!(provider.counts().failed, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_can_fall_at_any_stage() {
        let provider = ScriptedProvider::new("p")
            .repeat(2, Answer::hang())
            .repeat(2, Answer::text("a b").hang_after(0))
            .then(Answer::text("a b").hang_after(1));
        assert!(hangs(ask(&provider)).await);
        assert!(hangs(provider.stream(&"q".into(), &cx())).await, "before the headers");

        assert!(hangs(ask(&provider)).await);
        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert!(matches!(body.next().await, Some(Ok(Chunk::Start(_)))));
        assert!(hangs(body.next()).await, "before content");
        drop(body);

        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap().skip(1);
        assert_eq!(body.next().await.unwrap().unwrap(), Chunk::text(0, "a "));
        assert!(hangs(body.next()).await, "after content");
        assert_eq!(provider.counts().open, 1);
        drop(body);
        assert_settled(provider.counts());
        assert_eq!(provider.counts().cancelled, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn panics_happen_in_the_call_or_in_the_streams_poll() {
        let provider = ScriptedProvider::new("p")
            .repeat(2, Answer::panic())
            .then(Answer::text("a b").panic_after(1));
        assert!(panics(ask(&provider)).await);
        assert!(panics(provider.stream(&"q".into(), &cx())).await);
        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap().skip(1);
        assert!(body.next().await.unwrap().is_ok());
        assert!(panics(body.next()).await);
        drop(body);
        assert_settled(provider.counts());
        assert_eq!(provider.counts().failed, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_comes_back_unchanged() {
        let mut response = ChatResponse::text_only("whole").with_usage(Usage::counted(3, 1));
        response.raw = Some(true.into());
        let provider = ScriptedProvider::new("p").forever(Answer::response(response.clone()));
        assert_eq!(ask(&provider).await.unwrap(), response);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_may_be_larger_than_a_client_would_accept() {
        let parts = (0..5_000).map(|n| evenkeel::Part::text(n.to_string()));
        let response = ChatResponse::new(parts, FinishReason::Stop);
        let provider = ScriptedProvider::new("p").forever(Answer::response(response.clone()));
        assert_eq!(ask(&provider).await.unwrap(), response);
    }

    #[tokio::test(start_paused = true)]
    async fn without_streaming_the_answer_is_replayed_when_it_is_whole() {
        let answer = Answer::text("a b c").pace(SECOND);
        let provider = ScriptedProvider::new("p").streaming(false).repeat(1, answer);
        assert!(!provider.capabilities().streaming);
        let start = now();
        let body = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert_eq!(now() - start, 3 * SECOND);
        let chunks: Vec<_> = body.map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().filter(|chunk| chunk.is_content()).count(), 1);
        assert_eq!(text(&chunks), "a b c");
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_attempts_are_recorded_within_the_bound() {
        let provider =
            ScriptedProvider::new("p").forever(Answer::text("a")).recording(2).input_tokens(9);
        for n in 1..=3 {
            let mut context = cx().with_model("upstream");
            context.attempt = n;
            context.idempotency_key = Some("key".into());
            let request = ChatRequest::new("m").user(format!("question {n}"));
            drop(provider.stream(&request, &context).await.unwrap());
        }
        let recorded = provider.recorded();
        assert_eq!(recorded.iter().map(|one| one.context.attempt).collect::<Vec<_>>(), [2, 3]);
        let last = &recorded[1];
        assert_eq!(last.request.messages[0].text(), "question 3");
        assert_eq!(last.context.model.as_deref(), Some("upstream"));
        assert_eq!(last.context.idempotency_key.as_deref(), Some("key"));
        assert!(last.streaming && last.at == now());
        assert_eq!(provider.count_tokens(&last.request), Some(9));

        let forgetful = provider.recording(0);
        ask(&forgetful).await.unwrap();
        assert_eq!(forgetful.recorded().len(), 2, "nothing new is remembered");
    }

    #[tokio::test]
    async fn probes_find_what_was_set_and_are_counted() {
        let provider = ScriptedProvider::new("p");
        assert!(provider.probe().await.is_ok());
        provider.set_probe(Err(ProviderError::new(ErrorKind::Auth, "revoked")));
        assert_eq!(provider.clone().probe().await.unwrap_err().kind(), ErrorKind::Auth);
        assert_eq!(provider.probes(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_stays_open_wherever_a_caller_leaves() {
        let answer = Answer::text("a b c").delay(SECOND).pace(SECOND);
        for provider in [
            ScriptedProvider::new("native").forever(answer.clone()),
            ScriptedProvider::new("whole").streaming(false).forever(answer),
        ] {
            let closed = |polls| assert_eq!(provider.counts().open, 0, "after {polls} polls");
            drop_at_every_poll(|| ask(&provider), closed).await.unwrap();
            drop_at_every_poll(|| stream(&provider), closed).await.unwrap();
            assert_settled(provider.counts());
            // Each was dropped at its 1 + 3 waits, and then served.
            let CallCounts { served, cancelled, peak_open, .. } = provider.counts();
            assert_eq!((served, cancelled, peak_open), (2, 8, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn open_calls_are_counted_while_they_run() {
        let provider = ScriptedProvider::new("p").forever(Answer::text("a").delay(SECOND));
        let running = join_all((0..5).map(|_| ask(&provider)));
        assert!(until(after(now(), MILLI), running).await.is_none());
        let body = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert_eq!((provider.counts().open, provider.counts().peak_open), (1, 5));
        drop(body);
        assert_eq!((provider.counts().open, provider.counts().cancelled), (0, 6));
    }

    #[test]
    fn debug_shows_no_content() {
        let answer = Answer::text("secret answer");
        assert!(!format!("{answer:?}").contains("secret"));
        let provider = ScriptedProvider::new("p").forever(answer);
        assert!(!format!("{provider:?}").contains("secret"));
    }
}

mod simulated {
    use super::*;

    fn build(builder: SimulatedBuilder) -> SimulatedProvider {
        builder.build().expect("these settings have a meaning")
    }

    fn spread(seed: u64) -> SimulatedBuilder {
        SimulatedProvider::builder("p")
            .seed(seed)
            .time_to_first_token(Distribution::log_normal(0.4, 0.6))
            .tokens_per_second(Distribution::uniform(20.0, 80.0))
            .output_tokens(Distribution::log_normal(40.0, 0.8))
    }

    fn always() -> std::ops::Range<Duration> {
        Duration::ZERO..Duration::MAX
    }

    fn hints(chunks: &[Chunk]) -> &ChunkStart {
        let Some(Chunk::Start(start)) = chunks.first() else { panic!("no start: {chunks:?}") };
        start
    }

    /// What happens to 120 attempts that arrive 10 ms apart, and when.
    async fn history(builder: SimulatedBuilder) -> Vec<(Duration, Result<String, ErrorKind>)> {
        let provider = &build(builder);
        let start = now();
        join_all((0..120).map(|n| async move {
            sleep_until(start + n * 10 * MILLI).await;
            let asked = until(start + 600 * SECOND, stream(provider)).await;
            let result = asked.unwrap_or(Err(ProviderError::new(ErrorKind::Timeout, "")));
            (now() - start, result.map(|chunks| text(&chunks)).map_err(|error| error.kind()))
        }))
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn one_seed_gives_one_history() {
        let eventful = |seed| {
            spread(seed)
                .capacity(7)
                .limits(ServerLimits::new().requests_per_minute(60).tokens_per_minute(20_000))
                .fault(Fault::ErrorRate { kind: ErrorKind::Server, p: 0.1 }, always())
                .fault(Fault::Hang { p: 0.05 }, 200 * MILLI..900 * MILLI)
                .fault(Fault::CutStream { p: 0.2 }, always())
        };
        let first = history(eventful(1)).await;
        assert_eq!(first, history(eventful(1)).await);
        assert_ne!(first, history(eventful(2)).await);
        for kind in [ErrorKind::Server, ErrorKind::RateLimited, ErrorKind::Timeout] {
            assert!(first.iter().any(|(_, result)| *result == Err(kind)), "no {kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_changes_its_victims_alone() {
        let plain = history(spread(3)).await;
        let fault = Fault::ErrorRate { kind: ErrorKind::Server, p: 0.3 };
        let faulty = history(spread(3).fault(fault, always())).await;
        let victims = faulty.iter().filter(|(_, result)| result.is_err()).count();
        assert!((20..52).contains(&victims), "{victims} of 120");
        assert!(plain.iter().zip(&faulty).all(|(plain, other)| other.1.is_err() || plain == other));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_come_one_by_one_when_they_are_due() {
        let provider = build(
            SimulatedProvider::builder("p")
                .time_to_first_token(400 * MILLI)
                .tokens_per_second(20.0)
                .output_tokens(6.0),
        );
        let start = now();
        let mut body = provider.stream(&"to be".into(), &cx()).await.unwrap();
        assert!(matches!(body.next().await, Some(Ok(Chunk::Start(_)))));
        assert_eq!(now(), start, "accepted at once");
        assert_eq!(body.next().await.unwrap().unwrap(), Chunk::text(0, "to"));
        assert_eq!(now() - start, 400 * MILLI);
        assert_eq!(body.next().await.unwrap().unwrap(), Chunk::text(0, " be"));
        assert_eq!(now() - start, 450 * MILLI);

        sleep_until(start + 10 * SECOND).await;
        let rest: Vec<_> = body.map(Result::unwrap).collect().await;
        assert_eq!(now() - start, 10 * SECOND, "they did not wait for being asked");
        assert_eq!(text(&rest), " to be to be");
        assert_eq!(
            rest[4..],
            [Chunk::Usage(Usage::counted(2, 6)), Chunk::done(FinishReason::Stop)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_takes_as_long_and_says_the_same_as_its_stream() {
        let (streaming, whole) = (build(spread(5)), build(spread(5).streaming(false)));
        let (start, request) = (now(), ChatRequest::new("m").user("to be or not"));
        let streamed = stream(&streaming).await.unwrap();
        let took = now() - start;
        let start = now();
        let answer = whole.complete(&request, &cx()).await.unwrap();
        assert_eq!(now() - start, took);
        assert_eq!(answer.text(), text(&streamed));
        assert!(took > 100 * MILLI);
        assert_eq!(answer.model.as_deref(), Some("m"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_requests_own_bound_cuts_the_answer() {
        let provider = build(SimulatedProvider::builder("p").output_tokens(50.0));
        let request = ChatRequest::default().user("q").max_output_tokens(3);
        let answer = provider.complete(&request, &cx()).await.unwrap();
        assert_eq!((answer.finish, answer.usage.output_tokens), (FinishReason::Length, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_longer_than_the_longest_models_give() {
        let provider = build(SimulatedProvider::builder("p").output_tokens(1e7));
        for request in ["q".into(), ChatRequest::from("q").max_output_tokens(u64::MAX)] {
            let usage = provider.complete(&request, &cx()).await.unwrap().usage;
            assert_eq!(usage.output_tokens, Some(1 << 17));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn usage_is_told_withheld_or_wrong() {
        let provider = || SimulatedProvider::builder("p").output_tokens(10.0);
        let usage = async |builder| ask(&build(builder)).await.unwrap().usage;
        assert_eq!(usage(provider()).await, Usage::counted(3, 10));
        assert_eq!(usage(provider().lie_about_usage(2.0)).await, Usage::counted(6, 20));
        assert!(usage(provider().withhold_usage()).await.is_unknown());
        let silent = stream(&build(provider().withhold_usage())).await.unwrap();
        assert!(!silent.iter().any(|chunk| matches!(chunk, Chunk::Usage(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_the_order_of_arrival() {
        let provider =
            &build(SimulatedProvider::builder("p").time_to_first_token(SECOND).capacity(2));
        let start = now();
        let ends = join_all((0..5).map(|_| async move {
            ask(provider).await.unwrap();
            now() - start
        }));
        assert_eq!(ends.await, [1, 1, 2, 2, 3].map(|n| n * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_attempt_gives_its_place_back() {
        let provider =
            build(SimulatedProvider::builder("p").time_to_first_token(SECOND).capacity(1));
        let running = provider.stream(&"q".into(), &cx()).await.unwrap();
        assert!(until(after(now(), MILLI), ask(&provider)).await.is_none(), "it waits");
        drop(running);
        let start = now();
        ask(&provider).await.unwrap();
        assert_eq!(now() - start, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_answer_gives_its_place_back_while_its_stream_is_still_held() {
        let provider = build(SimulatedProvider::builder("p").capacity(1));
        let mut body = provider.stream(&"q".into(), &cx()).await.unwrap();
        while !body.next().await.unwrap().unwrap().is_done() {}
        assert!(!hangs(ask(&provider)).await);
        assert_eq!(provider.stats().calls.open, 1, "but the stream is still there");
        drop(body);
        assert_settled(provider.stats().calls);
        assert_eq!(provider.stats().calls.served, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_counted_as_they_are_handed_over() {
        let server = SimulatedProvider::builder("p").tokens_per_second(10.0).output_tokens(9.0);
        let provider = build(server.lie_about_usage(3.0));
        let body = provider.stream(&"12345".into(), &cx()).await.unwrap();
        drop(body.take(1 + 4).collect::<Vec<_>>().await);
        assert_eq!((provider.stats().input_tokens, provider.stats().output_tokens), (2, 4));
        provider.complete(&"12345".into(), &cx()).await.unwrap();
        assert_eq!((provider.stats().input_tokens, provider.stats().output_tokens), (4, 13));
    }

    #[tokio::test(start_paused = true)]
    async fn limits_are_told_in_answers_and_in_refusals() {
        let limits = ServerLimits::new().requests_per_minute(2).tokens_per_minute(10_000);
        let provider = build(SimulatedProvider::builder("p").limits(limits.clone()));
        let streamed = stream(&provider).await.unwrap();
        let told = hints(&streamed).rate_limits.as_deref().unwrap();
        assert_eq!(told.requests.unwrap().remaining, Some(1));
        // Three input tokens, and 256 for an output without a bound.
        assert_eq!(told.tokens.unwrap().remaining, Some(10_000 - 3 - 256));
        let told = ask(&provider).await.unwrap().rate_limits.unwrap();
        assert_eq!(told.requests.unwrap().remaining, Some(0));

        let refusal = ask(&provider).await.unwrap_err();
        assert_eq!((refusal.kind(), refusal.status()), (ErrorKind::RateLimited, Some(429)));
        let wait = refusal.retry_after().unwrap();
        assert_eq!(wait, 30 * SECOND);
        assert_eq!(refusal.rate_limits().unwrap().requests.unwrap().remaining, Some(0));
        sleep_until(after(now(), wait)).await;
        assert!(ask(&provider).await.is_ok());
        assert_eq!(provider.stats().calls.rate_limited, 1);

        let silent = build(SimulatedProvider::builder("p").limits(limits.without_hints()));
        assert!(hints(&stream(&silent).await.unwrap()).rate_limits.is_none());
        ask(&silent).await.unwrap();
        assert_eq!(ask(&silent).await.unwrap_err().retry_hint(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_of_others_is_seen_in_the_limits() {
        let limits = ServerLimits::new().requests_per_minute(10);
        let provider = build(SimulatedProvider::builder("p").limits(limits));
        provider.spend_elsewhere(9, 0);
        let told = ask(&provider).await.unwrap().rate_limits.unwrap();
        assert_eq!(told.requests.unwrap().remaining, Some(0));
        assert!(ask(&provider).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_admits_more_than_its_burst_and_its_refill() {
        const REQUESTS: u64 = 600;
        const TOKENS: u64 = 30_000;
        let burst = Duration::from_secs(8);
        let limits = ServerLimits::new()
            .requests_per_minute(REQUESTS)
            .tokens_per_minute(TOKENS)
            .burst_window(burst);
        for seed in 0..6 {
            let provider = build(SimulatedProvider::builder("p").limits(limits.clone()));
            let admitted = admitted_at_random(&provider, &Rng::from_seed(seed)).await;
            assert!(admitted.len() > 200, "the load passes at all");
            for (first, (from, _)) in admitted.iter().enumerate() {
                let (mut requests, mut tokens) = (0, 0);
                for (at, cost) in &admitted[first..] {
                    requests += 1;
                    tokens += cost;
                    let minutes = (*at - *from + burst).as_secs_f64() / 60.0;
                    assert!(requests as f64 <= REQUESTS as f64 * minutes + 1e-6, "seed {seed}");
                    assert!(tokens as f64 <= TOKENS as f64 * minutes + 1e-6, "seed {seed}");
                }
            }
        }
    }

    /// The admitted of 3,000 attempts in bursts, with the tokens each was charged.
    async fn admitted_at_random(provider: &SimulatedProvider, rng: &Rng) -> Vec<(Instant, u64)> {
        let mut admitted = Vec::new();
        for _ in 0..3_000 {
            if rng.below(4) == 0 {
                sleep_until(after(now(), rng.jitter(200 * MILLI))).await;
            }
            let output = 1 + rng.below(100);
            let request = ChatRequest::default().user("q").max_output_tokens(output);
            if provider.complete(&request, &cx()).await.is_ok() {
                admitted.push((now(), 1 + output));
            }
        }
        admitted
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_when_it_is_scheduled_to() {
        let provider = build(
            SimulatedProvider::builder("p")
                .fault(Fault::Outage(ErrorKind::Transport), SECOND..2 * SECOND),
        );
        let start = now();
        assert!(ask(&provider).await.is_ok() && provider.probe().await.is_ok());
        sleep_until(start + SECOND).await;
        assert_eq!(ask(&provider).await.unwrap_err().kind(), ErrorKind::Transport);
        assert_eq!(provider.probe().await.unwrap_err().kind(), ErrorKind::Transport);
        sleep_until(start + 2 * SECOND).await;
        assert!(ask(&provider).await.is_ok() && provider.probe().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_servers_are_slow_by_their_factor() {
        let provider = build(
            SimulatedProvider::builder("p")
                .time_to_first_token(SECOND)
                .tokens_per_second(10.0)
                .output_tokens(11.0)
                .fault(Fault::Slow { factor: 8.0 }, always()),
        );
        let start = now();
        ask(&provider).await.unwrap();
        assert_eq!(now() - start, 16 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_and_cut_answers_never_reach_their_end() {
        let provider = |fault| {
            build(SimulatedProvider::builder("p").output_tokens(9.0).fault(fault, always()))
        };
        let hanging = provider(Fault::Hang { p: 1.0 });
        assert!(hangs(ask(&hanging)).await);
        let mut body = hanging.stream(&"q".into(), &cx()).await.unwrap();
        assert!(matches!(body.next().await, Some(Ok(Chunk::Start(_)))));
        assert!(hangs(body.next()).await);

        let cutting = provider(Fault::CutStream { p: 1.0 });
        for _ in 0..20 {
            let chunks = stream(&cutting).await.unwrap();
            let tokens = chunks.iter().filter(|chunk| chunk.is_content()).count();
            assert!(tokens < 9 && !chunks.iter().any(Chunk::is_done), "{chunks:?}");
            assert_eq!(ask(&cutting).await.unwrap_err().kind(), ErrorKind::Interrupted);
        }
        assert_eq!(cutting.stats().calls.failed, 40);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_stays_open_wherever_a_caller_leaves() {
        let server = || {
            SimulatedProvider::builder("p")
                .time_to_first_token(SECOND)
                .tokens_per_second(10.0)
                .output_tokens(4.0)
                .capacity(1)
        };
        for provider in [build(server()), build(server().streaming(false))] {
            let closed = |polls| assert_eq!(provider.stats().calls.open, 0, "after {polls} polls");
            drop_at_every_poll(|| ask(&provider), closed).await.unwrap();
            drop_at_every_poll(|| stream(&provider), closed).await.unwrap();
            assert_settled(provider.stats().calls);
            assert_eq!(provider.stats().calls.served, 2, "the only place was never lost");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_is_accounted_for() {
        let provider = &build(
            spread(4)
                .capacity(25)
                .limits(ServerLimits::new().requests_per_minute(100))
                .fault(Fault::ErrorRate { kind: ErrorKind::Server, p: 0.2 }, always())
                .fault(Fault::CutStream { p: 0.2 }, always()),
        );
        let start = now();
        let results = join_all((0..200).map(|n| async move {
            sleep_until(start + n * 5 * MILLI).await;
            // Some callers do not wait for the end.
            until(after(now(), n * 20 * MILLI), stream(provider)).await
        }));
        let (mut done, mut left, mut failed) = (0, 0, 0);
        for result in results.await {
            match result {
                Some(Ok(chunks)) if chunks.last().is_some_and(Chunk::is_done) => done += 1,
                Some(_) => failed += 1,
                None => left += 1,
            }
        }
        let counts = provider.stats().calls;
        assert_settled(counts);
        assert_eq!((counts.served, counts.cancelled), (done, left));
        assert_eq!(counts.failed + counts.rate_limited, failed);
        let all_happened = done > 10 && left > 10 && counts.rate_limited > 10 && counts.failed > 10;
        assert!(all_happened, "{counts:?}");
    }

    #[test]
    fn settings_without_meaning_are_named() {
        let field = |builder: SimulatedBuilder| builder.build().unwrap_err().field().to_owned();
        let new = || SimulatedProvider::builder("p");
        assert_eq!(field(new().time_to_first_token(-1.0)), "time_to_first_token");
        assert_eq!(field(new().tokens_per_second(0.0)), "tokens_per_second");
        assert_eq!(field(new().output_tokens(f64::NAN)), "output_tokens");
        assert_eq!(field(new().lie_about_usage(-0.5)), "lie_about_usage");
        assert_eq!(field(new().capacity(0)), "capacity");
        assert_eq!(field(new().fault(Fault::Hang { p: 1.5 }, always())), "faults[0]");
        let limits = ServerLimits::new().requests_per_minute(0);
        assert_eq!(field(new().limits(limits)), "limits.requests_per_minute");
    }
}
