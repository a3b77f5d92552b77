//! Taking a call's part of its tenant's quota, before anything is asked of a backend.

use std::pin::pin;
use std::time::Duration;

use crate::balance::Quote;
use crate::client::caller::Caller;
use crate::client::llm_client::Inner;
use crate::client::settlement::Settlement;
use crate::client::stop::Stop;
use crate::client::terms::Terms;
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::event::Event;
use crate::options::Call;
use crate::quota::{Amounts, Denied, Dimension, Whose};
use crate::report::Phase;
use crate::time::{Instant, now};

/// Takes what the call is expected to use, or waits for it where its limits say so. Returns when the
/// call goes on.
pub(super) async fn reserve(settlement: &mut Settlement, call: &Call) -> Result<Instant, Stop> {
    let (terms, books) = settlement.parts();
    // Work that is shared has looked for an answer elsewhere first, which may have taken long.
    let start = if terms.shared { now() } else { terms.start };
    let Some(quota) = &terms.client.quota else { return Ok(start) };
    let model = call.request.model.as_deref();
    let whose = Whose::new(call.options.tenant.as_ref(), model, &call.options.quota_keys);
    let quote = quote(terms, call, model);
    let amounts = quota.estimate(&call.request, quote.input_tokens, &whose, quote.price);

    let reserving = pin!(quota.reserve(&whose, &amounts, terms.deadline()));
    let mut watchdog = Watchdog::default();
    match guarded(&mut watchdog, &terms.place, terms.deadline(), reserving).await {
        Ok(Ok(reservation)) => {
            let at = if watchdog.is_armed() { now() } else { start };
            tell_granted(terms, reservation.reserved(), at.saturating_duration_since(start));
            books.bill().hold(reservation);
            Ok(at)
        }
        Ok(Err(denied)) => {
            tell_denied(&terms.client, &terms.caller, &denied);
            Err(Stop::Denied(Box::new(denied)))
        }
        Err(Alarm::Limit) => Err(Stop::Deadline(Phase::Waiting)),
        Err(Alarm::CutOff) => Err(Stop::CutOff),
    }
}

fn tell_granted(terms: &Terms, reserved: &Amounts, waited: Duration) {
    terms.client.tally.quota_granted.one();
    terms.client.emitter.emit(|| Event::QuotaGranted {
        call: terms.caller.call,
        tokens: reserved.of(Dimension::Tokens),
        cost: reserved.cost,
        waited,
    });
}

/// Tells that a quota stood against a call.
pub(super) fn tell_denied(client: &Inner, caller: &Caller, denied: &Denied) {
    client.tally.quota_denied.one();
    client.emitter.emit(|| Event::QuotaDenied {
        call: caller.call,
        level: denied.level.label(),
        limit: denied.reason.label(),
        retry_after: denied.retry_after(),
    });
}

/// What the call may come to, also where a fallback serves it in the end: what is reserved is not
/// asked for again then.
fn quote(terms: &Terms, call: &Call, model: Option<&str>) -> Quote {
    let Terms { client, start, .. } = terms;
    let quote = client.balancer.quote(&call.request, model, *start);
    let others = client.fallbacks.of(model).iter();
    others.fold(quote, |quote, other| quote.or_price(client.balancer.price(other, *start)))
}
