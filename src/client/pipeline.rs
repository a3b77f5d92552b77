//! The path of a call, top to bottom.

use std::sync::Arc;

use crate::balance::{Demand, Lease, NoLease};
use crate::client::attempt::{self, Mode, Opened};
use crate::client::llm_client::Inner;
use crate::client::settlement::Settlement;
use crate::client::stream::CompletionStream;
use crate::client::upstream::Failure;
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::{Error, InvalidField, ProviderError};
use crate::event::Event;
use crate::options::Call;
use crate::outcome::{End, Retry};
use crate::report::Phase;
use crate::response::Completion;
use crate::time::{Instant, after, now, sleep_until};

/// A call whose answer is wanted whole.
pub(super) async fn complete(client: &Arc<Inner>, call: Call) -> Result<Completion, Error> {
    let (opened, mut settlement) = run(client, &call, Mode::Whole).await?;
    match opened {
        Opened::Whole(response) => {
            let report = settlement.succeed(&response);
            Ok(Completion::new(response, report))
        }
        Opened::Stream(opened) => CompletionStream::new(opened, settlement).into_completion().await,
    }
}

/// A call whose answer is wanted in pieces.
pub(super) async fn stream(client: &Arc<Inner>, call: Call) -> Result<CompletionStream, Error> {
    match run(client, &call, Mode::Stream).await? {
        (Opened::Stream(opened), settlement) => Ok(CompletionStream::new(opened, settlement)),
        (Opened::Whole(_), _) => unreachable!("an attempt opens a stream where one is wanted"),
    }
}

/// Makes attempts until the call is committed to one, or must end.
async fn run(client: &Arc<Inner>, call: &Call, mode: Mode) -> Result<(Opened, Settlement), Error> {
    validate(call)?;
    let mut settlement = Settlement::begin(client, &call.options)?;
    let mut waiting_since = settlement.start();
    let mut last = None;
    loop {
        let lease = match acquire(&settlement, call, waiting_since, last.as_ref()).await {
            Ok(lease) => lease,
            Err(refusal) => return Err(refusal.end(settlement, call, last)),
        };
        settlement.attempt_started(lease, waiting_since);
        let failure = match attempt::open(&settlement, call, mode).await {
            Ok(opened) => return Ok((committed(opened, &mut settlement), settlement)),
            Err(failure) => failure,
        };
        waiting_since = now();
        let error;
        (settlement, error) = go_on(settlement, failure, waiting_since)?;
        last = Some(error);
    }
}

