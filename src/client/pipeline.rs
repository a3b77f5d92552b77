//! The path of a call, top to bottom.

use std::sync::Arc;

use crate::client::acquire::acquire;
use crate::client::attempt::Attempt;
use crate::client::caching::{self, Found};
use crate::client::caller::Caller;
use crate::client::fallback::FallbackOn;
use crate::client::llm_client::Inner;
use crate::client::opening::{Ask, Committed, Mode, Opened};
use crate::client::race;
use crate::client::reserve::reserve;
use crate::client::retry::Withdrawal;
use crate::client::settlement::Settlement;
use crate::client::stop::{Failed, Stop};
use crate::client::stream::CompletionStream;
use crate::client::terms::Terms;
use crate::error::{Error, InvalidField};
use crate::event::Event;
use crate::options::Call;
use crate::outcome::Retry;
use crate::response::{ChatResponse, Completion};
use crate::time::{Instant, now};

/// A call whose answer is wanted whole.
pub(super) async fn complete(client: &Arc<Inner>, mut call: Call) -> Result<Completion, Error> {
    validate(&call)?;
    let entry = Caller::enter(client, &call, Mode::Whole)?;
    let settlement = match caching::find(client, &mut call, entry).await? {
        Found::Hit(visit, hit) => return Ok(caching::serve(visit, hit)),
        Found::Share(sharing) => return sharing.whole().await,
        Found::Nothing(entry) => Settlement::begin(client, &call, entry),
    };
    // Boxed: neither a call that the cache answers nor a task that has not begun is to carry its room.
    let (committed, settlement) = Box::pin(fetch(client, &call, settlement)).await?;
    match committed.opened {
        Opened::Whole(response) => Ok(finish(response, committed.attempt, settlement)),
        Opened::Stream(opened) => {
            CompletionStream::new(opened, committed.attempt, settlement).into_completion().await
        }
    }
}

/// A call whose answer is wanted in pieces.
pub(super) async fn stream(client: &Arc<Inner>, mut call: Call) -> Result<CompletionStream, Error> {
    validate(&call)?;
    let entry = Caller::enter(client, &call, Mode::Stream)?;
    let settlement = match caching::find(client, &mut call, entry).await? {
        Found::Hit(visit, hit) => return caching::play(visit, hit, &call).await,
        Found::Share(sharing) => return caching::follow(sharing).await,
        Found::Nothing(entry) => Settlement::begin(client, &call, entry),
    };
    let (committed, settlement) = Box::pin(fetch(client, &call, settlement)).await?;
    let opened = match committed.opened {
        Opened::Stream(opened) => opened,
        Opened::Whole(_) => unreachable!("an attempt opens a stream where one is wanted"),
    };
    Ok(CompletionStream::new(opened, committed.attempt, settlement))
}

/// Ends a call whose answer came whole.
pub(super) fn finish(
    response: Arc<ChatResponse>,
    attempt: Attempt,
    mut settlement: Box<Settlement>,
) -> Completion {
    settlement.parts().1.bill().receive(response.content_bytes());
    let report = settlement.succeed(attempt, &response);
    Completion::new(response, report)
}

/// Fetches an answer: goes down the chain of models until the call is committed to an attempt, or
/// must end.
pub(super) async fn fetch(
    client: &Arc<Inner>,
    call: &Call,
    mut settlement: Box<Settlement>,
) -> Result<(Committed, Box<Settlement>), Error> {
    let mut ask = Ask { call, mode: settlement.terms().caller.mode, fallback: None };
    let mut at = match reserve(&mut settlement, call).await {
        Ok(at) => at,
        Err(stop) => return Err(stop.end(settlement, ask.model())),
    };
    let mut since = settlement.terms().start;
    let mut left = 0;
    loop {
        let stop = match serve(&mut settlement, ask, since, at).await {
            Ok(committed) => return Ok((committed, settlement)),
            Err(stop) => stop,
        };
        let Some((next, why)) = fallback(client, call, left, &stop) else {
            return Err(stop.end(settlement, ask.model()));
        };
        emit_fallback(settlement.terms(), ask, next, why);
        settlement.fall_back(Arc::clone(next));
        ask.fallback = Some(next);
        left += 1;
        at = now();
        since = at;
    }
}

fn validate(call: &Call) -> Result<(), Error> {
    let invalid = |field, reason| Err(Error::InvalidCall(InvalidField::new(field, reason)));
    if call.request.messages.is_empty() {
        return invalid("request.messages", "must not be empty");
    }
    if call.options.max_attempts == Some(0) {
        return invalid("options.max_attempts", "must be at least 1");
    }
    Ok(())
}

/// The model that takes over, and why; `left` fallbacks were left as well.
fn fallback<'a>(
    client: &'a Inner,
    call: &Call,
    left: usize,
    stop: &Stop,
) -> Option<(&'a Arc<str>, FallbackOn)> {
    let why = stop.reason_to_fall_back()?;
    let next = client.fallbacks.next(call.request.model.as_deref(), left, why)?;
    Some((next, why))
}

fn emit_fallback(terms: &Terms, ask: Ask<'_>, to: &str, why: FallbackOn) {
    terms.client.tally.fallbacks.one();
    let (call, from) = (terms.caller.call, ask.model().unwrap_or_default());
    terms.client.emitter.emit(|| Event::Fallback { call, from, to, why: why.label() });
}

/// Makes attempts with one model until the call is committed to one, or no other may follow. The
/// call has waited since `since`; it is `at` now.
async fn serve(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    mut since: Instant,
    mut at: Instant,
) -> Result<Committed, Stop> {
    let (mut last, mut paid) = (None, None::<Withdrawal>);
    loop {
        let lease = acquire(settlement, ask, at, last.as_ref()).await?;
        if let Some(paid) = paid.take() {
            paid.spend();
        }
        let (terms, books) = settlement.parts();
        let attempt = books.start(terms, lease, since);
        let failed = match race::open(terms, books, ask, attempt).await? {
            Ok(committed) => {
                settlement.committed(&committed.attempt);
                return Ok(committed);
            }
            Err(failed) => failed,
        };
        at = failed.at;
        since = at;
        paid = go_on(settlement, &failed)?;
        last = Some(failed);
    }
}

/// Decides whether another attempt may follow a failed one, and takes what it costs.
fn go_on(settlement: &Settlement, failed: &Failed) -> Result<Option<Withdrawal>, Stop> {
    let terms = settlement.terms();
    match failed.retry() {
        Retry::No | Retry::FallbackModel => Err(Stop::Refused(failed.clone())),
        _ if !settlement.books().may_try_again(terms) => Err(Stop::Exhausted(failed.clone())),
        Retry::OtherEndpoint => Ok(None),
        Retry::Budgeted => {
            let paid = Withdrawal::from(&terms.client, failed.at);
            paid.map(Some).ok_or_else(|| {
                terms.budget_exhausted(&failed.endpoint);
                Stop::Exhausted(failed.clone())
            })
        }
    }
}
