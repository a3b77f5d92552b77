//! A lease for the next attempt of a call, waited for where that is right.
//!
//! A call goes to endpoints it has not tried as long as there is one. Once all were tried it may come
//! back to one of them: after a pause where they failed, and once it is let in again where they
//! refused. Without a queue it never waits for a window to open, for all who were refused would come
//! back together; with one it waits in its order, for whichever endpoint opens first.

use std::pin::pin;

use crate::balance::{Demand, Lease, NoLease};
use crate::client::caller::Caller;
use crate::client::gate::{Waiting, Wanted};
use crate::client::opening::Ask;
use crate::client::retry::Withdrawal;
use crate::client::settlement::Settlement;
use crate::client::stop::{Failed, Stop};
use crate::client::terms::Terms;
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::ErrorKind;
use crate::event::Event;
use crate::outcome::{Cooldown, Retry};
use crate::queue::{Place, Refused};
use crate::report::Phase;
use crate::time::{Instant, after, now, sleep_until};

/// Output a call without a bound is queued for; corrected once it ends.
const TYPICAL_OUTPUT: u64 = 256;

/// A lease for the attempt that follows `last`, or for the first one.
pub(super) async fn acquire(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    now: Instant,
    last: Option<&Failed>,
) -> Result<Lease, Stop> {
    let terms = settlement.terms();
    if now >= terms.deadline() {
        return Err(Stop::Deadline(Phase::Waiting));
    }
    match &terms.client.waiting {
        None => at_once(settlement, ask, now, last).await,
        // Boxed, so that clients without a queue do not carry the room for it.
        Some(_) => Box::pin(in_turn(settlement, ask, now, last)).await,
    }
}

/// Without a queue: on an endpoint the call has not tried, or after a pause on one it has.
async fn at_once(
    settlement: &Settlement,
    ask: Ask<'_>,
    now: Instant,
    last: Option<&Failed>,
) -> Result<Lease, Stop> {
    let terms = settlement.terms();
    let demand = ask.demand(&terms.client);
    let fresh = demand.excluding(settlement.books().tried());
    match (terms.client.balancer.try_lease(&fresh, now), last) {
        (Ok(lease), Some(failed)) => {
            emit_retry(terms, failed, now);
            Ok(lease)
        }
        (Err(NoLease::NotBefore(_)), Some(failed)) => again(settlement, &demand, failed).await,
        (lease, _) => lease.map_err(|refusal| Stop::without_lease(refusal, now)),
    }
}

/// Every endpoint was tried: pauses, then takes one that was tried before, the last one last.
async fn again(settlement: &Settlement, demand: &Demand<'_>, last: &Failed) -> Result<Lease, Stop> {
    let (at, paid) = resumption(settlement, demand, last)?;
    let terms = settlement.terms();
    emit_retry(terms, last, at);
    pause_until(terms, at).await?;
    let now = now();
    let balancer = &terms.client.balancer;
    let tried = settlement.books().tried();
    let newest = &tried[tried.len().saturating_sub(1)..];
    let lease = balancer
        .try_lease(&demand.excluding(newest), now)
        .or_else(|_| balancer.try_lease(demand, now))
        .map_err(|refusal| Stop::without_lease(refusal, now))?;
    if let Some(paid) = paid {
        paid.spend();
    }
    Ok(lease)
}

/// When a call whose endpoints were all tried may try one of them again, and what that costs.
fn resumption(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &Failed,
) -> Result<(Instant, Option<Withdrawal>), Stop> {
    let (terms, now) = (settlement.terms(), last.at);
    let client = &terms.client;
    let fault = last.retry() == Retry::Budgeted;
    let opens = client.balancer.earliest(demand, now);
    let opens = opens.map_err(|refusal| Stop::without_lease(refusal, now))?;
    if opens > now && (!fault || opens > after(now, client.retry.max_delay)) {
        return Err(Stop::without_lease(NoLease::NotBefore(Some(opens)), now));
    }
    if is_lasting(last) {
        return Err(Stop::Refused(last.clone()));
    }
    let exhausted = || Stop::Exhausted(last.clone());
    // Moving on after a refusal is free; coming back to an endpoint is not. A fault is paid for.
    let paid = match fault {
        true => None,
        false => Some(Withdrawal::from(client, now).ok_or_else(exhausted)?),
    };
    let at = pause(settlement, last).max(opens);
    if at < terms.deadline() { Ok((at, paid)) } else { Err(exhausted()) }
}

