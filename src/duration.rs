//! Durations as people write them in configuration files, for `#[serde(with = "..")]`.
//!
//! Written as text that is exact to the nanosecond: `250ms`, `30s`, `1h30m`, `1s500ms`. Read from
//! such a text, whose numbers may have decimals, or from a number of seconds. The units are `d` (24
//! hours), `h`, `m`, `s`, `ms`, `us` and `ns`; a text has each at most once, the largest first, and
//! no spaces.
//!
//! Reading needs a format that knows its own types, as JSON, TOML and YAML do. An optional duration
//! is read and written by [`option`].
//!
//! ```
//! use std::time::Duration;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Config {
//!     #[serde(with = "evenkeel::duration")]
//!     every: Duration,
//!     #[serde(with = "evenkeel::duration::option", default)]
//!     until: Option<Duration>,
//! }
//!
//! let config: Config = serde_json::from_str(r#"{ "every": "1.5m", "until": 3600 }"#)?;
//! assert_eq!(config.every, Duration::from_secs(90));
//! assert_eq!(serde_json::to_string(&config)?, r#"{"every":"1m30s","until":"1h"}"#);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Writes a duration as text.
///
/// # Errors
/// Only the serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Written(*duration).serialize(serializer)
}

/// Reads a duration from a text or from a number of seconds, which is rounded to nanoseconds.
///
/// # Errors
/// What is no duration, negative, not finite, longer than a [`Duration`] can be, or written finer
/// than a nanosecond. The error shows what was read unless it is long, and says what is wrong.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Written::deserialize(deserializer).map(|Written(duration)| duration)
}

/// The same for `Option<Duration>`.
///
/// serde wants a field that may be left out to be marked: with `default`, itself or its struct.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, Written};

    /// Writes a duration as text, or that there is none.
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Written).serialize(serializer)
    }

    /// Reads a duration, or that there is none.
    ///
    /// # Errors
    /// Those of [`deserialize`](super::deserialize()).
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(written.map(|Written(duration)| duration))
    }
}

/// The units and their nanoseconds, largest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS_PER_SEC),
    ("h", 3_600 * NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("s", NANOS_PER_SEC),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// A day is 2^16 * 3^3 * 5^11 nanoseconds, so a number with more decimals than 16 is a whole number
/// of nanoseconds in no unit. With no more than that, the product with a day fits a `u128`.
const MOST_DECIMALS: usize = 16;

/// A refused text of so many bytes is shown by its error: a duration that somebody wrote fits, a key does not.
const MOST_SHOWN: usize = 24;

/// A duration in the form of this module.
struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut nanos = self.0.as_nanos();
        for (name, unit) in UNITS {
            if nanos >= unit {
                write!(f, "{}{name}", nanos / unit)?;
                nanos %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"250ms\" or \"1h30m\", or a number of seconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|flaw| refusal(Excerpt(text), flaw))
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        let seconds = seconds.try_into().map_err(|_| refusal(seconds, Flaw::Negative))?;
        self.visit_u64(seconds)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
        // In scientific notation, for the largest numbers have three hundred digits.
        from_seconds(seconds).map_err(|flaw| refusal(format_args!("{seconds:e}"), flaw))
    }
}

fn refusal<E: de::Error>(read: impl fmt::Display, flaw: Flaw) -> E {
    E::custom(format_args!("{read} is no duration: {flaw}"))
}

/// A short text, quoted, with control characters escaped; of a longer one, which may be a key, its length.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0..=MOST_SHOWN => write!(f, "{:?}", self.0),
            bytes => write!(f, "a text of {bytes} bytes"),
        }
    }
}

/// Why something is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Flaw {
    #[error("it is empty")]
    Empty,
    #[error("it is negative")]
    Negative,
    #[error("it is not finite")]
    NotFinite,
    #[error("each unit follows a number, such as 2 or 1.5")]
    Number,
    #[error("each number is followed by d, h, m, s, ms, us or ns, without a space")]
    Unit,
    #[error("the units go from the largest to the smallest, each at most once")]
    Order,
    #[error("it is finer than a nanosecond")]
    TooFine,
    #[error("it is too long")]
    TooLong,
}

fn from_seconds(seconds: f64) -> Result<Duration, Flaw> {
    if !seconds.is_finite() {
        return Err(Flaw::NotFinite);
    }
    if seconds < 0.0 {
        return Err(Flaw::Negative);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| Flaw::TooLong)
}

