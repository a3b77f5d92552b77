//! Answers that need not be fetched, and answers that several calls fetch together.
//!
//! The very same question that was answered before is answered at once. Otherwise the call joins the
//! flight of its question: one of those who ask it at the same time looks for a similar one, and
//! fetches the answer where there is none; all of them receive it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};

use crate::cache::flight::{Boarded, Failure, Flights, Follower, Joined, Leader, Piece};
use crate::cache::{Hit, Lookup, Replay, SemanticCache, StoredAnswer, Ticket, Tier};
use crate::chunk::Chunk;
use crate::client::caller::{Caller, Entry};
use crate::client::llm_client::Inner;
use crate::client::opening::Opened;
use crate::client::pipeline::{fetch, finish};
use crate::client::reserve::tell_denied;
use crate::client::settlement::Settlement;
use crate::client::sharing::Sharing;
use crate::client::stop::over_quota;
use crate::client::stream::CompletionStream;
use crate::client::terms::Terms;
use crate::client::visit::Visit;
use crate::error::Error;
use crate::event::Event;
use crate::options::{CacheControl, Call, HitPace};
use crate::quota::{Amounts, Whose};
use crate::report::{CallReport, ServedBy};
use crate::response::{ChatResponse, Completion};
use crate::sync::{AtomicU64, Ordering};
use crate::time::now;
use crate::usage::{Cost, Usage};

/// A client's cache, with the flights of its calls.
#[derive(Debug)]
pub(super) struct Caching {
    pub(super) cache: SemanticCache,
    flights: Flights<Key, Item>,
    /// Whether hits count as requests against quotas.
    pub(super) hits_count: bool,
    /// How hits are streamed to calls that do not say.
    hit_pace: HitPace,
    /// How many calls have asked for a fresh answer.
    refreshes: AtomicU64,
}

/// What calls must have in common to share an answer: the question, in its scope, and how much alike
/// an answered one must be.
pub(super) type Key = (u128, u64);

/// An item of an answer that calls share.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Chunk(Arc<Chunk>),
    /// The answer is complete.
    Answer(Arc<Answer>),
}

/// A complete answer, and where it came from.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Arc<ChatResponse>,
    pub(super) report: CallReport,
    /// As it came when it was fetched, where the cache had it.
    pub(super) replay: Replay,
}

impl Piece for Item {
    type Error = Error;

    fn bytes(&self) -> usize {
        match self {
            Self::Chunk(chunk) => size_of::<Chunk>() + chunk.bytes(),
            // The chunks were counted already, or nobody is behind them.
            Self::Answer(_) => size_of::<Answer>(),
        }
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Answer(_))
    }
}

impl Caching {
    pub(super) fn new(cache: SemanticCache, hits_count: bool, hit_pace: HitPace) -> Self {
        let (flights, refreshes) = (Flights::default(), AtomicU64::new(0));
        Self { cache, flights, hits_count, hit_pace, refreshes }
    }

    /// How a hit is streamed to `call`.
    pub(super) fn pace(&self, call: &Call) -> HitPace {
        call.options.hit_pace.unwrap_or(self.hit_pace)
    }