/// Whether its endpoint will say the same again: whoever lacks the model, or the means to ask for
/// what the call wants, does not get it by waiting.
fn is_lasting(failed: &Failed) -> bool {
    matches!(failed.error.kind(), ErrorKind::ModelNotFound | ErrorKind::Unsupported)
}

/// When the pause after a failure ends.
fn pause(settlement: &Settlement, failed: &Failed) -> Instant {
    let client = &settlement.terms().client;
    let attempts = settlement.books().attempts_with_this_model();
    after(failed.at, client.retry.pause(attempts, &client.rng))
}

async fn pause_until(terms: &Terms, at: Instant) -> Result<(), Stop> {
    let mut watchdog = Watchdog::default();
    let pause = pin!(sleep_until(at));
    guarded(&mut watchdog, &terms.place, terms.deadline(), pause).await.map_err(stop)
}

fn stop(alarm: Alarm) -> Stop {
    match alarm {
        Alarm::Limit => Stop::Deadline(Phase::Waiting),
        Alarm::CutOff => Stop::CutOff,
    }
}

/// With a queue: in the call's turn. A call that has passed before keeps its place.
async fn in_turn(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    now: Instant,
    last: Option<&Failed>,
) -> Result<Lease, Stop> {
    let demand = ask.demand(&settlement.terms().client);
    let again = match last {
        Some(failed) => Some(may_return(settlement, &demand, failed)?),
        None => None,
    };
    let (lease, waited) = line_up(settlement, ask, &demand, again.flatten(), now).await?;
    let terms = settlement.terms();
    if let Some(failed) = last {
        emit_retry(terms, failed, lease.started());
    }
    if waited {
        let waited = lease.started().saturating_duration_since(now);
        let Caller { call, priority, .. } = terms.caller;
        terms.client.tally.queued(waited);
        terms.client.emitter.emit(|| Event::Queued { call, priority, waited });
    }
    Ok(lease)
}

/// From when on the call may come back to endpoints it has tried; `None` for never. `Err` where the
/// call has not the time to wait for any endpoint.
fn may_return(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &Failed,
) -> Result<Option<Instant>, Stop> {
    let (terms, now) = (settlement.terms(), last.at);
    let balancer = &terms.client.balancer;
    match balancer.earliest(demand, now) {
        Err(NoLease::Never(never)) => return Err(Stop::NoEndpoint(never)),
        Ok(opens) if opens > now && is_hopeless(settlement, demand, last, opens) => {
            return Err(Stop::without_lease(NoLease::NotBefore(Some(opens)), now));
        }
        Ok(_) | Err(NoLease::NotBefore(_)) => {}
    }
    let otherwise = match last.retry() {
        _ if is_lasting(last) => Stop::Refused(last.clone()),
        Retry::Budgeted => match pause(settlement, last) {
            again if again < terms.deadline() => return Ok(Some(again)),
            _ => Stop::Exhausted(last.clone()),
        },
        // The window it was refused for is the balancer's to keep.
        _ => return Ok(Some(now)),
    };
    let fresh = demand.excluding(settlement.books().tried());
    if balancer.could_serve(&fresh, now) { Ok(None) } else { Err(otherwise) }
}

