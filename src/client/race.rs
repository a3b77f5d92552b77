//! An attempt that may get a second one beside it.
//!
//! Up to its first content an attempt is a promise. Where the client hedges and the promise is not
//! kept for long enough, another endpoint is asked too; whichever shows content first has the call,
//! and the other one is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};

use crate::client::attempt::Attempt;
use crate::client::books::Books;
use crate::client::opening::{Ask, Committed, Opened, Opening};
use crate::client::retry::Withdrawal;
use crate::client::stop::{Failed, Stop};
use crate::client::terms::Terms;
use crate::client::upstream::Failure;
use crate::time::{after, now, until};

/// Runs `attempt` until the call is committed to it or to a hedge beside it, or nothing runs any
/// more. `Err` where the call must stop.
#[expect(clippy::manual_async_fn, reason = "an async function keeps what it is given twice")]
pub(super) fn open<'a>(
    terms: &'a Terms,
    books: &'a mut Books,
    ask: Ask<'a>,
    attempt: Attempt,
) -> impl Future<Output = Result<Result<Committed, Failed>, Stop>> + Send + use<'a> {
    async move {
        match delay(terms, books, ask, &attempt) {
            // Boxed, so that calls that are not hedged do not carry the room for it.
            Some(delay) => Box::pin(hedged(terms, books, ask, attempt, delay)).await,
            None => {
                let opened = Opening::of(terms, ask, &attempt).run().await;
                books.conclude(terms, attempt, opened)
            }
        }
    }
}

/// How long `attempt` may show no content before it gets a hedge; `None` where it gets none.
fn delay(terms: &Terms, books: &Books, ask: Ask<'_>, attempt: &Attempt) -> Option<Duration> {
    if !terms.may_hedge || books.has_hedged() || !books.may_try_again(terms) {
        return None;
    }
    terms.client.hedging.delay(ask.shows_first_content(attempt.lease().capabilities()))
}

async fn hedged(
    terms: &Terms,
    books: &mut Books,
    ask: Ask<'_>,
    attempt: Attempt,
    delay: Duration,
) -> Result<Result<Committed, Failed>, Stop> {
    let mut first = Contender::new(terms, ask, attempt);
    let at = after(first.attempt.started(), delay);
    if let Some(opened) = until(at, &mut first.work).await {
        return books.conclude(terms, first.attempt, opened);
    }
    match start_beside(terms, books, ask, &first.attempt) {
        Some(hedge) => both(terms, books, first, Contender::new(terms, ask, hedge)).await,
        None => alone(terms, books, first).await,
    }
}

/// Starts an attempt beside `first`, where an endpoint the call has not tried is free at once and
/// the client's budget allows it. What is free is wanted by nobody: a queue hands it to whoever waits
/// for it.
fn start_beside(
    terms: &Terms,
    books: &mut Books,
    ask: Ask<'_>,
    first: &Attempt,
) -> Option<Attempt> {
    let now = now();
    books.note_tried(first.key());
    let demand = ask.demand(&terms.client).excluding(books.tried());
    let balancer = &terms.client.balancer;
    // Looked up before anything is taken: a hedge that cannot be costs no budget, and one that may
    // not be costs no endpoint its turn.
    if balancer.earliest(&demand, now).is_ok_and(|at| at <= now) {
        if let Some(paid) = Withdrawal::from(&terms.client, now) {
            let lease = balancer.try_lease(&demand, now).ok()?;
            paid.spend();
            return Some(books.start_hedge(terms, lease, first));
        }
        terms.budget_exhausted(first.endpoint());
    }
    None
}

/// An attempt and its work. The order is that of dropping: the connection ends before the attempt.
struct Contender<'a> {
    work: BoxFuture<'a, Result<Opened, Failure>>,
    attempt: Attempt,
}

impl<'a> Contender<'a> {
    fn new(terms: &'a Terms, ask: Ask<'a>, attempt: Attempt) -> Self {
        let mut opening = Opening::of(terms, ask, &attempt);
        Self { work: Box::pin(async move { opening.run().await }), attempt }
    }

    /// Cancels the work.
    fn cancelled(self) -> Attempt {
        let Self { work, attempt } = self;
        // A provider's destructor is a provider's code, and must not take the winner down.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        attempt
    }
}

/// Runs two attempts. The first one to show content has the call; where one fails, the other goes
/// on.
async fn both(
    terms: &Terms,
    books: &mut Books,
    mut first: Contender<'_>,
    mut hedge: Contender<'_>,
) -> Result<Result<Committed, Failed>, Stop> {
    let (opened, first_ended) = match select(&mut first.work, &mut hedge.work).await {
        Either::Left((opened, _)) => (opened, true),
        Either::Right((opened, _)) => (opened, false),
    };
    let (ended, running) = if first_ended { (first, hedge) } else { (hedge, first) };
    match opened {
        Ok(_) => {
            books.lose(terms, running.cancelled());
            books.conclude(terms, ended.attempt, opened)
        }
        Err(Failure::Provider(error)) => {
            let failed = books.fail(ended.attempt, error, None);
            let other = alone(terms, books, running).await?;
            Ok(other.map_err(|later| decisive(failed, later)))
        }
        Err(Failure::Deadline | Failure::CutOff) => {
            let stop = books.conclude(terms, ended.attempt, opened);
            books.abandon(running.cancelled(), None);
            stop
        }
    }
}

async fn alone(
    terms: &Terms,
    books: &mut Books,
    contender: Contender<'_>,
) -> Result<Result<Committed, Failed>, Stop> {
    let Contender { work, attempt } = contender;
    let opened = work.await;
    books.conclude(terms, attempt, opened)
}

/// The failure that decides what follows when both failed: the request's own fault outweighs an
/// endpoint's.
fn decisive(earlier: Failed, later: Failed) -> Failed {
    if earlier.is_final() { Failed { at: later.at, ..earlier } } else { later }
}
