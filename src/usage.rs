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
///
/// A configuration states each part in nano-dollars (`input = 2500`) or as price lists do, in
/// dollars per million tokens (`input_per_million = 2.5`), which is rounded to nano-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenPrice")]
#[non_exhaustive]
pub struct Price {
    /// An input token.
    pub input: u64,
    /// An output token.
    pub output: u64,
    /// An input token read from the provider's prompt cache; `None` is the same as any other.
    pub cached_input: Option<u64>,
    /// An input token written to the provider's prompt cache; `None` is the same as any other.
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
        Self::new(nanos_per_token(input), nanos_per_token(output))
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

    /// What `input` and `output` tokens cost at the most, whatever part of the input is read from a
    /// prompt cache or written to one. Saturates.
    #[must_use]
    pub fn at_most(&self, input: u64, output: u64) -> Cost {
        let parts = [Some(self.input), self.cached_input, self.cache_write];
        let dearest = parts.into_iter().flatten().max().unwrap_or(self.input);
        Self::new(dearest, self.output).of_tokens(input, output)
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

fn nanos_per_token(dollars_per_million: f64) -> u64 {
    (dollars_per_million * 1_000.0).round() as u64
}

/// A price as configurations spell it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrice {
    input: Option<u64>,
    input_per_million: Option<PerMillion>,
    output: Option<u64>,
    output_per_million: Option<PerMillion>,
    cached_input: Option<u64>,
    cached_input_per_million: Option<PerMillion>,
    cache_write: Option<u64>,
    cache_write_per_million: Option<PerMillion>,
}

/// Nano-dollars a token, read from dollars per million tokens.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct PerMillion(u64);

impl TryFrom<f64> for PerMillion {
    type Error = &'static str;

    fn try_from(dollars: f64) -> Result<Self, Self::Error> {
        // A million dollars for a million tokens: whatever is above was meant for another unit.
        match (0.0..=1e6).contains(&dollars) {
            true => Ok(Self(nanos_per_token(dollars))),
            false => Err("must be from 0 to 1,000,000 dollars per million tokens"),
        }
    }
}

impl TryFrom<WrittenPrice> for Price {
    type Error = String;

    fn try_from(written: WrittenPrice) -> Result<Self, Self::Error> {
        let WrittenPrice { input, output, cached_input, cache_write, .. } = written;
        let missing = |part| move || format!("{part} is missing, or {part}_per_million");
        Ok(Self {
            input: either("input", input, written.input_per_million)?
                .ok_or_else(missing("input"))?,
            output: either("output", output, written.output_per_million)?
                .ok_or_else(missing("output"))?,
            cached_input: either("cached_input", cached_input, written.cached_input_per_million)?,
            cache_write: either("cache_write", cache_write, written.cache_write_per_million)?,
        })
    }
}

/// The one of two spellings that was used.
fn either(
    part: &str,
    nanos: Option<u64>,
    per_million: Option<PerMillion>,
) -> Result<Option<u64>, String> {
    match (nanos, per_million) {
        (Some(_), Some(_)) => Err(format!("{part} and {part}_per_million exclude each other")),
        (nanos, per_million) => Ok(nanos.or_else(|| per_million.map(|PerMillion(nanos)| nanos))),
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
        assert_eq!(price.at_most(1_000, 10).nano_dollars(), 1_000 * 3_000 + 10 * 10_000);
        let absurd = Usage::counted(10, u64::MAX).with_cached_input(u64::MAX);
        assert_eq!(price.of(&absurd).nano_dollars(), u64::MAX);
    }

    #[test]
    fn totals_saturate() {
        assert_eq!(Usage::counted(u64::MAX, 5).total_tokens(), u64::MAX);
        assert_eq!(Usage::new().total_tokens(), 0);
    }

    #[test]
    fn a_price_is_read_in_nano_dollars_or_as_price_lists_state_it() {
        let read = |text: &str| serde_json::from_str::<Price>(text);
        let price = Price::per_million(2.5, 10.0).with_cached_input(1_250);
        for text in [
            r#"{"input": 2500, "output": 10000, "cached_input": 1250}"#,
            r#"{"input_per_million": 2.5, "output_per_million": 10, "cached_input_per_million": 1.25}"#,
            r#"{"input_per_million": 2.5, "output": 10000, "cached_input": 1250}"#,
        ] {
            assert_eq!(read(text).unwrap(), price, "{text}");
        }
        assert_eq!(read(&serde_json::to_string(&price).unwrap()).unwrap(), price);
    }

    #[test]
    fn a_price_that_is_none_says_why() {
        for (text, why) in [
            (r#"{"input": 1}"#, "output is missing"),
            (r#"{"input": 1, "input_per_million": 1, "output": 1}"#, "exclude each other"),
            (r#"{"input_per_million": -1, "output": 1}"#, "from 0 to 1,000,000"),
            (r#"{"input": 1, "output": 1, "outptu": 1}"#, "unknown field `outptu`"),
        ] {
            let refusal = serde_json::from_str::<Price>(text).unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
        }
    }
}
