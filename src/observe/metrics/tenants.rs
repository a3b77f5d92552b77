//! Which tenants have a label value of their own. Pure.
//!
//! A sketch counts the tenants that call most (Metwally, Agrawal and El Abbadi, *Efficient Computation
//! of Frequent and Top-k Elements in Data Streams*, 2005: where there is no counter for a newcomer, it
//! takes over the smallest one with its count). A tenant gets a value of its own once it certainly
//! made its share of the calls, as long as there is one left. It keeps it, for its series are there.

use std::collections::{HashMap, HashSet};

use ::metrics::SharedString;

use crate::observe::metrics::labels::other;

/// Counters for each value there is: the more, the later small tenants push one another out.
const COUNTERS_PER_VALUE: usize = 4;

/// A tenant must have made so many calls.
const LEAST_CALLS: u64 = 10;

/// The tenants of one label.
#[derive(Debug)]
pub(super) struct TopTenants {
    most: usize,
    calls: u64,
    counters: HashMap<Box<str>, Counter>,
    named: HashSet<SharedString>,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    count: u64,
    /// What of it may be others'.
    inherited: u64,
}

impl TopTenants {
    /// At most so many tenants with a value of their own.
    pub(super) fn new(most: usize) -> Self {
        Self { most, calls: 0, counters: HashMap::new(), named: HashSet::new() }
    }

    /// Counts a call of `tenant`, and tells its label's value.
    pub(super) fn count(&mut self, tenant: &str) -> SharedString {
        if let Some(named) = self.named.get(tenant) {
            return named.clone();
        }
        self.calls += 1;
        let certain = self.certain_calls(tenant);
        let share = self.calls / (2 * self.most.max(1)) as u64;
        if self.named.len() >= self.most || certain < LEAST_CALLS.max(share) {
            return other();
        }
        self.counters.remove(tenant);
        let named = SharedString::from(tenant.to_owned());
        self.named.insert(named.clone());
        named
    }

    /// Counts the call, and tells how many `tenant` made for certain.
    fn certain_calls(&mut self, tenant: &str) -> u64 {
        if let Some(counter) = self.counters.get_mut(tenant) {
            counter.count += 1;
            return counter.count - counter.inherited;
        }
        let inherited = match self.counters.len() < self.most * COUNTERS_PER_VALUE {
            true => 0,
            false => self.take_smallest(),
        };
        self.counters.insert(tenant.into(), Counter { count: inherited + 1, inherited });
        1
    }

    fn take_smallest(&mut self) -> u64 {
        let smallest = self.counters.iter().min_by_key(|(_, counter)| counter.count);
        let Some((tenant, count)) = smallest.map(|(tenant, it)| (tenant.clone(), it.count)) else {
            return 0;
        };
        self.counters.remove(&tenant);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::names::OTHER;

    #[test]
    fn those_who_call_most_have_a_value_and_a_crowd_has_one_together() {
        let mut tenants = TopTenants::new(3);
        let mut values = HashSet::new();
        for call in 0..10_000 {
            values.insert(tenants.count(&format!("small-{call}")));
            for large in ["a", "b", "c", "d"] {
                values.insert(tenants.count(large));
            }
        }
        assert_eq!(values.len(), 4, "three, and all others: {values:?}");
        assert!(values.contains(OTHER) && !values.iter().any(|it| it.starts_with("small")));
        assert!(tenants.counters.len() <= 3 * COUNTERS_PER_VALUE, "what it keeps is bounded");
    }

    #[test]
    fn a_tenant_is_not_named_for_what_others_called() {
        let mut tenants = TopTenants::new(2);
        for call in 0..10_000 {
            assert_eq!(tenants.count(&format!("once-{call}")), other());
        }
    }

    #[test]
    fn a_few_tenants_are_named_from_their_tenth_call() {
        let mut tenants = TopTenants::new(50);
        let values: Vec<_> = (0..12).map(|_| tenants.count("acme")).collect();
        assert_eq!(values.iter().filter(|value| value.as_ref() == "acme").count(), 3);
    }
}