fn committed(opened: Opened, settlement: &mut Settlement) -> Opened {
    if let Opened::Stream(stream) = &opened
        && let Some(at) = stream.upstream.first_content()
    {
        settlement.committed(at);
    }
    opened
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

/// Settles the failed attempt and decides whether the call may make another one.
fn go_on(
    mut settlement: Settlement,
    failure: Failure,
    now: Instant,
) -> Result<(Settlement, ProviderError), Error> {
    let error = match failure {
        Failure::Provider(error) => error,
        Failure::Deadline => return Err(settlement.deadline_passed(Phase::FirstContent, None)),
        Failure::CutOff => return Err(settlement.cut_off()),
    };
    settlement.attempt_failed(&error, now);
    match End::Failed(error.kind()).row().retry {
        Retry::No | Retry::FallbackModel => Err(settlement.refused(error)),
        _ if !settlement.may_try_again() => Err(settlement.exhausted(error)),
        Retry::Budgeted if !settlement.client().budget.withdraw(now) => {
            emit_budget_exhausted(&settlement);
            Err(settlement.exhausted(error))
        }
        Retry::Budgeted | Retry::OtherEndpoint => Ok((settlement, error)),
    }
}

fn emit_budget_exhausted(settlement: &Settlement) {
    let endpoint = settlement.last_endpoint();
    settlement.client().emitter.emit(|| Event::RetryBudgetExhausted { endpoint });
}

/// Why there is no lease for the next attempt.
enum Refusal {
    NoLease(NoLease),
    /// Trying again would take the call past its deadline or the client past its budget.
    GiveUp,
    Deadline,
    CutOff,
}

impl Refusal {
    fn end(self, mut settlement: Settlement, call: &Call, last: Option<ProviderError>) -> Error {
        match (self, last) {
            (Self::NoLease(NoLease::Never(never)), _) => settlement.fail(Error::NoEndpoint(never)),
            (Self::NoLease(NoLease::NotBefore(at)), last) => {
                let retry_after = at.map(|at| at.saturating_duration_since(now()));
                settlement.unavailable(call.request.model.as_deref(), retry_after, last)
            }
            (Self::GiveUp, Some(last)) => settlement.exhausted(last),
            (Self::GiveUp | Self::Deadline, _) => settlement.deadline_passed(Phase::Waiting, None),
            (Self::CutOff, _) => settlement.cut_off(),
        }
    }
}

/// A lease for the next attempt: on an endpoint the call has not tried, as long as there is one.
async fn acquire(
    settlement: &Settlement,
    call: &Call,
    now: Instant,
    last: Option<&ProviderError>,
) -> Result<Lease, Refusal> {
    if now >= settlement.deadline() {
        return Err(Refusal::Deadline);
    }
    let demand = Demand::of(&call.request);
    let lease = settlement.client().balancer.try_lease(&demand.excluding(settlement.tried()), now);
    match (lease, last) {
        (Ok(lease), Some(error)) => {
            emit_retry(settlement, error, now, now);
            Ok(lease)
        }
        (Err(NoLease::NotBefore(_)), Some(error)) => again(settlement, &demand, error, now).await,
        (lease, _) => lease.map_err(Refusal::NoLease),
    }
}

/// Every endpoint was tried: pauses, then takes one that was tried before, the last one last.
async fn again(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &ProviderError,
    now: Instant,
) -> Result<Lease, Refusal> {
    let at = resumption(settlement, demand, last, now)?;
    emit_retry(settlement, last, now, at);
    pause_until(settlement, at).await?;
    let now = self::now();
    let balancer = &settlement.client().balancer;
    let tried = settlement.tried();
    let newest = &tried[tried.len().saturating_sub(1)..];
    balancer
        .try_lease(&demand.excluding(newest), now)
        .or_else(|_| balancer.try_lease(demand, now))
        .map_err(Refusal::NoLease)
}

/// When a call whose endpoints were all tried may try one of them again.
fn resumption(
    settlement: &Settlement,
    demand: &Demand<'_>,
    last: &ProviderError,
    now: Instant,
) -> Result<Instant, Refusal> {
    let client = settlement.client();
    let fault = last.kind().row().retry == Retry::Budgeted;
    let opens = match client.balancer.earliest(demand, now) {
        Ok(opens) => opens,
        // Waiting out a rate limit takes a queue: without one, all who were refused would come
        // back together.
        Err(refusal) => return Err(Refusal::NoLease(refusal)),
    };
    if opens > now && (!fault || opens > after(now, client.retry.max_delay)) {
        return Err(Refusal::NoLease(NoLease::NotBefore(Some(opens))));
    }
    // Moving on after a refusal is free; coming back to an endpoint is not.
    if !fault && !client.budget.withdraw(now) {
        return Err(Refusal::GiveUp);
    }
    let pause = client.retry.pause(settlement.attempts(), &client.rng);
    let at = after(now, pause).max(opens);
    if at < settlement.deadline() { Ok(at) } else { Err(Refusal::GiveUp) }
}

async fn pause_until(settlement: &Settlement, at: Instant) -> Result<(), Refusal> {
    let deadline = settlement.deadline();
    let mut watchdog = Watchdog::default();
    let pause = guarded(&mut watchdog, settlement.place(), deadline, sleep_until(at));
    pause.await.map_err(|alarm| match alarm {
        Alarm::Limit => Refusal::Deadline,
        Alarm::CutOff => Refusal::CutOff,
    })
}

fn emit_retry(settlement: &Settlement, error: &ProviderError, now: Instant, at: Instant) {
    settlement.client().emitter.emit(|| Event::Retry {
        endpoint: settlement.last_endpoint(),
        reason: error.kind().label(),
        delay: at.saturating_duration_since(now),
    });
}
