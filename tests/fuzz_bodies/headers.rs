//! Headers about limits: no wait beyond a day, and what is well formed means what it says.

use std::time::{Duration, SystemTime};

use evenkeel::providers::door;

use crate::bytes::Bytes;

/// As the crate documents it: no wait that a server names is believed beyond a day.
const DAY: Duration = Duration::from_secs(86_400);

/// The year 9999 ends before this.
const LAST_SECOND: u64 = 253_402_300_800;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let clock = bytes.word() % LAST_SECOND;
    match bytes.byte() % 6 {
        0 => a_wait_in_seconds(bytes.number() % (1 << 50), bytes.flag()),
        1 => a_date(clock, bytes.word() % LAST_SECOND),
        2 => a_point_in_time(clock, &mut bytes),
        3 => a_duration(&mut bytes),
        4 => counts(&mut bytes),
        _ => anything(clock, bytes.rest()),
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn anything(clock: u64, rest: &[u8]) {
    let text = String::from_utf8_lossy(rest);
    let mut values = text.split('\n');
    const NAMES: [&str; 14] = [
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
        "anthropic-ratelimit-output-tokens-reset",
        "request-id",
        "x-request-id",
    ];
    let pairs: Vec<_> = NAMES.iter().filter_map(|name| Some((*name, values.next()?))).collect();
    let believed = |wait: Option<Duration>| assert!(wait.is_none_or(|wait| wait <= DAY));
    believed(door::retry_after(&pairs, at(clock)));
    let limits = door::rate_limits(&pairs, at(clock)).unwrap_or_default();
    for window in [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens] {
        believed(window.and_then(|window| window.reset));
    }
    believed(limits.exhausted_reset());
    if let Some(id) = door::request_id(&pairs) {
        assert!(id.chars().count() <= 128 && !id.chars().any(char::is_control));
    }
}

fn a_wait_in_seconds(amount: u64, millis: bool) {
    let (name, unit) = if millis { ("retry-after-ms", 1_000) } else { ("retry-after", 1) };
    let wait =
        door::retry_after(&[(name, &amount.to_string())], at(0)).expect("a number is a wait");
    let exact = (amount as f64 / f64::from(unit)).min(DAY.as_secs_f64());
    assert!((wait.as_secs_f64() - exact).abs() <= 1e-6, "{amount} {wait:?}");
}

fn a_date(clock: u64, then: u64) {
    let text = http_date(then);
    let wait = door::retry_after(&[("retry-after", &text)], at(clock));
    let exact = Duration::from_secs(then.saturating_sub(clock)).min(DAY);
    assert_eq!(wait, Some(exact), "{text} at {clock}");
}

fn a_point_in_time(clock: u64, bytes: &mut Bytes<'_>) {
    let then = bytes.word() % LAST_SECOND;
    let zone = i64::from(bytes.short() % (24 * 60)) * if bytes.flag() { 60 } else { -60 };
    let Ok(local) = u64::try_from(then as i64 + zone) else { return };
    if local >= LAST_SECOND {
        return;
    }
    let (year, month, day) = date(local);
    let [hour, minute, second] = time_of_day(local);
    let separator = *bytes.pick(&['T', 't', ' ']);
    let fraction = *bytes.pick(&["", ".5", ".000000001", ".999999999"]);
    let zone = match (zone, bytes.flag()) {
        (0, true) => "Z".to_owned(),
        _ => {
            let (sign, minutes) = (if zone < 0 { '-' } else { '+' }, zone.abs() / 60);
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    let text = format!(
        "{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}{fraction}{zone}"
    );
    let pairs = [("anthropic-ratelimit-tokens-reset", &*text)];
    let limits = door::rate_limits(&pairs, at(clock)).unwrap_or_default();
    let reset = limits.tokens.and_then(|window| window.reset);
    let exact = Duration::from_secs(then.saturating_sub(clock)).min(DAY);
    assert_eq!(reset, Some(exact), "{text} at {clock}");
}

fn a_duration(bytes: &mut Bytes<'_>) {
    const UNITS: [(&str, f64); 6] =
        [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6)];
    let (mut text, mut exact) = (String::new(), 0.0);
    for (name, seconds) in UNITS {
        if bytes.flag() {
            let (amount, tenths) = (bytes.byte(), bytes.below(10));
            text += &format!("{amount}.{tenths}{name}");
            exact += (f64::from(amount) + tenths as f64 / 10.0) * seconds;
        }
    }
    if text.is_empty() {
        return;
    }
    let pairs = [("x-ratelimit-reset-requests", &*text)];
    let limits = door::rate_limits(&pairs, at(0)).unwrap_or_default();
    let reset = limits.requests.and_then(|window| window.reset).expect("a duration is a wait");
    let exact = exact.min(DAY.as_secs_f64());
    assert!((reset.as_secs_f64() - exact).abs() <= 1e-6, "{text} {reset:?}");
}

fn counts(bytes: &mut Bytes<'_>) {
    let (limit, remaining) = (bytes.number(), bytes.number());
    let (limit_text, remaining_text) = (limit.to_string(), format!(" {remaining} "));
    let pairs = [
        ("anthropic-ratelimit-output-tokens-limit", &*limit_text),
        ("anthropic-ratelimit-output-tokens-remaining", &*remaining_text),
    ];
    let limits = door::rate_limits(&pairs, at(0)).unwrap_or_default();
    let window = limits.output_tokens.expect("two counts make a window");
    assert_eq!((window.limit, window.remaining), (Some(limit), Some(remaining)));
}

fn time_of_day(seconds: u64) -> [u64; 3] {
    [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60]
}

/// Year, month and day, counted off year by year and month by month.
fn date(seconds: u64) -> (u64, usize, u64) {
    let mut days = seconds / 86_400;
    // 400 years have the same number of days wherever they begin.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    let leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(seconds);
    let [hour, minute, second] = time_of_day(seconds);
    let weekday = DAYS[(seconds / 86_400 % 7) as usize];
    let month = MONTHS[month - 1];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
