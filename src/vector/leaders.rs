//! The best entries so far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// An entry that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// What it was inserted under.
    pub key: u64,
    /// Its cosine with the query.
    pub similarity: f32,
}

/// At most `most` entries whose similarity is not below a threshold.
#[derive(Debug)]
pub(super) struct Leaders {
    most: usize,
    threshold: f32,
    /// The worst on top.
    found: BinaryHeap<Rank>,
}

impl Leaders {
    pub(super) fn new(most: usize, threshold: f32) -> Self {
        Self { most, threshold, found: BinaryHeap::new() }
    }

    /// What a similarity must not be below to matter.
    pub(super) fn floor(&self) -> f32 {
        match self.found.peek() {
            Some(worst) if self.found.len() == self.most => worst.0.similarity,
            _ => self.threshold,
        }
    }

    /// Takes `entry` in if it belongs to the best.
    pub(super) fn offer(&mut self, entry: Match) {
        if entry.similarity < self.floor() || self.most == 0 {
            return;
        }
        self.found.push(Rank(entry));
        if self.found.len() > self.most {
            self.found.pop();
        }
    }

    /// The best first.
    pub(super) fn into_matches(self) -> Vec<Match> {
        self.found.into_sorted_vec().into_iter().map(|rank| rank.0).collect()
    }
}

/// Greater is worse: less similar, or as similar with a greater key. Similarities are never NaN.
#[derive(Debug)]
struct Rank(Match);

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_similarity = other.0.similarity.total_cmp(&self.0.similarity);
        by_similarity.then(self.0.key.cmp(&other.0.key))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of_best(most: usize, threshold: f32, offers: &[(u64, f32)]) -> Vec<u64> {
        let mut leaders = Leaders::new(most, threshold);
        offers.iter().for_each(|&(key, similarity)| leaders.offer(Match { key, similarity }));
        leaders.into_matches().into_iter().map(|found| found.key).collect()
    }

    #[test]
    fn the_best_come_first_and_ties_by_key() {
        let offers = [(9, 0.5), (1, 0.9), (7, 0.9), (3, 0.9), (5, 1.0)];
        assert_eq!(keys_of_best(3, 0.0, &offers), [5, 1, 3]);
        assert_eq!(keys_of_best(9, 0.0, &offers), [5, 1, 3, 7, 9]);
    }

    #[test]
    fn the_threshold_itself_is_enough() {
        assert_eq!(keys_of_best(3, 0.5, &[(1, 0.5), (2, 0.499)]), [1]);
    }

    #[test]
    fn none_are_the_best_none() {
        assert_eq!(keys_of_best(0, -1.0, &[(1, 1.0)]), [0; 0]);
    }
}