/// Whether a call that nobody can serve before `opens` had better not wait: it has not the time, or
/// would wait for nothing but to be refused again for its money or credentials.
fn is_hopeless(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &Failed,
    opens: Instant,
) -> bool {
    let (terms, now) = (settlement.terms(), last.at);
    let balancer = &terms.client.balancer;
    let tried = settlement.books().tried();
    let newest = &tried[tried.len().saturating_sub(1)..];
    let refused = last.error.kind().row().cooldown == Cooldown::Disable;
    (refused && !balancer.could_serve(&demand.excluding(newest), now))
        || (opens >= terms.deadline() && !balancer.waits_for_an_end(demand, now))
}

/// The lease, and whether the call had to wait for it.
async fn line_up(
    settlement: &mut Settlement,
    ask: Ask<'_>,
    demand: &Demand<'_>,
    again: Option<Instant>,
    now: Instant,
) -> Result<(Lease, bool), Stop> {
    let (terms, books, slot) = settlement.waiting();
    let Some(Waiting { queue, gate, .. }) = &terms.client.waiting else {
        unreachable!("only calls of clients with a queue line up")
    };
    // Made where it is handed over, for a future carries what it holds across a wait.
    let wanted = || Wanted::new(ask, demand, books.tried(), again, terms.deadline());
    let lining_up = pin!(async {
        if let Some(slot) = slot {
            return slot.acquire_again(gate, wanted()).await;
        }
        let (entered, lease) =
            queue.acquire_at(gate, wanted(), place(terms, ask, demand, now), now).await?;
        *slot = Some(entered);
        Ok(lease)
    });
    let mut watchdog = Watchdog::default();
    match guarded(&mut watchdog, &terms.place, terms.deadline(), lining_up).await {
        Ok(Ok(lease)) => Ok((lease, watchdog.is_armed())),
        Ok(Err(refused)) => Err(not_let_through(terms, refused)),
        Err(alarm) => Err(stop(alarm)),
    }
}

fn place(terms: &Terms, ask: Ask<'_>, demand: &Demand<'_>, now: Instant) -> Place {
    let output = demand.output_tokens.unwrap_or(TYPICAL_OUTPUT);
    let mut place = Place::new(latest_start(terms, now))
        .priority(ask.call.options.priority)
        .cost(demand.input_tokens.saturating_add(output));
    place.tenant = ask.call.options.tenant.clone();
    place.lane = ask.fallback.cloned().or_else(|| ask.model().map(Into::into));
    place
}

/// Until when the call may wait. What is left of its time then is what an answer usually takes: one
/// that was let through at the last moment would be paid for and be late. An estimate may be wrong, so
/// it never takes more than half of the time there is.
fn latest_start(terms: &Terms, now: Instant) -> Instant {
    let deadline = terms.deadline();
    let Some(service) = terms.client.balancer.typical_service() else { return deadline };
    let half = after(now, deadline.saturating_duration_since(now) / 2);
    deadline.checked_sub(service).map_or(half, |latest| latest.max(half))
}

fn not_let_through(terms: &Terms, refused: Refused<crate::error::NoEndpoint>) -> Stop {
    match refused {
        Refused::Never(never) => Stop::NoEndpoint(never),
        Refused::Closed => Stop::CutOff,
        Refused::TimedOut { .. } if now() >= terms.deadline() => Stop::Deadline(Phase::Waiting),
        other => {
            let stop = Stop::not_queued(&other);
            if let Stop::NotQueued(why) = &stop {
                let Caller { call, priority, .. } = terms.caller;
                terms.client.tally.queue_refused.one();
                let why = why.label();
                terms.client.emitter.emit(|| Event::QueueRefused { call, priority, why });
            }
            stop
        }
    }
}

fn emit_retry(terms: &Terms, failed: &Failed, at: Instant) {
    terms.client.tally.retries.one();
    terms.client.emitter.emit(|| Event::Retry {
        call: terms.caller.call,
        endpoint: failed.endpoint.as_str(),
        reason: failed.error.kind().label(),
        delay: at.saturating_duration_since(failed.at),
    });
}