fn parse(text: &str) -> Result<Duration, Flaw> {
    if text.is_empty() {
        return Err(Flaw::Empty);
    }
    if text.starts_with('-') {
        return Err(Flaw::Negative);
    }
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (number, after) = split_before(rest, |c| !c.is_ascii_digit() && c != '.');
        let (name, after) = split_before(after, |c| !c.is_alphabetic());
        let number = Decimal::parse(number)?;
        let unit = take_unit(&mut units, name)?;
        nanos = nanos.checked_add(number.times(unit)?).ok_or(Flaw::TooLong)?;
        rest = after;
    }
    from_nanos(nanos)
}

fn split_before(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// The nanoseconds of the unit called `name`; `units` are then those below it.
fn take_unit(units: &mut &[(&str, u128)], name: &str) -> Result<u128, Flaw> {
    if let Some(at) = units.iter().position(|unit| unit.0 == name) {
        let nanos = units[at].1;
        *units = &units[at + 1..];
        return Ok(nanos);
    }
    let known = UNITS.iter().any(|unit| unit.0 == name);
    Err(if known { Flaw::Order } else { Flaw::Unit })
}

fn from_nanos(nanos: u128) -> Result<Duration, Flaw> {
    let seconds = u64::try_from(nanos / NANOS_PER_SEC).map_err(|_| Flaw::TooLong)?;
    Ok(Duration::new(seconds, (nanos % NANOS_PER_SEC) as u32))
}

/// The digits of a number, before and after its point: at least one each.
struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Result<Self, Flaw> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let valid = digits(whole) && digits(fraction);
        valid.then_some(Self { whole, fraction }).ok_or(Flaw::Number)
    }

    fn times(&self, unit: u128) -> Result<u128, Flaw> {
        let part = self.part_of(unit)?;
        let whole: u128 = self.whole.parse().map_err(|_| Flaw::TooLong)?;
        let nanos = whole.checked_mul(unit).and_then(|nanos| nanos.checked_add(part));
        nanos.ok_or(Flaw::TooLong)
    }

    /// The fraction's share of `unit`, where that is a whole number.
    fn part_of(&self, unit: u128) -> Result<u128, Flaw> {
        let digits = self.fraction.trim_end_matches('0');
        if digits.len() > MOST_DECIMALS {
            return Err(Flaw::TooFine);
        }
        // Nothing is left where all of them were zeros.
        let product = digits.parse().unwrap_or(0) * unit;
        let scale = 10_u128.pow(digits.len() as u32);
        product.is_multiple_of(scale).then_some(product / scale).ok_or(Flaw::TooFine)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<Duration, String> {
        deserialize(value).map_err(|error| error.to_string())
    }

    fn written(duration: Duration) -> Value {
        serialize(&duration, serde_json::value::Serializer).unwrap()
    }

    #[test]
    fn is_written_without_parts_that_are_zero() {
        let cases = [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_secs(30), "30s"),
            (Duration::from_secs(300), "5m"),
            (Duration::from_secs(5_400), "1h30m"),
            (Duration::from_millis(1_500), "1s500ms"),
            (Duration::new(86_401, 1_001), "1d1s1us1ns"),
            (Duration::MAX, "213503982334601d7h15s999ms999us999ns"),
        ];
        for (duration, text) in cases {
            assert_eq!(written(duration), json!(text));
        }
    }

    #[test]
    fn is_read_as_people_write_it() {
        let cases = [
            (json!("90m"), Duration::from_secs(5_400)),
            (json!("1.5s"), Duration::from_millis(1_500)),
            (json!("1.5h0.5m"), Duration::from_secs(5_430)),
            (json!("007.2500000000000000000000000000000000000000ms"), Duration::from_micros(7_250)),
            (json!("0.0000152587890625d"), Duration::from_nanos(1_318_359_375)),
            (json!("20000000000000000000ns"), Duration::from_secs(20_000_000_000)),
            (json!(30), Duration::from_secs(30)),
            (json!(0.25), Duration::from_millis(250)),
            (json!(-0.0), Duration::ZERO),
            (json!(u64::MAX), Duration::from_secs(u64::MAX)),
        ];
        for (value, duration) in cases {
            assert_eq!(read(value.clone()), Ok(duration), "{value}");
        }
    }

    #[test]
    fn every_refusal_says_why() {
        let cases = [
            ("", Flaw::Empty),
            ("-5s", Flaw::Negative),
            ("s", Flaw::Number),
            (".5s", Flaw::Number),
            ("5.s", Flaw::Number),
            ("1.2.3s", Flaw::Number),
            ("+5s", Flaw::Number),
            (" 5s", Flaw::Number),
            ("30", Flaw::Unit),
            ("1h30", Flaw::Unit),
            ("5 s", Flaw::Unit),
            ("5minutes", Flaw::Unit),
            ("5µs", Flaw::Unit),
            ("5S", Flaw::Unit),
            ("1e3s", Flaw::Unit),
            ("30m1h", Flaw::Order),
            ("1m1m", Flaw::Order),
            ("0.5ns", Flaw::TooFine),
            ("0.0000000000000000000000000000000000000001d", Flaw::TooFine),
            ("213503982334601d7h16s", Flaw::TooLong),
            ("340282366920938463463374607431768211455ns", Flaw::TooLong),
            // Each of these would be zero modulo 2^128.
            ("5192296858534827628530496329220096d", Flaw::TooLong),
            ("340282366920938463463374607431768211.456us", Flaw::TooLong),
            ("340282366920938463463374607431768211us456ns", Flaw::TooLong),
            ("340282366920938463463374607431768211456ns", Flaw::TooLong),
        ];
        for (text, flaw) in cases {
            assert_eq!(parse(text), Err(flaw), "{text}");
        }
        assert_eq!(from_seconds(f64::NAN), Err(Flaw::NotFinite));
        assert_eq!(from_seconds(f64::INFINITY), Err(Flaw::NotFinite));
        assert_eq!(from_seconds(-1e-9), Err(Flaw::Negative));
        assert_eq!(from_seconds(2e19), Err(Flaw::TooLong));
    }

    #[test]
    fn a_refusal_shows_what_was_read() {
        let refused = |value| read(value).unwrap_err();
        assert_eq!(refused(json!("-5s")), "\"-5s\" is no duration: it is negative");
        assert_eq!(refused(json!(-5)), "-5 is no duration: it is negative");
        assert_eq!(refused(json!(1e300)), "1e300 is no duration: it is too long");
        assert!(refused(json!(null)).contains("expected a duration such as \"250ms\""));
        assert!(refused(json!("\n")).starts_with("\"\\n\" is"));
        let long = refused(json!("\n".repeat(1_000_000)));
        assert!(long.starts_with("a text of 1000000 bytes is no duration"), "{long}");
    }

    #[test]
    fn an_optional_duration_is_a_duration_or_nothing() {
        let read = |value: Value| option::deserialize(value);
        assert_eq!(read(json!(null)).unwrap(), None);
        assert_eq!(read(json!("5m")).unwrap(), Some(Duration::from_secs(300)));
        assert!(read(json!("none")).is_err());
        let written = |it| option::serialize(&it, serde_json::value::Serializer).unwrap();
        assert_eq!(written(None), json!(null));
        assert_eq!(written(Some(Duration::from_secs(300))), json!("5m"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(read(written(duration)), Ok(duration));
        }

        #[test]
        fn round_durations_are_read_back(amount in any::<u32>(), unit in 0..UNITS.len()) {
            let duration = from_nanos(u128::from(amount) * UNITS[unit].1).unwrap();
            prop_assert_eq!(read(written(duration)), Ok(duration));
        }

        #[test]
        fn decimals_are_exact(seconds in any::<u32>(), nanos in 0..1_000_000_000_u32) {
            let text = format!("{seconds}.{nanos:09}s");
            prop_assert_eq!(parse(&text), Ok(Duration::new(seconds.into(), nanos)));
        }

        #[test]
        fn any_text_is_read_or_refused_in_few_words(text in ".*|([0-9.]{0,50}[dhmsun-]{0,2}){0,9}") {
            // Ten bytes a character are its longest escape, `\u{10ffff}`.
            prop_assert!(read(json!(text)).err().is_none_or(|it| it.len() < 10 * MOST_SHOWN + 100));
        }

        #[test]
        fn any_number_is_read_or_refused(seconds in any::<f64>()) {
            let possible = (0.0..u64::MAX as f64).contains(&seconds);
            prop_assert_eq!(from_seconds(seconds).is_ok(), possible);
        }
    }
}
