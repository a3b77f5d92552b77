//! Token counts that mean the same on every wire.

use serde::{Deserialize, Serialize};

/// The tokens of one response.
///
/// `None` is "the server did not say", which is not zero. The parts are subsets of their whole on
/// every wire: `cached_input_tokens` and `cache_write_tokens` are contained in `input_tokens`, and
/// `reasoning_tokens` in `output_tokens`. Wires that count them apart are converted on arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Every input token, read from the provider's prompt cache or not.
    pub input_tokens: Option<u64>,
    /// Every output token, visible or not.
    pub output_tokens: Option<u64>,
    /// The part of the input that was read from the provider's prompt cache.
    pub cached_input_tokens: Option<u64>,
    /// The part of the input that was written to the provider's prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of the output that was hidden reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Whether the counts are our estimate rather than the server's word.
    pub estimated: bool,
}

impl Usage {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Input and output tokens as a server counted them.
    #[must_use]
    pub fn counted(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    /// With the part of the input that the provider's prompt cache served.
    #[must_use]
    pub fn with_cached_input(mut self, tokens: u64) -> Self {
        self.cached_input_tokens = Some(tokens);
        self
    }

    /// With the part of the input that was written to the provider's prompt cache.
    #[must_use]
    pub fn with_cache_write(mut self, tokens: u64) -> Self {
        self.cache_write_tokens = Some(tokens);
        self
    }

    /// With the part of the output that was hidden reasoning.
    #[must_use]
    pub fn with_reasoning(mut self, tokens: u64) -> Self {
        self.reasoning_tokens = Some(tokens);
        self
    }

    /// Marked as our estimate.
    #[must_use]
    pub fn as_estimate(mut self) -> Self {
        self.estimated = true;
        self
    }

    /// Input and output together; unknown counts are taken as zero, and the sum saturates.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.unwrap_or(0).saturating_add(self.output_tokens.unwrap_or(0))
    }

    /// Whether the server said nothing about either direction.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.input_tokens.is_none() && self.output_tokens.is_none()
    }

    /// Takes over what a later report knows better.
    ///
    /// Wires report in pieces (input at the start of a stream, output at its end) and repeat
    /// themselves with running totals, so the later word replaces the earlier one; it is not added.
    pub fn update(&mut self, later: &Self) {
        let Self {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            cache_write_tokens,
            reasoning_tokens,
            estimated,
        } = later;
        self.input_tokens = input_tokens.or(self.input_tokens);
        self.output_tokens = output_tokens.or(self.output_tokens);
        self.cached_input_tokens = cached_input_tokens.or(self.cached_input_tokens);
        self.cache_write_tokens = cache_write_tokens.or(self.cache_write_tokens);
        self.reasoning_tokens = reasoning_tokens.or(self.reasoning_tokens);
        self.estimated |= *estimated;
    }
}

/// An amount of money in nano-dollars: 10^-9 of a dollar, exact for prices per million tokens.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cost(u64);

impl Cost {
    /// `nanos` nano-dollars.
    #[must_use]
    pub const fn from_nano_dollars(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    #[must_use]
    pub const fn nano_dollars(self) -> u64 {
        self.0
    }

    /// The sum, saturating.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// What tokens cost, in nano-dollars each. A price of $2.50 per million tokens is 2,500.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Price {
    /// An input token.
    pub input: u64,
    /// An output token.
    pub output: u64,
    /// An input token read from the provider's prompt cache; `None` is the same as any other.
    #[serde(default)]
    pub cached_input: Option<u64>,
    /// An input token written to the provider's prompt cache; `None` is the same as any other.
    #[serde(default)]
    pub cache_write: Option<u64>,
}

impl Price {
    /// Nano-dollars an input and an output token.
    #[must_use]
    pub const fn new(input: u64, output: u64) -> Self {
        Self { input, output, cached_input: None, cache_write: None }
    }

    /// Dollars per million input and output tokens, as price lists state them. Rounded to
    /// nano-dollars a token; negative and absurd prices become zero and the largest there is.
    #[must_use]
    pub fn per_million(input: f64, output: f64) -> Self {
        let nanos = |dollars: f64| (dollars * 1_000.0).round() as u64;
        Self::new(nanos(input), nanos(output))
    }

    /// With the price of an input token read from the prompt cache.
    #[must_use]
    pub const fn with_cached_input(mut self, nanos: u64) -> Self {
        self.cached_input = Some(nanos);
        self
    }

    /// With the price of an input token written to the prompt cache.
    #[must_use]
    pub const fn with_cache_write(mut self, nanos: u64) -> Self {
        self.cache_write = Some(nanos);
        self
    }

    /// What `input` and `output` tokens cost, none of them cached. Saturates.
    #[must_use]
    pub const fn of_tokens(&self, input: u64, output: u64) -> Cost {
        let input = input.saturating_mul(self.input);
        Cost(input.saturating_add(output.saturating_mul(self.output)))
    }

    /// What a response cost. Unknown counts are zero; the parts are never more than their whole.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Cost {
        let input = usage.input_tokens.unwrap_or(0);
        let cached = usage.cached_input_tokens.unwrap_or(0).min(input);
        let written = usage.cache_write_tokens.unwrap_or(0).min(input - cached);
        let plain = self.of_tokens(input - cached - written, usage.output_tokens.unwrap_or(0));
        plain
            .saturating_add(Cost(cached.saturating_mul(self.cached_input.unwrap_or(self.input))))
            .saturating_add(Cost(written.saturating_mul(self.cache_write.unwrap_or(self.input))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_report_replaces_what_it_knows_and_keeps_the_rest() {
        let mut usage = Usage { input_tokens: Some(10), output_tokens: Some(1), ..Usage::new() };
        usage.update(&Usage { output_tokens: Some(25), ..Usage::new() });
        assert_eq!(usage, Usage::counted(10, 25));
    }

    #[test]
    fn cached_and_written_tokens_have_their_own_prices() {
        let price = Price::per_million(2.5, 10.0).with_cached_input(1_250).with_cache_write(3_000);
        let usage = Usage::counted(1_000, 10).with_cached_input(600).with_cache_write(100);
        let expected = 300 * 2_500 + 600 * 1_250 + 100 * 3_000 + 10 * 10_000;
        assert_eq!(price.of(&usage), Cost::from_nano_dollars(expected));
        let absurd = Usage::counted(10, u64::MAX).with_cached_input(u64::MAX);
        assert_eq!(price.of(&absurd).nano_dollars(), u64::MAX);
    }

    #[test]
    fn totals_saturate() {
        assert_eq!(Usage::counted(u64::MAX, 5).total_tokens(), u64::MAX);
        assert_eq!(Usage::new().total_tokens(), 0);
    }
}
