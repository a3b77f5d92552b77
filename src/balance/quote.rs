//! What a call may come to, before it is known which endpoint serves it.

use crate::usage::Price;

/// What a call for a model may come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quote {
    /// The dearest price of each part among the endpoints that serve the model, in service or not;
    /// `None` where none of them has a price.
    pub price: Option<Price>,
    /// Input tokens as a provider counts them; `None` where it does not.
    pub input_tokens: Option<u64>,
}

impl Quote {
    /// For a call that may be served at `other` too: the dearer price of both.
    pub(crate) fn or_price(mut self, other: Option<Price>) -> Self {
        self.price = self.price.into_iter().chain(other).reduce(dearer);
        self
    }
}

/// The dearer of two prices, part by part: no call is cheaper than it was expected to be at either.
pub(crate) fn dearer(a: Price, b: Price) -> Price {
    let mut price = Price::new(a.input.max(b.input), a.output.max(b.output));
    price.cached_input = Some(cached(&a).max(cached(&b)));
    price.cache_write = Some(written(&a).max(written(&b)));
    price
}

fn cached(price: &Price) -> u64 {
    price.cached_input.unwrap_or(price.input)
}

fn written(price: &Price) -> u64 {
    price.cache_write.unwrap_or(price.input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearer_price_is_so_in_every_part() {
        let fast = Price::new(5, 10).with_cached_input(1);
        let wordy = Price::new(2, 40);
        let expected = Price::new(5, 40).with_cached_input(2).with_cache_write(5);
        assert_eq!(dearer(fast, wordy), expected);
        assert_eq!(dearer(wordy, fast), expected);
    }
}
