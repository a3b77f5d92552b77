//! The path of a call, top to bottom.

use std::sync::Arc;

use crate::client::acquire::acquire;
use crate::client::fallback::FallbackOn;
use crate::client::llm_client::Inner;
use crate::client::opening::{Ask, Committed, Mode, Opened};
use crate::client::race;
use crate::client::reserve::reserve;
use crate::client::settlement::Settlement;
use crate::client::stop::{Failed, Stop};
use crate::client::stream::CompletionStream;
use crate::error::{Error, InvalidField};
use crate::event::Event;
use crate::options::Call;
use crate::outcome::Retry;
use crate::response::Completion;
use crate::time::{Instant, now};

/// A call whose answer is wanted whole.
pub(super) async fn complete(client: &Arc<Inner>, call: Call) -> Result<Completion, Error> {
    let (Committed { opened, attempt }, mut settlement) = run(client, &call, Mode::Whole).await?;
    match opened {
        Opened::Whole(response) => {
            settlement.parts().1.bill().receive(response.content_bytes());
            let report = settlement.succeed(attempt, &response);
            Ok(Completion::new(*response, report))
        }
        Opened::Stream(opened) => {
            CompletionStream::new(opened, attempt, settlement).into_completion().await
        }
    }
}

/// A call whose answer is wanted in pieces.
pub(super) async fn stream(client: &Arc<Inner>, call: Call) -> Result<CompletionStream, Error> {
    let (Committed { opened, attempt }, settlement) = run(client, &call, Mode::Stream).await?;
    let opened = match opened {
        Opened::Stream(opened) => opened,
        Opened::Whole(_) => unreachable!("an attempt opens a stream where one is wanted"),
    };
    Ok(CompletionStream::new(opened, attempt, settlement))
}

/// Goes down the chain of models until the call is committed to an attempt, or must end.
async fn run(
    client: &Arc<Inner>,
    call: &Call,
    mode: Mode,
) -> Result<(Committed, Settlement), Error> {
    validate(call)?;
    let mut settlement = Settlement::begin(client, call)?;
    let mut ask = Ask { call, mode, fallback: None };
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
        emit_fallback(client, ask, next, why);
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

fn emit_fallback(client: &Inner, ask: Ask<'_>, to: &str, why: FallbackOn) {
    let from = ask.model().unwrap_or_default();
    client.emitter.emit(|| Event::Fallback { from, to, why: why.label() });
}

/// Makes attempts with one model until the call is committed to one, or no other may follow. The
/// call has waited since `since`; it is `at` now.
async fn serve(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    mut since: Instant,
    mut at: Instant,
) -> Result<Committed, Stop> {
    let mut last = None;
    loop {
        let lease = acquire(settlement, ask, at, last.as_ref()).await?;
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
        last = Some(go_on(settlement, failed)?);
    }
}

/// Decides whether another attempt may follow a failed one.
fn go_on(settlement: &Settlement, failed: Failed) -> Result<Failed, Stop> {
    let terms = settlement.terms();
    match failed.retry() {
        Retry::No | Retry::FallbackModel => Err(Stop::Refused(failed)),
        _ if !settlement.books().may_try_again(terms) => Err(Stop::Exhausted(failed)),
        Retry::Budgeted if !terms.client.budget.withdraw(failed.at) => {
            let endpoint = failed.endpoint.as_str();
            terms.client.emitter.emit(|| Event::RetryBudgetExhausted { endpoint });
            Err(Stop::Exhausted(failed))
        }
        Retry::Budgeted | Retry::OtherEndpoint => Ok(failed),
    }
}
