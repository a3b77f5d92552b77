//! What values a label may take.

use std::collections::HashSet;
use std::sync::Arc;

use ::metrics::SharedString;
use parking_lot::RwLock;

use crate::observe::names::OTHER;

/// The most values of a label.
pub const MOST_VALUES: usize = 64;

/// The labels of a record: names are static.
pub(super) type Labels<'a> = &'a [(&'static str, SharedString)];

/// The values of one label. What was let in stays: its series are there.
#[derive(Debug, Default)]
pub(super) struct Values(RwLock<HashSet<Arc<str>>>);

/// A value, or that it had no room.
pub(super) type Admitted = Result<SharedString, NoRoom>;

/// There are [`MOST_VALUES`] of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Values {
    /// `value`, where it was let in.
    pub(super) fn known(&self, value: &str) -> Option<SharedString> {
        self.0.read().get(value).map(|known| SharedString::from_shared(Arc::clone(known)))
    }

    /// Lets `value` in, unless there are too many.
    pub(super) fn admit(&self, value: &str) -> Admitted {
        if let Some(known) = self.known(value) {
            return Ok(known);
        }
        let mut values = self.0.write();
        if values.len() >= MOST_VALUES && !values.contains(value) {
            return Err(NoRoom);
        }
        let value: Arc<str> = value.into();
        values.insert(Arc::clone(&value));
        Ok(SharedString::from_shared(value))
    }
}

/// The value that stands for all others.
pub(super) const fn other() -> SharedString {
    SharedString::const_str(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_so_many_values_and_no_more() {
        let values = Values::default();
        for at in 0..MOST_VALUES {
            assert_eq!(values.admit(&at.to_string()).unwrap().as_ref(), at.to_string());
        }
        assert_eq!(values.admit("one more"), Err(NoRoom));
        assert_eq!(values.admit("7").unwrap().as_ref(), "7", "what was let in stays");
        assert_eq!(values.known("one more"), None);
    }
}
