//! The reader of event streams: what it yields is what the standard says, wherever the bytes are cut,
//! and nothing beyond its bounds.

use evenkeel::ErrorKind;
use evenkeel::providers::HttpBounds;
use evenkeel::providers::door::{self, Item};

use crate::bytes::{Bytes, pieces};

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (line, event) = (usize::from(bytes.byte()), usize::from(bytes.byte()));
    let cuts = [bytes.short(), bytes.short(), bytes.short()];
    let body = bytes.rest();

    let wide = HttpBounds::new();
    let whole = door::events(&[body], wide);
    assert_eq!(whole, (by_the_book(body), None));
    assert_eq!(door::events(&pieces(body, &cuts), wide), whole, "cut at {cuts:?}");
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(door::events(&single, wide), whole, "byte by byte");

    let tight = wide.line(line).event(event);
    let bounded = door::events(&[body], tight);
    assert_eq!(door::events(&pieces(body, &cuts), tight), bounded, "bounds, cut at {cuts:?}");
    assert_eq!(door::events(&single, tight), bounded, "bounds, byte by byte");
    check_bounded(&bounded, &whole.0, body, (line, event));

    // The bound of the whole stream is looked at before what just came is read.
    let short = door::events(&[body], wide.stream(line));
    let fits = body.len() <= line;
    assert_eq!(short, if fits { whole } else { (Vec::new(), Some(ErrorKind::Malformed)) });
}

/// What comes before a bound breaks is what came without bounds, and one breaks only where something
/// is larger.
fn check_bounded(
    bounded: &(Vec<Item>, Option<ErrorKind>),
    unbounded: &[Item],
    body: &[u8],
    (line, event): (usize, usize),
) {
    let (items, failure) = bounded;
    assert!(unbounded.starts_with(items));
    let longest = body.split(|byte| b"\r\n".contains(byte)).map(<[u8]>::len).max().unwrap_or(0);
    match failure {
        None => {
            assert_eq!(items.len(), unbounded.len());
            assert!(longest <= line, "a line of {longest} bytes passed a bound of {line}");
        }
        Some(kind) => {
            assert_eq!(*kind, ErrorKind::Malformed);
            // A name counts as the text it became.
            let most = if std::str::from_utf8(body).is_ok() { body.len() } else { 3 * body.len() };
            assert!(longest > line || most > event, "nothing breaks the bounds");
        }
    }
    for item in items {
        if let Item::Event { name, data } = item {
            // A byte that is no UTF-8 becomes a character of three, and `message` is nobody's name.
            let named = if name == "message" { 0 } else { name.len() };
            assert!((named + data.len()) <= 3 * event, "an event is over its bound");
        }
    }
}

/// The interpretation in the HTML standard, over the whole text at once; the end of the body ends an
/// event as a blank line does, and comments are kept.
fn by_the_book(body: &[u8]) -> Vec<Item> {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut items, mut name, mut lines) = (Vec::new(), String::new(), Vec::new());
    let dispatch = |items: &mut Vec<Item>, name: &mut String, lines: &mut Vec<String>| {
        if !lines.is_empty() {
            let named = if name.is_empty() { "message" } else { name.as_str() };
            items.push(Item::Event { name: named.to_owned(), data: lines.join("\n") });
        }
        name.clear();
        lines.clear();
    };
    for line in text.split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => dispatch(&mut items, &mut name, &mut lines),
            "" => items.push(Item::Heartbeat),
            "data" => lines.push(value.to_owned()),
            "event" => value.clone_into(&mut name),
            _ => {}
        }
    }
    dispatch(&mut items, &mut name, &mut lines);
    items
}
