//! What a call is expected to use, before it is made.

use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::quota::amounts::Amounts;
use crate::request::ChatRequest;
use crate::sync::{AtomicU32, Ordering};
use crate::usage::{Price, Usage};

/// How much output is reserved for a call before it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Estimate {
    /// The most it may produce. Nothing is ever overshot; what is not used is given back.
    #[default]
    Max,
    /// What calls of this tenant on this model have produced lately, with a margin. Overshoots by
    /// what running calls produce beyond it.
    Expected,
    /// Nothing but the request itself: a call passes while the limits are not exceeded, and is charged
    /// while it streams and when it ends. Overshoots by what running calls use.
    PostPaid,
}

/// Output reserved where a call names no bound and nothing has been learnt.
const UNBOUNDED_OUTPUT: u64 = 1024;

/// Bytes per input token where nothing has been learnt.
const BYTES_PER_TOKEN: f32 = 4.0;

/// The most bytes per input token that are believed, and the least.
const MOST_RATIO: f32 = 16.0;
const LEAST_RATIO: f32 = 0.5;

/// The most output of one call that is believed.
const MOST_OUTPUT: u64 = 1 << 20;

/// Tokens of framing per message, as the common tokenisers add them.
const PER_MESSAGE: u64 = 4;

/// How many averages are kept: a table of fixed size, found by hash. Two tenants that share a place
/// share an estimate, which costs accuracy and nothing else.
const PLACES: usize = 4096;

/// What was learnt of calls so far.
#[derive(Debug)]
pub(crate) struct Estimator {
    mode: Estimate,
    hasher: RandomState,
    /// Output tokens, by tenant and model.
    output: Box<[Learnt]>,
    /// Bytes per input token, by model.
    ratio: Box<[Learnt]>,
}

impl Estimator {
    pub(crate) fn new(mode: Estimate) -> Self {
        let table = || std::iter::repeat_with(Learnt::default).take(PLACES).collect();
        Self { mode, hasher: RandomState::new(), output: table(), ratio: table() }
    }

    /// What `request` is expected to use.
    pub(crate) fn amounts(
        &self,
        request: &ChatRequest,
        counted: Option<u64>,
        tenant: &str,
        model: &str,
        price: Option<Price>,
    ) -> Amounts {
        let input = counted.unwrap_or_else(|| self.input(request, model));
        let output = self.output(request, tenant, model);
        let cost = price.unwrap_or_default().at_most(input, output);
        Amounts::tokens(input, output).with_cost(cost)
    }

    /// What is taken for a call before it is made that is expected to use `expected`.
    pub(crate) const fn taken_of(&self, expected: &Amounts) -> Amounts {
        match self.mode {
            Estimate::PostPaid => Amounts { requests: expected.requests, ..Amounts::NONE },
            Estimate::Max | Estimate::Expected => *expected,
        }
    }

    fn input(&self, request: &ChatRequest, model: &str) -> u64 {
        let ratio = self.place(&self.ratio, "", model).get().unwrap_or(BYTES_PER_TOKEN);
        let text = request.content_bytes() as f32 / ratio;
        (text.ceil() as u64).saturating_add(PER_MESSAGE * request.messages.len() as u64)
    }

    fn output(&self, request: &ChatRequest, tenant: &str, model: &str) -> u64 {
        let most = request.sampling.max_output_tokens;
        match self.mode {
            Estimate::Max => most.unwrap_or(UNBOUNDED_OUTPUT),
            Estimate::Expected | Estimate::PostPaid => {
                let learnt = self.place(&self.output, tenant, model).get();
                let expected = learnt.map_or(UNBOUNDED_OUTPUT, |tokens| (tokens * 1.25) as u64);
                expected.min(most.unwrap_or(u64::MAX))
            }
        }
    }

    /// Learns from what a call really used.
    pub(crate) fn learn(&self, request: &ChatRequest, usage: &Usage, tenant: &str, model: &str) {
        if usage.estimated {
            return;
        }
        if let Some(output) = usage.output_tokens {
            self.place(&self.output, tenant, model).blend(output.min(MOST_OUTPUT) as f32);
        }
        let bytes = request.content_bytes();
        if let Some(input) = usage.input_tokens.filter(|&input| input > 0 && bytes >= 256) {
            let ratio = (bytes as f32 / input as f32).clamp(LEAST_RATIO, MOST_RATIO);
            self.place(&self.ratio, "", model).blend(ratio);
        }
    }

