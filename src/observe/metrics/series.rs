//! How many series a metric may have: labels with few values each still multiply.

use std::collections::{HashMap, HashSet};

use ::metrics::{Key, Label};
use parking_lot::RwLock;

use crate::observe::metrics::labels::other;
use crate::observe::names;

/// The most series of a metric, those of `_other` not counted. What OpenTelemetry's SDKs keep.
pub const MOST_SERIES: usize = 2_000;

/// The labels whose values are not known when the crate is compiled.
const OPEN: [&str; 9] = [
    "endpoint",
    "provider",
    "model",
    "from",
    "to",
    "level",
    "tenant",
    names::PROVIDER_NAME,
    names::REQUEST_MODEL,
];

/// The series that were let in. By their whole keys: of the hashes that the facade gives them, one in
/// twenty meets another.
#[derive(Debug, Default)]
pub(super) struct Series(RwLock<HashMap<&'static str, HashSet<Key>>>);

impl Series {
    /// The key, where its series was let in or there is room; else the key of all others.
    pub(super) fn admit(&self, name: &'static str, key: Key) -> Result<Key, Key> {
        if self.0.read().get(name).is_some_and(|series| series.contains(&key)) {
            return Ok(key);
        }
        let mut all = self.0.write();
        let series = all.entry(name).or_default();
        if series.len() >= MOST_SERIES && !series.contains(&key) {
            return if has_open(&key) { Err(of_others(name, &key)) } else { Ok(key) };
        }
        series.insert(key.clone());
        Ok(key)
    }
}

fn has_open(key: &Key) -> bool {
    key.labels().any(|label| OPEN.contains(&label.key()))
}

fn of_others(name: &'static str, key: &Key) -> Key {
    let labels = key.labels().map(|label| match OPEN.contains(&label.key()) {
        true => Label::new(label.key().to_owned(), other()),
        false => label.clone(),
    });
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(endpoint: usize, outcome: &'static str) -> Key {
        let labels = [Label::new("endpoint", endpoint.to_string()), Label::new("outcome", outcome)];
        Key::from_parts("m", labels.to_vec())
    }

    #[test]
    fn a_metric_has_so_many_series_and_one_for_each_outcome_of_all_others() {
        let series = Series::default();
        for at in 0..MOST_SERIES {
            assert_eq!(series.admit("m", key(at, "success")), Ok(key(at, "success")));
        }
        for outcome in ["success", "server"] {
            let others = Label::new("endpoint", other());
            let labels = vec![others, Label::new("outcome", outcome)];
            let expected = Key::from_parts("m", labels);
            for at in MOST_SERIES..MOST_SERIES + 3 {
                assert_eq!(series.admit("m", key(at, outcome)), Err(expected.clone()));
            }
        }
        assert_eq!(series.admit("m", key(7, "success")), Ok(key(7, "success")), "it stays");
        assert_eq!(series.admit("n", key(1, "server")), Ok(key(1, "server")), "each has its own");
        let fixed = Key::from_parts("m", vec![Label::new("outcome", "rare")]);
        assert_eq!(series.admit("m", fixed.clone()), Ok(fixed), "compiled labels are few");
        assert_eq!(series.0.read()["m"].len(), MOST_SERIES);
    }
}
