//! What is recorded of calls.

use ::metrics::SharedString;

use crate::event::Event;
use crate::observe::metrics::observer::Metrics;
use crate::observe::metrics::records::fixed;
use crate::observe::names;
use crate::usage::Usage;

pub(super) fn record(metrics: &Metrics, event: &Event<'_>) {
    match event {
        Event::CallStarted { operation, .. } => {
            metrics.add(names::INFLIGHT, &[("operation", fixed(operation))], 1.0);
        }
        Event::CallEnded { .. } => ended(metrics, event),
        Event::Fallback { from, to, why, .. } => {
            let (from, to) = (metrics.model(Some(from)), metrics.model(Some(to)));
            metrics.count(
                names::FALLBACKS,
                &[("from", from), ("to", to), ("reason", fixed(why))],
                1,
            );
        }
        Event::Queued { priority, waited, .. } => {
            metrics.record_time(names::QUEUE_WAIT, &[("class", fixed(priority.label()))], *waited);
        }
        Event::QueueRefused { priority, why, .. } => {
            let labels = [("class", fixed(priority.label())), ("reason", fixed(why))];
            metrics.count(names::QUEUE_SHED, &labels, 1);
        }
        Event::QuotaGranted { .. } | Event::QuotaSettled { .. } | Event::QuotaDenied { .. } => {
            quota(metrics, event);
        }
        Event::Cache { .. } => cache(metrics, event),
        _ => {}
    }
}

fn ended(metrics: &Metrics, event: &Event<'_>) {
    let Event::CallEnded {
        operation,
        model,
        tenant,
        outcome,
        source,
        usage,
        ttft,
        total,
        overhead,
        ..
    } = *event
    else {
        return;
    };
    metrics.add(names::INFLIGHT, &[("operation", fixed(operation))], -1.0);
    let operation = ("operation", fixed(operation));
    let model = ("model", metrics.model(model));
    let source = ("source", fixed(source));
    let of = [operation.clone(), model.clone(), ("outcome", fixed(outcome)), source.clone()];
    metrics.record_time(names::REQUEST_DURATION, &of, total);
    match metrics.count_tenant(tenant) {
        None => metrics.count(names::REQUESTS, &of, 1),
        Some(tenant) => {
            let [operation, model, outcome, source] = of;
            let of = [operation, model, outcome, source, ("tenant", tenant.clone())];
            metrics.count(names::REQUESTS, &of, 1);
            tenant_tokens(metrics, &tenant, &usage);
        }
    }
    if let Some(ttft) = ttft {
        metrics.record_time(names::REQUEST_TTFT, &[operation.clone(), model.clone(), source], ttft);
    }
    if let Some(overhead) = overhead {
        metrics.record_time(names::REQUEST_OVERHEAD, &[operation, model], overhead);
    }
}

fn tenant_tokens(metrics: &Metrics, tenant: &SharedString, usage: &Usage) {
    for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
        let labels = [("tenant", tenant.clone()), ("direction", fixed(direction))];
        metrics.count(names::TENANT_TOKENS, &labels, tokens.unwrap_or(0));
    }
}

fn quota(metrics: &Metrics, event: &Event<'_>) {
    let decided = |level, limit, decision| {
        let labels = [("level", level), ("limit", limit), ("decision", fixed(decision))];
        metrics.count(names::QUOTA_DECISIONS, &labels, 1);
    };
    let tokens =
        |kind, amount| metrics.count(names::QUOTA_TOKENS, &[("kind", fixed(kind))], amount);
    match *event {
        Event::QuotaGranted { tokens: reserved, waited, .. } => {
            decided(fixed("all"), fixed("all"), "allow");
            tokens("reserved", reserved);
            metrics.record_time(names::QUOTA_WAIT, &[], waited);
        }
        Event::QuotaDenied { level, limit, .. } => {
            decided(metrics.level(level), fixed(limit), "deny");
        }
        Event::QuotaSettled { charged, .. } => tokens("charged", charged),
        _ => {}
    }
}

fn cache(metrics: &Metrics, event: &Event<'_>) {
    let Event::Cache { outcome, why, similarity, saved, saved_cost, .. } = *event else { return };
    let labels = [("outcome", fixed(outcome)), ("reason", fixed(why.unwrap_or("none")))];
    metrics.count(names::CACHE_LOOKUPS, &labels, 1);
    let Some(similarity) = similarity else { return };
    if outcome == "semantic_hit" {
        metrics.record(names::CACHE_SIMILARITY, &[], f64::from(similarity));
    }
    let tier = [("outcome", fixed(outcome))];
    metrics.count(names::TOKENS_SAVED, &tier, saved.total_tokens());
    metrics.count(names::COST_SAVED, &tier, saved_cost.unwrap_or_default().nano_dollars());
}
