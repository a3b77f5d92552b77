//! The table of outcomes, row by row, through the whole client: what an attempt's end does to the
//! endpoint's health, its cooldown and its latency estimate, and whether the call goes on elsewhere.

use std::ops::RangeInclusive;
use std::time::Duration;

use evenkeel::balance::{Balancer, Condition, EndpointStatus, HealthPolicy};
use evenkeel::client::RetryPolicy;
use evenkeel::outcome::{Cooldown, End, Health, Latency, Retry};
use evenkeel::rate_limits::{LimitWindow, RateLimits};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::time::Instant;
use evenkeel::{
    Call, ChatRequest, ChatResponse, Chunk, Completion, Endpoint, Error, ErrorKind, FinishReason,
    LlmClient, ProviderError, Timeouts, Usage, time,
};
use futures::StreamExt as _;

use crate::doubles::{Notebook, assert_nothing_is_held, seconds, tried};

/// The TTFT of `first` before the attempt in question, and so its estimate.
const USUAL: Duration = seconds(1);

/// How long an attempt has to its first content.
const FIRST_CONTENT: Duration = seconds(20);

/// How long a fault is remembered: one is enough to be seen.
const RECOVERY: Duration = seconds(30);

/// A client over `first`, whose next answer is the one in question, and `second`, which is well.
struct Table {
    client: LlmClient,
    first: ScriptedProvider,
    second: ScriptedProvider,
    notebook: Notebook,
}

/// What that answer led to.
struct Aftermath {
    table: Table,
    ended: Result<Completion, Error>,
    /// When the first endpoint's attempt ended; the second one's takes its usual time.
    first_ended: Instant,
}

fn question() -> ChatRequest {
    ChatRequest::new("m").user("q")
}

impl Table {
    async fn with(answer: Answer) -> Self {
        Self::with_budget(answer, 1.0).await
    }

    async fn with_budget(answer: Answer, per_second: f64) -> Self {
        let well = || Answer::text("one two").delay(USUAL);
        let first = ScriptedProvider::new("first").then(well()).then(answer).forever(well());
        let second = ScriptedProvider::new("second").then(well()).forever(well());
        let notebook = Notebook::default();
        let models = |endpoint: Endpoint| endpoint.model("m").model("n");
        let balancer = Balancer::builder()
            .endpoint(models(Endpoint::new(first.clone())))
            .endpoint(models(Endpoint::new(second.clone())))
            .health(HealthPolicy::any_recent_error())
            .seed(1)
            .build()
            .unwrap();
        let client = LlmClient::builder()
            .balancer(balancer)
            .retry(RetryPolicy::new().budget(0.0, per_second))
            .timeouts(Timeouts::new().first_content(FIRST_CONTENT).idle(seconds(10)))
            .observer(notebook.clone())
            .seed(1)
            .build()
            .unwrap();
        let table = Self { client, first, second, notebook };
        for provider in ["first", "second"] {
            let done = table.client.complete(question()).await.unwrap();
            assert_eq!(tried(&done.report.attempts), [provider]);
        }
        assert_eq!(table.first().ttft, Some(USUAL));
        // An estimate this old is replaced by the next sample, so that the sample can be seen.
        tokio::time::advance(seconds(3_600)).await;
        table
    }

    fn first(&self) -> EndpointStatus {
        self.first_at(time::now())
    }

    fn first_at(&self, at: Instant) -> EndpointStatus {
        self.client.balancer().status(at).swap_remove(0)
    }

    async fn call(self, call: impl Into<Call>) -> Aftermath {
        let ended = self.client.complete(call).await;
        assert_nothing_is_held(&self.client, [&self.first, &self.second]);
        let elsewhere = self.second.counts().started > 1;
        let since = if elsewhere { USUAL } else { Duration::ZERO };
        Aftermath { table: self, ended, first_ended: time::now() - since }
    }
}

