//! What response headers say about limits and about the request, in one form for every wire.
//!
//! Pure and total: every value is a server's word. Durations end up within a day, and what makes no
//! sense is left out.

use std::time::{Duration, SystemTime};

use crate::rate_limits::{LimitWindow, RateLimits};

/// No wait that a server names is believed beyond a day.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest request id that is kept, in bytes. Real ones have up to 40.
const MAX_REQUEST_ID: usize = 128;

/// How long the server wants to be left alone.
pub(crate) fn retry_after<'a>(
    get: impl Fn(&str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<Duration> {
    let millis = get("retry-after-ms").and_then(|text| scaled(text, 1e-3));
    millis.or_else(|| {
        let text = get("retry-after")?;
        scaled(text, 1.0).or_else(|| until(httpdate::parse_http_date(text.trim()).ok()?, now))
    })
}

/// The server's rate limits; `None` where it names none.
pub(crate) fn rate_limits<'a>(
    get: impl Fn(&str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<RateLimits> {
    let openai = |[limit, remaining, reset]: [&str; 3]| {
        window(get(limit), get(remaining), get(reset).and_then(go_duration))
    };
    let anthropic = |[limit, remaining, reset]: [&str; 3]| {
        let reset = get(reset).and_then(rfc3339).and_then(|at| until(at, now));
        window(get(limit), get(remaining), reset)
    };
    let mut limits = RateLimits::new();
    limits.requests = openai(OPENAI_REQUESTS).or_else(|| anthropic(ANTHROPIC_REQUESTS));
    limits.tokens = openai(OPENAI_TOKENS).or_else(|| anthropic(ANTHROPIC_TOKENS));
    limits.input_tokens = anthropic(ANTHROPIC_INPUT_TOKENS);
    limits.output_tokens = anthropic(ANTHROPIC_OUTPUT_TOKENS);
    (!limits.is_empty()).then_some(limits)
}

/// What is in the name of every header that speaks of limits.
pub(crate) const RATE_LIMITED: &str = "ratelimit";

const OPENAI_REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const OPENAI_TOKENS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const ANTHROPIC_REQUESTS: [&str; 3] = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: [&str; 3] = [
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];
const ANTHROPIC_INPUT_TOKENS: [&str; 3] = [
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
];
const ANTHROPIC_OUTPUT_TOKENS: [&str; 3] = [
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
];

/// The server's id of the request.
pub(crate) fn request_id<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    ["x-request-id", "request-id", "apim-request-id"]
        .into_iter()
        .find_map(get)
        .map(|id| id.chars().filter(|c| !c.is_control()).take(MAX_REQUEST_ID).collect())
}

fn window(
    limit: Option<&str>,
    remaining: Option<&str>,
    reset: Option<Duration>,
) -> Option<LimitWindow> {
    let mut window = LimitWindow::new();
    window.limit = limit.and_then(count);
    window.remaining = remaining.and_then(count);
    window.reset = reset;
    (window != LimitWindow::new()).then_some(window)
}

/// A count. Negative ones mean "no limit" on some servers and are left out.
fn count(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn until(at: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(at.duration_since(now).unwrap_or(Duration::ZERO).min(LONGEST))
}

/// A decimal number of units of `seconds` each.
fn scaled(text: &str, seconds: f64) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    clamped(number * seconds)
}

fn clamped(seconds: f64) -> Option<Duration> {
    let plausible = seconds.is_finite() && seconds.is_sign_positive();
    plausible.then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

/// A duration such as `6m0s`, `1h2m3.5s` or `20ms`, or a plain number of seconds.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        // Some servers put a point in time here. A day is far below any of those.
        return clamped(seconds).filter(|&wait| wait < LONGEST);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        sum += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = tail;
    }
    clamped(sum)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "d" => 86_400.0,
        "h" => 3_600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

/// A point in time such as `2026-01-02T03:04:05.678Z` or `2026-01-02T03:04:05+01:00`, to the second.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    let separated = matches!(text.as_bytes()[10], b'T' | b't' | b' ');
    let [year, month, day] = fields(date, '-')?;
    let [hour, minute, second] = fields(time.get(..8)?, ':')?;
    let valid = separated
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let local = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    let seconds = u64::try_from(local - offset(time.get(8..)?)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Three numbers of digits alone.
fn fields(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut numbers = text.split(separator).map(|field| {
        let digits = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| field.parse::<i64>().ok()).flatten()
    });
    let parsed = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(parsed)
}

/// What follows the seconds: an optional fraction, then `Z` or an offset, in seconds.
fn offset(text: &str) -> Option<i64> {
    let zone = text
        .strip_prefix('.')
        .map_or(text, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes, _] = fields(&format!("{}:0", zone.get(1..)?), ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar. The year starts in March, so that the leap day
/// is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// 2026-01-02T03:04:05Z.
    fn now() -> SystemTime {
        at(1_767_323_045)
    }

    fn headers<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn wait(name: &str, value: &str) -> Option<Duration> {
        retry_after(headers(&[(name, value)]), now())
    }

    #[test]
    fn a_wait_is_read_in_each_of_its_forms() {
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(wait("retry-after", "7"), millis(7_000));
        assert_eq!(wait("retry-after", " 1.5 "), millis(1_500));
        assert_eq!(wait("retry-after-ms", "250"), millis(250));
        assert_eq!(wait("retry-after", "Fri, 02 Jan 2026 03:05:05 GMT"), millis(60_000));
        assert_eq!(wait("retry-after", "Thu, 02 Jan 2025 03:05:05 GMT"), millis(0));
        let both = [("retry-after", "9"), ("retry-after-ms", "8500")];
        assert_eq!(retry_after(headers(&both), now()), millis(8_500));
    }

    #[test]
    fn absurd_waits_are_clamped_or_left_out() {
        for absurd in ["-1", "NaN", "inf", "-inf", "", "soon", "1e999", "-0.5"] {
            assert_eq!(wait("retry-after", absurd), None, "{absurd}");
            assert_eq!(wait("retry-after-ms", absurd), None, "{absurd}");
        }
        for long in ["406080", "1e300", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]
        {
            assert_eq!(wait("retry-after", long), Some(LONGEST), "{long}");
        }
    }

    #[test]
    fn go_durations_add_up() {
        let seconds = |text| go_duration(text).map(|wait| wait.as_secs_f64());
        assert_eq!(seconds("1s"), Some(1.0));
        assert_eq!(seconds("6m0s"), Some(360.0));
        assert_eq!(seconds("20ms"), Some(0.02));
        assert_eq!(seconds("1h2m3.5s"), Some(3_723.5));
        assert_eq!(seconds("0"), Some(0.0));
        assert_eq!(seconds("12"), Some(12.0));
        assert_eq!(seconds("999h"), Some(86_400.0));
        for absurd in ["", "s", "1", "1x", "-1s", "1s2", "1..2s", "1767323045", "1767323045000"] {
            assert!(seconds(absurd).is_none_or(|wait| wait == 1.0), "{absurd}");
        }
    }

    #[test]
    fn points_in_time_are_read_with_fraction_and_offset() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02t04:04:05+01:00",
            "2026-01-01 19:34:05-07:30",
        ] {
            assert_eq!(rfc3339(text), Some(now()), "{text}");
        }
        assert_eq!(rfc3339("2000-02-29T00:00:00Z"), Some(at(951_782_400)));
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(at(0)));
        for absurd in [
            "",
            "2026",
            "2026-13-02T03:04:05Z",
            "2026-01-02T25:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+xx:00",
            "+026-01-02T03:04:05Z",
            "1970-01-01T00:00:00+23:00",
        ] {
            assert_eq!(rfc3339(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn openai_limits_are_read() {
        let pairs = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        let limits = rate_limits(headers(&pairs), now()).unwrap();
        let requests = LimitWindow::new().with_limit(60).with_remaining(59);
        assert_eq!(limits.requests, Some(requests.with_reset(Duration::from_secs(1))));
        assert_eq!(limits.exhausted_reset(), Some(Duration::from_secs(360)));
        assert_eq!(limits.input_tokens, None);
    }

    #[test]
    fn anthropic_limits_are_read() {
        let pairs = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-02T03:04:35Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "-4"),
        ];
        let limits = rate_limits(headers(&pairs), now()).unwrap();
        assert_eq!(limits.requests, Some(LimitWindow::new().with_limit(50)));
        assert_eq!(limits.exhausted_reset(), Some(Duration::from_secs(30)));
        assert_eq!(limits.output_tokens, None, "a negative count says nothing");
        assert_eq!(rate_limits(headers(&[]), now()), None);
    }

    #[test]
    fn every_name_of_a_limit_has_the_word_that_is_looked_for() {
        rate_limits(
            |name| {
                assert!(name.contains(RATE_LIMITED), "{name}");
                None
            },
            now(),
        );
    }

    #[test]
    fn request_ids_are_bounded() {
        let long = "r".repeat(4_000);
        assert_eq!(request_id(headers(&[("request-id", "req_1")])).as_deref(), Some("req_1"));
        assert_eq!(request_id(headers(&[("x-request-id", &long)])).unwrap().len(), MAX_REQUEST_ID);
    }

    proptest! {
        #[test]
        fn no_value_panics_or_waits_longer_than_a_day(value in prop_oneof![
            ".{0,40}",
            "[-+0-9.eE]{0,30}(ms|s|m|h|d|ns)?",
            "([0-9.]{1,20}(h|m|s|ms|µs|d)){1,4}",
            "[0-9]{1,5}-[0-9]{1,3}-[0-9]{1,3}[Tt ][0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3}(\\.[0-9]{0,9})?(Z|[+-][0-9]{1,3}:[0-9]{1,3})",
            "(Mon|Fri), [0-9]{1,3} (Jan|Feb) [0-9]{1,6} [0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3} GMT",
        ], clock in 0u64..4_000_000_000) {
            let get = |_: &str| Some(value.as_str());
            prop_assert!(retry_after(get, at(clock)).is_none_or(|wait| wait <= LONGEST));
            let limits = rate_limits(get, at(clock)).unwrap_or_default();
            for window in [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens] {
                prop_assert!(window.and_then(|window| window.reset).is_none_or(|wait| wait <= LONGEST));
            }
            // The OpenAI names shadow the others where both are present; read those by themselves.
            prop_assert!(rfc3339(&value).and_then(|then| until(then, at(clock))).is_none_or(|wait| wait <= LONGEST));
            prop_assert!(request_id(get).is_some_and(|id| id.chars().count() <= MAX_REQUEST_ID));
        }

        #[test]
        fn a_day_count_is_the_calendars(days_since in 0u64..200_000) {
            let date = httpdate::fmt_http_date(at(days_since * 86_400));
            let months = ["Jan","Feb","Mar","Apr","May","Jun","Jul","Aug","Sep","Oct","Nov","Dec"];
            let month = 1 + months.iter().position(|month| *month == &date[8..11]).unwrap() as i64;
            let (day, year) = (date[5..7].parse().unwrap(), date[12..16].parse().unwrap());
            prop_assert_eq!(days(year, month, day), days_since as i64);
        }
    }
}
