//! Writing to whichever recorder the application has installed.

use std::time::Duration;

use ::metrics::{Key, Label, Level, Metadata, SharedString, with_recorder};

use crate::observe::metrics::labels::Labels;
use crate::observe::metrics::observer::Metrics;

static METADATA: Metadata<'static> =
    Metadata::new("evenkeel", Level::INFO, Some("evenkeel::observe::metrics"));

/// A value that is one of a few, known when the crate was compiled.
pub(super) const fn fixed(value: &'static str) -> SharedString {
    SharedString::const_str(value)
}

impl Metrics {
    pub(super) fn count(&self, name: &'static str, labels: Labels<'_>, amount: u64) {
        let key = self.key(name, labels);
        with_recorder(|it| it.register_counter(&key, &METADATA).increment(amount));
    }

    pub(super) fn record(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        let key = self.key(name, labels);
        with_recorder(|it| it.register_histogram(&key, &METADATA).record(value));
    }

    pub(super) fn record_time(&self, name: &'static str, labels: Labels<'_>, value: Duration) {
        self.record(name, labels, value.as_secs_f64());
    }

    pub(super) fn set(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        let key = self.key(name, labels);
        with_recorder(|it| it.register_gauge(&key, &METADATA).set(value));
    }

    pub(super) fn add(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        let key = self.key(name, labels);
        with_recorder(|it| it.register_gauge(&key, &METADATA).increment(value));
    }

    /// The one door to the recorder: a series beyond the bound becomes that of all others.
    fn key(&self, name: &'static str, labels: Labels<'_>) -> Key {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, value.clone()));
        let key = Key::from_parts(name, labels.collect::<Vec<_>>());
        self.series().admit(name, key).unwrap_or_else(|instead| {
            self.count_overflow("series");
            instead
        })
    }
}
