//! Sealed values: what was sealed is opened, at its place and with its secret only, and nothing else
//! is, whatever somebody wrote into the store.

use evenkeel::stores::door;
use serde_json::{Value, json};

use crate::bytes::Bytes;

/// As the crate documents it: no value is larger once it is opened.
const MOST_OPENED: usize = 4 << 20;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 4 {
        0 => sealed(&mut bytes),
        1 => forged_with_the_secret(&mut bytes),
        2 => content(bytes.rest()),
        _ => anything(&mut bytes),
    }
}

fn sealed(bytes: &mut Bytes<'_>) {
    let (place, flip) = (bytes.take(3).to_vec(), bytes.short());
    let repeats = usize::from(bytes.byte()).pow(2);
    let text = String::from_utf8_lossy(bytes.rest()).into_owned();
    let value = json!({"text": text.repeat(1 + repeats / (1 + text.len())), "n": [flip, null]});
    let sealed = door::seal(b"secret", &place, &value).expect("JSON").expect("small enough");
    assert_eq!(door::open(b"secret", &place, &sealed).expect("it was sealed here"), value);

    let mut altered = sealed.clone();
    let at = usize::from(flip) % altered.len();
    altered[at] ^= 1 << (flip % 8);
    assert!(door::open(b"secret", &place, &altered).is_err(), "byte {at} was altered");
    assert!(door::open(b"secret", &place, &sealed[..at]).is_err(), "cut at {at}");
    assert!(door::open(b"other", &place, &sealed).is_err(), "with another secret");
    let elsewhere = [&place[..], b"x"].concat();
    assert!(door::open(b"secret", &elsewhere, &sealed).is_err(), "at another place");
    // Where the place ends and the value begins is part of what is sealed.
    let shifted = [&place[place.len().saturating_sub(1)..], &sealed[..]].concat();
    if let Some((_, shorter)) = place.split_last() {
        assert!(door::open(b"secret", shorter, &shifted).is_err());
    }
    assert_ne!(door::name(b"secret", "ab", b"c"), door::name(b"secret", "a", b"bc"));
}

/// Whoever has the secret writes what they like: it is opened or refused, within the bound.
fn forged_with_the_secret(bytes: &mut Bytes<'_>) {
    let content = framed(bytes);
    let sealed = door::sealed(b"secret", b"k", &content);
    if let Ok(value) = door::open(b"secret", b"k", &sealed) {
        let body = door::body(&content).expect("what was opened has a body");
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("it was parsed"), value);
    }
    self::content(&content);
}

/// A head that may be right, and a body.
fn framed(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (version, flags) = (1 + u8::from(bytes.byte() == 255), bytes.byte() % 3);
    let stretch = bytes.number();
    let body = bytes.rest();
    let length = match stretch {
        0..=63 => body.len() as u64 + stretch,
        other => other,
    };
    let length = (length.min(u64::from(u32::MAX)) as u32).to_le_bytes();
    [&[version, flags], &length[..], body].concat()
}

fn content(content: &[u8]) {
    if let Some(body) = door::body(content) {
        let length = u32::from_le_bytes(content[2..6].try_into().expect("four bytes"));
        assert_eq!(body.len(), length as usize);
        assert!(body.len() <= MOST_OPENED);
    }
}

fn anything(bytes: &mut Bytes<'_>) {
    let place = bytes.take(4).to_vec();
    assert!(door::open(b"secret", &place, bytes.rest()).is_err(), "nobody sealed this");
}