/// What `answer` leads to.
async fn after(answer: Answer) -> Aftermath {
    Table::with(answer).await.call(question()).await
}

impl Aftermath {
    fn is_eligible(&self) -> &Self {
        assert_eq!(self.table.first().condition, Condition::Eligible);
        self
    }

    fn is_unhealthy(&self) -> &Self {
        let until = self.first_ended + RECOVERY;
        assert_eq!(self.table.first().condition, Condition::Unhealthy { until });
        self
    }

    /// Cooling because of `kind`, for as long as `lasts` says, counted from the refusal.
    fn cools(&self, kind: ErrorKind, lasts: RangeInclusive<Duration>) -> &Self {
        let condition = self.table.first_at(self.first_ended).condition;
        let Condition::Cooling { until, why } = condition else { panic!("{condition:?}") };
        assert_eq!(why, kind);
        let lasts_in_fact = until - self.first_ended;
        assert!(lasts.contains(&lasts_in_fact), "{lasts_in_fact:?}");
        self
    }

    fn is_disabled(&self, kind: ErrorKind) -> &Self {
        let until = self.first_ended + seconds(600);
        assert_eq!(self.table.first().condition, Condition::Disabled { until, why: kind });
        self
    }

    fn keeps_its_estimate(&self) -> &Self {
        self.estimates(USUAL)
    }

    fn estimates(&self, ttft: Duration) -> &Self {
        assert_eq!(self.table.first_at(self.first_ended).ttft, Some(ttft));
        self
    }

    fn is_expected_to_be_slower(&self) -> &Self {
        let ttft = self.table.first_at(self.first_ended).ttft;
        assert!(ttft.unwrap() > 3 * USUAL, "{ttft:?}");
        self
    }

    fn went_on_elsewhere(&self) -> &Self {
        let done = self.ended.as_ref().unwrap();
        assert_eq!(tried(&done.report.attempts), ["first", "second"]);
        self
    }

    /// Ended with the error of that label, and nobody else was asked.
    fn ended_there(&self, label: &str) -> &Self {
        let error = self.ended.as_ref().unwrap_err();
        assert_eq!((error.label(), error.trail().len()), (label, 1), "{error}");
        assert_eq!(self.table.second.counts().started, 1, "only its warm-up");
        self
    }

    /// Once `passed`, whatever stood against the endpoint has ended.
    async fn and_after(&self, passed: Duration) -> &Self {
        tokio::time::advance(passed).await;
        self
    }
}

async fn after_with_an_empty_budget(answer: Answer) -> Aftermath {
    Table::with_budget(answer, 0.0).await.call(question()).await
}

fn window(remaining: u64, reset: Duration) -> LimitWindow {
    LimitWindow::new().with_remaining(remaining).with_reset(reset)
}

