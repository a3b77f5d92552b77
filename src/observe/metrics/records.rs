//! Writing to whichever recorder the application has installed.

use std::time::Duration;

use ::metrics::{Key, Label, Level, Metadata, SharedString, with_recorder};

/// The labels of a record: names are static.
pub(super) type Labels<'a> = &'a [(&'static str, SharedString)];

static METADATA: Metadata<'static> =
    Metadata::new("evenkeel", Level::INFO, Some("evenkeel::observe::metrics"));

/// A value that is one of a few, known when the crate was compiled.
pub(super) const fn fixed(value: &'static str) -> SharedString {
    SharedString::const_str(value)
}

pub(super) fn count(name: &'static str, labels: Labels<'_>, amount: u64) {
    with_recorder(|it| it.register_counter(&key(name, labels), &METADATA).increment(amount));
}

pub(super) fn record(name: &'static str, labels: Labels<'_>, value: f64) {
    with_recorder(|it| it.register_histogram(&key(name, labels), &METADATA).record(value));
}

pub(super) fn record_time(name: &'static str, labels: Labels<'_>, value: Duration) {
    record(name, labels, value.as_secs_f64());
}

pub(super) fn set(name: &'static str, labels: Labels<'_>, value: f64) {
    with_recorder(|it| it.register_gauge(&key(name, labels), &METADATA).set(value));
}

pub(super) fn add(name: &'static str, labels: Labels<'_>, value: f64) {
    with_recorder(|it| it.register_gauge(&key(name, labels), &METADATA).increment(value));
}

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, value.clone()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}
