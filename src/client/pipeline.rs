//! The path of a call, top to bottom.

use std::sync::Arc;

use crate::balance::{Demand, Lease, NoLease};
use crate::client::fallback::FallbackOn;
use crate::client::llm_client::Inner;
use crate::client::opening::{Ask, Committed, Mode, Opened};
use crate::client::race;
use crate::client::settlement::Settlement;
use crate::client::stop::{Failed, Stop};
use crate::client::stream::CompletionStream;
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::{Error, ErrorKind, InvalidField};
use crate::event::Event;
use crate::options::Call;
use crate::outcome::Retry;
use crate::report::Phase;
use crate::response::Completion;
use crate::time::{Instant, after, now, sleep_until};

/// A call whose answer is wanted whole.
pub(super) async fn complete(client: &Arc<Inner>, call: Call) -> Result<Completion, Error> {
    let (Committed { opened, attempt }, settlement) = run(client, &call, Mode::Whole).await?;
    match opened {
        Opened::Whole(response) => {
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
    let mut settlement = Settlement::begin(client, &call.options)?;
    let mut ask = Ask { call, mode, fallback: None };
    let mut since = settlement.terms().start;
    let mut left = 0;
    loop {
        let stop = match serve(&mut settlement, ask, since).await {
            Ok(committed) => return Ok((committed, settlement)),
            Err(stop) => stop,
        };
        let Some((next, why)) = fallback(client, call, left, &stop) else {
            return Err(stop.end(settlement, ask.model()));
        };
        emit_fallback(client, ask, next, why);
        settlement.parts().1.fall_back(Arc::clone(next));
        ask.fallback = Some(next);
        left += 1;
        since = now();
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
/// call has waited since `since`.
async fn serve(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    mut since: Instant,
) -> Result<Committed, Stop> {
    let mut last = None;
    loop {
        let lease = acquire(settlement, ask, since, last.as_ref()).await?;
        let (terms, books) = settlement.parts();
        let attempt = books.start(terms, lease, since);
        let failed = match race::open(terms, books, ask, attempt).await? {
            Ok(committed) => return Ok(committed),
            Err(failed) => failed,
        };
        since = failed.at;
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

/// A lease for the next attempt: on an endpoint the call has not tried, as long as there is one.
async fn acquire(
    settlement: &Settlement,
    ask: Ask<'_>,
    now: Instant,
    last: Option<&Failed>,
) -> Result<Lease, Stop> {
    let terms = settlement.terms();
    if now >= terms.deadline {
        return Err(Stop::Deadline(Phase::Waiting));
    }
    let demand = ask.demand();
    let fresh = demand.excluding(settlement.books().tried());
    match (terms.client.balancer.try_lease(&fresh, now), last) {
        (Ok(lease), Some(failed)) => {
            emit_retry(settlement, failed, now);
            Ok(lease)
        }
        (Err(NoLease::NotBefore(_)), Some(failed)) => again(settlement, &demand, failed).await,
        (lease, _) => lease.map_err(|refusal| Stop::without_lease(refusal, now)),
    }
}

/// Every endpoint was tried: pauses, then takes one that was tried before, the last one last.
async fn again(settlement: &Settlement, demand: &Demand<'_>, last: &Failed) -> Result<Lease, Stop> {
    let at = resumption(settlement, demand, last)?;
    emit_retry(settlement, last, at);
    pause_until(settlement, at).await?;
    let now = now();
    let balancer = &settlement.terms().client.balancer;
    let tried = settlement.books().tried();
    let newest = &tried[tried.len().saturating_sub(1)..];
    balancer
        .try_lease(&demand.excluding(newest), now)
        .or_else(|_| balancer.try_lease(demand, now))
        .map_err(|refusal| Stop::without_lease(refusal, now))
}

/// When a call whose endpoints were all tried may try one of them again.
fn resumption(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &Failed,
) -> Result<Instant, Stop> {
    let (terms, now) = (settlement.terms(), last.at);
    let client = &terms.client;
    let fault = last.retry() == Retry::Budgeted;
    // Waiting out a rate limit takes a queue: without one, all who were refused would come back
    // together.
    let opens = client.balancer.earliest(demand, now);
    let opens = opens.map_err(|refusal| Stop::without_lease(refusal, now))?;
    if opens > now && (!fault || opens > after(now, client.retry.max_delay)) {
        return Err(Stop::without_lease(NoLease::NotBefore(Some(opens)), now));
    }
    // Whoever lacks the model, or the means to ask for what the call wants, will not get it by waiting.
    if matches!(last.error.kind(), ErrorKind::ModelNotFound | ErrorKind::Unsupported) {
        return Err(Stop::Refused(last.clone()));
    }
    // Moving on after a refusal is free; coming back to an endpoint is not.
    if !fault && !client.budget.withdraw(now) {
        return Err(Stop::Exhausted(last.clone()));
    }
    let attempts = settlement.books().attempts_with_this_model();
    let at = after(now, client.retry.pause(attempts, &client.rng)).max(opens);
    if at < terms.deadline { Ok(at) } else { Err(Stop::Exhausted(last.clone())) }
}

async fn pause_until(settlement: &Settlement, at: Instant) -> Result<(), Stop> {
    let terms = settlement.terms();
    let mut watchdog = Watchdog::default();
    let pause = guarded(&mut watchdog, &terms.place, terms.deadline, sleep_until(at));
    pause.await.map_err(|alarm| match alarm {
        Alarm::Limit => Stop::Deadline(Phase::Waiting),
        Alarm::CutOff => Stop::CutOff,
    })
}

fn emit_retry(settlement: &Settlement, failed: &Failed, at: Instant) {
    settlement.terms().client.emitter.emit(|| Event::Retry {
        endpoint: failed.endpoint.as_str(),
        reason: failed.error.kind().label(),
        delay: at.saturating_duration_since(failed.at),
    });
}