#[tokio::test(start_paused = true)]
async fn a_success_is_measured() {
    let answer = Answer::timed_chunks([
        (seconds(2), Chunk::text(0, "one ")),
        (seconds(10), Chunk::text(0, "two")),
        (Duration::ZERO, Chunk::Usage(Usage::counted(3, 21))),
        (Duration::ZERO, Chunk::done(FinishReason::Stop)),
    ]);
    let aftermath = after(answer).await;
    assert_eq!(tried(&aftermath.ended.as_ref().unwrap().report.attempts), ["first"]);
    let time_per_token = aftermath.table.first().time_per_token.unwrap();
    assert!(time_per_token.abs_diff(seconds(10) / 20) < Duration::from_millis(1));
    aftermath.is_eligible().estimates(seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_success_heals_a_fault_that_came_meanwhile() {
    let slow = Answer::text("one two").pace(seconds(5));
    let table = Table::with(slow).await;
    let mut stream = table.client.stream(question()).await.unwrap();
    table.first.become_forever(Answer::error(ErrorKind::Server));
    for _ in 0..2 {
        table.client.complete(question()).await.unwrap();
    }
    assert_eq!(table.first().condition.label(), "unhealthy");
    while let Some(chunk) = stream.next().await {
        chunk.unwrap();
    }
    assert_eq!(table.first().condition, Condition::Eligible);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_used_the_limit_up_rests_the_endpoint_until_it_is_whole() {
    let mut response = ChatResponse::text_only("hi");
    let none_left = window(0, seconds(20));
    let plenty = window(9, seconds(500));
    response.rate_limits = Some(RateLimits::new().with_requests(plenty).with_tokens(none_left));
    let aftermath = after(Answer::response(response)).await;
    let condition = aftermath.table.first().condition;
    let Condition::Cooling { until, .. } = condition else { panic!("{condition:?}") };
    assert!((seconds(20)..=seconds(21)).contains(&(until - time::now())));
    aftermath.and_after(seconds(21)).await.is_eligible();
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_with_a_hint_rests_the_endpoint_for_that_long() {
    let aftermath = after_with_an_empty_budget(Answer::rate_limited(seconds(20))).await;
    aftermath
        .cools(ErrorKind::RateLimited, seconds(20)..=seconds(21))
        .keeps_its_estimate()
        .went_on_elsewhere()
        .and_after(seconds(21))
        .await
        .is_eligible();
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_rests_the_endpoint_until_the_limit_that_was_hit_is_whole() {
    let none_left = window(0, seconds(7));
    let limits = RateLimits::new()
        .with_requests(window(5, seconds(2)))
        .with_input_tokens(none_left)
        .with_output_tokens(window(1, seconds(900)));
    let error = ProviderError::new(ErrorKind::RateLimited, "").with_rate_limits(limits);
    let aftermath = after(Answer::fail(error)).await;
    aftermath
        .cools(ErrorKind::RateLimited, seconds(7)..=seconds(8))
        .keeps_its_estimate()
        .went_on_elsewhere();
}

#[tokio::test(start_paused = true)]
async fn no_hint_is_absurd_enough_to_lose_an_endpoint_or_to_hammer_it() {
    let longest = seconds(600)..=seconds(601);
    for hint in [seconds(99_999_999_999), Duration::MAX] {
        let aftermath = after(Answer::rate_limited(hint)).await;
        aftermath
            .cools(ErrorKind::RateLimited, longest.clone())
            .and_after(seconds(601))
            .await
            .is_eligible();
        let reset = window(0, hint);
        let error = ProviderError::new(ErrorKind::RateLimited, "")
            .with_rate_limits(RateLimits::new().with_tokens(reset));
        after(Answer::fail(error)).await.cools(ErrorKind::RateLimited, longest.clone());
    }
    let least = Duration::from_millis(50)..=Duration::from_millis(55);
    after(Answer::rate_limited(Duration::ZERO)).await.cools(ErrorKind::RateLimited, least);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_without_a_hint_rests_the_endpoint_longer_each_time() {
    let unhinted = || Answer::error(ErrorKind::RateLimited);
    let mut longest = [Duration::ZERO; 4];
    for seed in 0..20 {
        let first =
            ScriptedProvider::new("first").repeat(4, unhinted()).forever(Answer::text("hi"));
        let client = LlmClient::builder().endpoint(Endpoint::new(first)).seed(seed);
        let client = client.retry(RetryPolicy::never()).build().unwrap();
        for longest in &mut longest {
            client.complete("q").await.unwrap_err();
            let until = client.balancer().status(time::now())[0].condition.until().unwrap();
            *longest = (until - time::now()).max(*longest);
            tokio::time::advance(until - time::now()).await;
        }
        client.complete("q").await.unwrap();
    }
    for (k, longest) in longest.into_iter().enumerate() {
        let bound = seconds(1 << k);
        assert!(longest <= bound && longest > bound * 7 / 10, "{k}: {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_are_rate_limited_the_call_says_when_to_come_back() {
    let table = Table::with(Answer::rate_limited(seconds(20))).await;
    table.second.become_forever(Answer::rate_limited(seconds(9)));
    let aftermath = table.call(question()).await;
    let error = aftermath.ended.as_ref().unwrap_err();
    assert_eq!((error.label(), error.trail().len()), ("unavailable", 2));
    let after = error.retry_after().unwrap();
    assert!((seconds(9)..=seconds(10)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn money_and_credentials_take_the_endpoint_out_and_are_reported() {
    for kind in [ErrorKind::QuotaExhausted, ErrorKind::Auth] {
        let aftermath = after_with_an_empty_budget(Answer::error(kind)).await;
        aftermath.is_disabled(kind).keeps_its_estimate().went_on_elsewhere();
        assert_eq!(aftermath.table.notebook.count("EndpointState"), 1);
        aftermath.and_after(seconds(600)).await;
        assert_eq!(aftermath.table.first().condition, Condition::Trial);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_endpoint_is_unhealthy_and_rests_if_it_said_for_how_long() {
    let aftermath = after(Answer::error(ErrorKind::Overloaded)).await;
    aftermath.is_unhealthy().is_expected_to_be_slower().went_on_elsewhere();

    let hinted = ProviderError::new(ErrorKind::Overloaded, "").with_retry_after(seconds(10));
    let aftermath = after(Answer::fail(hinted)).await;
    aftermath.cools(ErrorKind::Overloaded, seconds(10)..=seconds(11)).went_on_elsewhere();
    aftermath.and_after(seconds(11)).await;
    assert_eq!(aftermath.table.first().condition.label(), "unhealthy", "until 30 s have passed");
    aftermath.and_after(seconds(19)).await.is_eligible();
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_content_counts_and_does_not_look_fast() {
    for answer in [
        Answer::error(ErrorKind::Server),
        Answer::error(ErrorKind::Transport),
        Answer::text("one two").cut_after(0),
    ] {
        let aftermath = after(answer).await;
        aftermath.is_unhealthy().is_expected_to_be_slower().went_on_elsewhere();
        aftermath.and_after(RECOVERY).await.is_eligible();
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_retried_within_the_budget_only() {
    for kind in [ErrorKind::Overloaded, ErrorKind::Server, ErrorKind::Malformed] {
        let aftermath = after_with_an_empty_budget(Answer::error(kind)).await;
        aftermath.is_unhealthy().ended_there("exhausted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silence_before_content_counts_as_long_as_it_lasted() {
    let table = Table::with(Answer::hang()).await;
    let limits = Timeouts::new().first_content(seconds(3));
    let aftermath = table.call(Call::from(question()).timeouts(limits)).await;
    aftermath.is_unhealthy().estimates(seconds(3)).went_on_elsewhere();
}

#[tokio::test(start_paused = true)]
async fn a_silence_after_content_is_not_retried() {
    let aftermath = after(Answer::text("one two").delay(seconds(2)).hang_after(1)).await;
    aftermath.is_unhealthy().estimates(seconds(2)).ended_there("interrupted");
    assert_eq!(aftermath.ended.as_ref().unwrap_err().partial().unwrap().text(), "one ");
}

#[tokio::test(start_paused = true)]
async fn a_cut_after_content_counts_and_only_its_ttft_is_learnt() {
    let error = ProviderError::new(ErrorKind::Transport, "");
    for answer in [
        Answer::text("one two").cut_after(1),
        Answer::text("one two").cut_after(2),
        Answer::text("one two").fail_after(1, error),
        Answer::text("one two").panic_after(1),
    ] {
        let aftermath = after(answer.delay(seconds(2))).await;
        aftermath.is_unhealthy().estimates(seconds(2)).ended_there("interrupted");
        assert_eq!(aftermath.table.first().time_per_token, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_body_and_a_panic_are_faults_that_do_not_look_fast() {
    let endless = (0..5_000).map(|_| Chunk::Heartbeat);
    for answer in [Answer::error(ErrorKind::Malformed), Answer::panic(), Answer::chunks(endless)] {
        after(answer).await.is_unhealthy().is_expected_to_be_slower().went_on_elsewhere();
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_model_takes_itself_out_and_nothing_else() {
    let answer = Answer::error(ErrorKind::ModelNotFound);
    let aftermath = after_with_an_empty_budget(answer).await;
    aftermath.is_disabled(ErrorKind::ModelNotFound).keeps_its_estimate().went_on_elsewhere();
    let models = aftermath.table.first().models;
    let labels: Vec<_> =
        models.iter().map(|(model, condition)| (model.as_str(), condition.label())).collect();
    assert_eq!(labels, [("m", "disabled"), ("n", "eligible")]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_says_nothing_about_the_endpoint() {
    for kind in [ErrorKind::InvalidRequest, ErrorKind::ContextLength, ErrorKind::ContentFilter] {
        let aftermath = after(Answer::error(kind)).await;
        aftermath.is_eligible().keeps_its_estimate().ended_there("refused");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_raises_the_estimate_if_it_came_later_and_does_nothing_else() {
    for (deadline, estimate) in [(USUAL / 2, USUAL), (seconds(3), seconds(3))] {
        let table = Table::with(Answer::hang()).await;
        let aftermath = table.call(Call::from(question()).deadline_in(deadline)).await;
        aftermath.is_eligible().estimates(estimate).ended_there("deadline");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_raises_the_estimate_if_it_was_late_and_does_nothing_else() {
    for (patience, estimate) in [(USUAL / 2, USUAL), (seconds(3), seconds(3))] {
        let table = Table::with(Answer::hang()).await;
        let left = time::until(time::now() + patience, table.client.complete(question())).await;
        assert!(left.is_none());
        assert_nothing_is_held(&table.client, [&table.first, &table.second]);
        assert_eq!(table.first().condition, Condition::Eligible);
        assert_eq!(table.first().ttft, Some(estimate));
        assert_eq!(table.second.counts().started, 1, "only its warm-up");
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failure_has_the_effects_of_its_row() {
    for kind in ErrorKind::ALL {
        let row = kind.row();
        let aftermath = after(Answer::error(kind)).await;
        let status = aftermath.table.first_at(aftermath.first_ended);
        assert_eq!(status.condition.label(), expected(row.health, row.cooldown), "{kind:?}");
        assert_eq!(status.ttft > Some(USUAL), row.latency == Latency::Penalty, "{kind:?}");
        assert_eq!(status.ttft == Some(USUAL), row.latency == Latency::None, "{kind:?}");
        match row.retry {
            Retry::OtherEndpoint | Retry::Budgeted => aftermath.went_on_elsewhere(),
            _ => aftermath.ended_there("refused"),
        };
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failure_after_content_ends_the_call_there() {
    for kind in ErrorKind::ALL {
        let row = End::Broken(kind).row();
        let error = ProviderError::new(kind, "");
        let answer = Answer::text("one two").delay(seconds(2)).fail_after(1, error);
        let aftermath = after(answer).await;
        aftermath.ended_there("interrupted");
        let status = aftermath.table.first_at(aftermath.first_ended);
        assert_eq!(status.condition.label(), expected(row.health, row.cooldown), "{kind:?}");
        let learnt = if row.latency == Latency::None { USUAL } else { seconds(2) };
        assert_eq!(status.ttft, Some(learnt), "{kind:?}");
    }
}

/// The label of the condition that a row without a hint leads to.
fn expected(health: Health, cooldown: Cooldown) -> &'static str {
    match (cooldown, health) {
        (Cooldown::RateLimit, _) => "cooling",
        (Cooldown::Disable | Cooldown::DisableModel, _) => "disabled",
        (_, Health::Failure) => "unhealthy",
        _ => "eligible",
    }
}