    /// Who of those that ask the same may share an answer: not calls that ask for one more alike
    /// than others do, and nobody with a call that asks for a fresh one.
    fn company(&self, control: CacheControl) -> u64 {
        match control {
            CacheControl::Default | CacheControl::Bypass => 0,
            CacheControl::ReadOnly => 1 << 32,
            CacheControl::ExactOnly => 2 << 32,
            CacheControl::MinSimilarity(similarity) => u64::from(similarity.to_bits()),
            // Relaxed: each needs a number of its own, in no order.
            CacheControl::Refresh => 1 << 63 | self.refreshes.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// What the cache has for a call.
#[derive(Debug)]
pub(super) enum Found {
    /// The answer, which was there.
    Hit(Visit, Hit),
    /// A share in an answer that is looked for or fetched.
    Share(Box<Sharing>),
    /// It has nothing to do with the call.
    Nothing(Entry),
}

/// Looks for an answer, and joins those who wait for it. Allocates nothing where the very same was
/// answered before.
pub(super) async fn find(
    client: &Arc<Inner>,
    call: &mut Call,
    entry: Entry,
) -> Result<Found, Error> {
    let Some(caching) = &client.caching else { return Ok(Found::Nothing(entry)) };
    match caching.cache.probe(&call.request, &call.options, entry.start) {
        Lookup::Bypass(reason) => {
            tell(client, &entry.caller, "bypass", Some(reason.label()));
            Ok(Found::Nothing(entry))
        }
        Lookup::Hit(hit) => {
            let mut visit = Visit::of(client, call, entry);
            tell_hit(client, &visit.caller, "exact_hit", &hit);
            let counted = count_hit(client, call, &visit.caller).await;
            counted.map_err(|error| visit.fail(error))?;
            Ok(Found::Hit(visit, hit))
        }
        Lookup::Miss(ticket) => {
            let key = (ticket.key(), caching.company(call.options.cache));
            let asker = Asker { visit: Visit::of(client, call, entry), call, ticket };
            let sharing = match caching.flights.join(key, asker.visit.deadline) {
                Joined::Lead(leader) => asker.lead(leader),
                // Boxed, so that those who lead do not carry the room for it.
                Joined::Follow(follower) => Box::pin(asker.follow(follower)).await?,
            };
            Ok(Found::Share(Box::new(sharing)))
        }
    }
}

/// Ends a call that a hit answers.
pub(super) fn serve(mut visit: Visit, hit: Hit) -> Completion {
    let mut report = report_of(&hit);
    report.total = visit.elapsed();
    visit.succeed(&hit.answer.response, &report);
    Completion::new(Arc::clone(&hit.answer.response), report)
}

/// Streams a hit.
pub(super) async fn play(visit: Visit, hit: Hit, call: &Call) -> Result<CompletionStream, Error> {
    let pace = pace(&visit.client, call);
    follow(Box::new(Sharing::of_hit(visit, pace, &hit))).await
}

/// How `call` has hits streamed.
fn pace(client: &Inner, call: &Call) -> HitPace {
    client.caching.as_ref().map_or(HitPace::AtOnce, |caching| caching.pace(call))
}

/// Streams an answer that is shared, once its first content has arrived.
pub(super) async fn follow(mut sharing: Box<Sharing>) -> Result<CompletionStream, Error> {
    sharing.prime().await?;
    Ok(CompletionStream::shared(sharing))
}

fn tell(client: &Inner, caller: &Caller, outcome: &'static str, why: Option<&'static str>) {
    client.emitter.emit(|| Event::Cache {
        call: caller.call,
        outcome,
        why,
        similarity: None,
        saved: Usage::new(),
        saved_cost: None,
    });
}

fn tell_hit(client: &Inner, caller: &Caller, outcome: &'static str, hit: &Hit) {
    client.emitter.emit(|| Event::Cache {
        call: caller.call,
        outcome,
        why: None,
        similarity: Some(hit.similarity()),
        saved: hit.answer.response.usage,
        saved_cost: hit.answer.cost,
    });
}

/// Counts a hit against its tenant's requests, where hits count.
async fn count_hit(client: &Inner, call: &Call, caller: &Caller) -> Result<(), Error> {
    let counts = client.caching.as_ref().is_some_and(|caching| caching.hits_count);
    let Some(quota) = client.quota.as_ref().filter(|_| counts) else { return Ok(()) };
    let options = &call.options;
    let whose =
        Whose::new(options.tenant.as_ref(), call.request.model.as_deref(), &options.quota_keys);
    let request = Amounts::tokens(0, 0);
    let reserved = if quota.is_shared() {
        // Boxed, so that hits of others do not carry the room. It does not wait for room in a limit.
        Box::pin(quota.reserve(&whose, &request, now())).await
    } else {
        quota.try_reserve(&whose, &request)
    };
    reserved.map(|it| it.settle(&request)).map_err(|denied| {
        tell_denied(client, caller, &denied);
        over_quota(denied)
    })
}

/// A call that the cache has nothing for.
struct Asker<'a> {
    call: &'a mut Call,
    visit: Visit,
    ticket: Ticket,
}

impl Asker<'_> {
    /// Starts the work of a flight: to look for a similar question, and to fetch the answer.
    fn lead(self, leader: Leader<Key, Item>) -> Sharing {
        let Self { call, visit, ticket } = self;
        let (client, pace) = (&visit.client, pace(&visit.client, call));
        let entered = (visit.caller.clone(), visit.place.shadow());
        let terms = Terms::shared(client, call, entered, leader.horizon());
        // Nobody looks at the options of a call that shares its answer.
        let options = std::mem::take(&mut call.options);
        let call = Call { request: Arc::clone(&call.request), options };
        let asking = Asking { terms, call, ticket };
        let participant = leader.launch(Box::pin(Work::Ask(Box::pin(asking.begin()))));
        Sharing::of_flight(visit, pace, participant, true)
    }

    /// Waits for what another call has fetched, or to lead after all.
    async fn follow(mut self, follower: Follower<Key, Item>) -> Result<Sharing, Error> {
        match self.visit.wait(follower).await? {
            Boarded::Lead(leader) => Ok(self.lead(leader)),
            Boarded::Ride(participant) => {
                let Self { call, visit, .. } = self;
                let pace = pace(&visit.client, call);
                tell(&visit.client, &visit.caller, "coalesced", None);
                Ok(Sharing::of_flight(visit, pace, participant, false))
            }
        }
    }
}

/// The work of a flight.
enum Work {
    /// Looks for a similar question, and asks an endpoint where there is none.
    Ask(BoxFuture<'static, Begun>),
    /// Receives from an endpoint.
    Receive(Box<Receiving>),
    Over,
}

/// What came of asking.
enum Begun {
    Ended(Result<Item, Failure<Error>>),
    Streams(Box<Receiving>),
}

impl Stream for Work {
    type Item = Result<Item, Failure<Error>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let received = loop {
            match &mut *self {
                Self::Ask(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Begun::Ended(end) => break end,
                    Begun::Streams(receiving) => *self = Self::Receive(receiving),
                },
                Self::Receive(receiving) => match ready!(receiving.stream.poll_next_unpin(cx)) {
                    Some(Ok(chunk)) if !chunk.is_done() => {
                        return Poll::Ready(Some(Ok(Item::Chunk(Arc::new(chunk)))));
                    }
                    Some(Err(error)) => break Err(Failure::Shared(error)),
                    Some(Ok(_)) | None => match std::mem::replace(&mut *self, Self::Over) {
                        Self::Receive(receiving) => break receiving.end(),
                        Self::Ask(_) | Self::Over => unreachable!("it was receiving"),
                    },
                },
                Self::Over => return Poll::Ready(None),
            }
        };
        *self = Self::Over;
        Poll::Ready(Some(received))
    }
}

/// An answer that is arriving, and where it is stored once it is complete.
struct Receiving {
    stream: CompletionStream,
    client: Arc<Inner>,
    ticket: Ticket,
}

impl Receiving {
    /// The terminal chunk has arrived.
    fn end(self: Box<Self>) -> Result<Item, Failure<Error>> {
        let Self { stream, client, ticket } = *self;
        stream.into_outcome().map(|answer| keep(&client, ticket, answer)).map_err(failure)
    }
}

/// What a flight is to find out.
struct Asking {
    terms: Terms,
    call: Call,
    ticket: Ticket,
}

impl Asking {
    #[expect(clippy::manual_async_fn, reason = "an async function keeps what it is given twice")]
    fn begin(mut self) -> impl Future<Output = Begun> + Send {
        async move {
            let client = Arc::clone(&self.terms.client);
            let caching = client.caching.as_ref().expect("work that is shared has a cache");
            let deadline = self.terms.deadline();
            if let Some(hit) = caching.cache.search_fleet(&mut self.ticket, deadline).await {
                let caller = &self.terms.caller;
                tell_hit(&client, caller, hit.label(), &hit);
                let counted = count_hit(&client, &self.call, caller).await;
                return Begun::Ended(counted.map(|()| Item::of_hit(&hit)).map_err(Failure::Own));
            }
            tell(&client, &self.terms.caller, "miss", None);
            match fetch(&client, &self.call, Settlement::of(self.terms)).await {
                Err(error) => Begun::Ended(Err(failure(error))),
                Ok((committed, settlement)) => match committed.opened {
                    Opened::Whole(response) => {
                        let answer = finish(response, committed.attempt, settlement);
                        Begun::Ended(Ok(keep(&client, self.ticket, answer)))
                    }
                    Opened::Stream(opened) => {
                        let stream = CompletionStream::new(opened, committed.attempt, settlement);
                        let ticket = self.ticket;
                        Begun::Streams(Box::new(Receiving { stream, client, ticket }))
                    }
                },
            }
        }
    }
}

/// What failed for the one who asked may succeed for another one.
fn failure(error: Error) -> Failure<Error> {
    match error {
        Error::Quota(_) | Error::LargerThanQuota(_) | Error::Queue(_) | Error::Deadline { .. } => {
            Failure::Own(error)
        }
        _ => Failure::Shared(error),
    }
}

/// Stores an answer, and hands it on.
fn keep(client: &Inner, ticket: Ticket, answer: Completion) -> Item {
    let Completion { response, report, .. } = answer;
    if let Some(caching) = &client.caching {
        store(&caching.cache, ticket, &response, &report);
    }
    Item::Answer(Arc::new(Answer { response, report, replay: Replay::Burst }))
}

/// Stores an answer, unless the cache does not want it, which is its own affair.
fn store(cache: &SemanticCache, ticket: Ticket, response: &Arc<ChatResponse>, report: &CallReport) {
    let answer = StoredAnswer::new(Arc::clone(response))
        .with_cost(report.cost)
        .with_timing(report.ttft, report.total);
    let _ = cache.store(ticket, answer);
}

impl Item {
    fn of_hit(hit: &Hit) -> Self {
        Self::Answer(Arc::new(Answer::of_hit(hit)))
    }
}

impl Answer {
    pub(super) fn of_hit(hit: &Hit) -> Self {
        Self {
            response: Arc::clone(&hit.answer.response),
            report: report_of(hit),
            replay: Replay::as_fetched(&hit.answer),
        }
    }
}

fn served_by(hit: &Hit) -> ServedBy {
    let similarity = hit.similarity();
    match (hit.tier, hit.is_exact()) {
        (Tier::Local, true) => ServedBy::ExactHit,
        (Tier::Local, false) => ServedBy::SemanticHit { similarity },
        (Tier::Shared, true) => ServedBy::SharedHit,
        (Tier::Shared, false) => ServedBy::SharedSemanticHit { similarity },
    }
}

/// The account of a call that a hit has answered; how long it took is the call's own affair.
fn report_of(hit: &Hit) -> CallReport {
    let mut report = CallReport::new(served_by(hit), std::time::Duration::ZERO);
    report.cost = Some(Cost::default());
    report.hit = Some(hit.id);
    report
}