    fn place<'a>(&self, table: &'a [Learnt], tenant: &str, model: &str) -> &'a Learnt {
        &table[self.hasher.hash_one((tenant, model)) as usize % PLACES]
    }
}

/// A moving average in one word; not a number before the first sample.
#[derive(Debug)]
struct Learnt(AtomicU32);

impl Default for Learnt {
    fn default() -> Self {
        Self(AtomicU32::new(f32::NAN.to_bits()))
    }
}

impl Learnt {
    fn get(&self) -> Option<f32> {
        // Relaxed here and below: the word stands alone.
        Some(f32::from_bits(self.0.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
    }

    /// Each sample counts a sixteenth, so that the last few dozen calls tell. It counts as at most four
    /// times the average: one absurd answer must not make the next calls too large for their quota.
    fn blend(&self, sample: f32) {
        let most = 4.0 * self.get().unwrap_or(UNBOUNDED_OUTPUT as f32).max(1.0);
        let sample = sample.min(most);
        let next = self.get().map_or(sample, |before| before + (sample - before) / 16.0);
        self.0.store(next.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: usize) -> ChatRequest {
        ChatRequest::new("m").user("x".repeat(bytes))
    }

    #[test]
    fn the_most_is_reserved_unless_told_otherwise() {
        let bounded = request(400).max_output_tokens(2_000);
        let of = |mode, request: &ChatRequest| {
            Estimator::new(mode).amounts(request, None, "t", "m", None)
        };
        assert_eq!(of(Estimate::Max, &bounded), Amounts::tokens(104, 2_000));
        assert_eq!(of(Estimate::Max, &request(400)), Amounts::tokens(104, 1_024));
        let post_paid = Estimator::new(Estimate::PostPaid);
        let expected = of(Estimate::PostPaid, &bounded);
        assert_eq!(expected, Amounts::tokens(104, 1_024));
        assert_eq!(post_paid.taken_of(&expected), Amounts::tokens(0, 0));
    }

    #[test]
    fn what_calls_use_corrects_what_is_expected() {
        let estimator = Estimator::new(Estimate::Expected);
        let call = request(2_000);
        for _ in 0..200 {
            estimator.learn(&call, &Usage::counted(1_000, 80), "t", "m");
        }
        let amounts = estimator.amounts(&call, None, "t", "m", None);
        assert_eq!(amounts.output_tokens, 100);
        assert!((1_000..=1_008).contains(&amounts.input_tokens), "{}", amounts.input_tokens);
    }

    #[test]
    fn a_providers_own_count_stands_and_a_lie_is_contained() {
        let estimator = Estimator::new(Estimate::Max);
        let call = request(4_000);
        assert_eq!(estimator.amounts(&call, Some(7), "t", "m", None).input_tokens, 7);
        estimator.learn(&call, &Usage::counted(u64::MAX, u64::MAX), "t", "m");
        assert!(estimator.amounts(&call, None, "t", "m", None).input_tokens <= 8_004);
    }

    #[test]
    fn one_absurd_answer_does_not_make_the_next_calls_absurd() {
        let estimator = Estimator::new(Estimate::Expected);
        let call = request(2_000);
        let expected = || estimator.amounts(&call, None, "t", "m", None);
        let learn = |input, output| {
            estimator.learn(&call, &Usage::counted(input, output), "t", "m");
        };
        (0..100).for_each(|_| learn(500, 80));
        let before = expected();
        learn(u64::MAX, u64::MAX);
        assert!(expected().output_tokens <= before.output_tokens * 5 / 4);
        (0..100).for_each(|_| learn(500, 80));
        assert_eq!(expected().output_tokens, before.output_tokens);
        assert!(expected().input_tokens.abs_diff(before.input_tokens) <= 1);

        let first = Estimator::new(Estimate::Expected);
        first.learn(&call, &Usage::counted(500, u64::MAX), "t", "m");
        assert!(first.amounts(&call, None, "t", "m", None).output_tokens <= 5 * UNBOUNDED_OUTPUT);
    }
}
