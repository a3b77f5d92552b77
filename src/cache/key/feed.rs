//! Values as a stream of bytes that can be taken apart in one way only.

use std::fmt;

use highway::{HighwayHash, HighwayHasher, Key};
use serde_json::{Map, Value};

/// A hasher that is fed fields. Each says how long it is, so that no two different sequences of
/// fields give the same bytes.
#[derive(Clone)]
pub(super) struct Feed {
    hasher: HighwayHasher,
    /// What was fed and has not reached the hasher, which takes long pieces at less a byte.
    small: [u8; ROOM],
    filled: usize,
}

/// Room for the small fields of a request without tools.
const ROOM: usize = 128;

impl Feed {
    pub(super) fn new(key: [u64; 4]) -> Self {
        Self { hasher: HighwayHasher::new(Key(key)), small: [0; ROOM], filled: 0 }
    }

    pub(super) fn finish(mut self) -> u128 {
        self.flush();
        let [low, high] = self.hasher.finalize128();
        u128::from(high) << 64 | u128::from(low)
    }

    /// Bytes whose number is known from what was fed before.
    #[inline]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        match self.small.get_mut(self.filled..self.filled + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            None => self.long(bytes),
        }
    }

    #[inline(never)]
    fn long(&mut self, bytes: &[u8]) {
        self.flush();
        if bytes.len() > ROOM {
            self.hasher.append(bytes);
        } else {
            self.small[..bytes.len()].copy_from_slice(bytes);
            self.filled = bytes.len();
        }
    }

    fn flush(&mut self) {
        self.hasher.append(&self.small[..self.filled]);
        self.filled = 0;
    }

    pub(super) fn word(&mut self, word: u64) {
        self.raw(&word.to_le_bytes());
    }

    pub(super) fn len(&mut self, len: usize) {
        self.word(len as u64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.len(text.len());
        self.raw(text.as_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.raw(&[u8::from(flag)]);
    }

    /// A field that may be missing; a missing one is not an empty one.
    pub(super) fn maybe<T>(&mut self, value: Option<T>, feed: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            feed(self, value);
        }
    }

    pub(super) fn each<T>(&mut self, items: &[T], mut feed: impl FnMut(&mut Self, &T)) {
        self.len(items.len());
        items.iter().for_each(|item| feed(self, item));
    }

    pub(super) fn json(&mut self, value: &Value) {
        match value {
            Value::Null => self.raw(b"n"),
            Value::Bool(false) => self.raw(b"f"),
            Value::Bool(true) => self.raw(b"t"),
            Value::Number(number) => {
                self.raw(b"#");
                self.digits(number);
            }
            Value::String(text) => {
                self.raw(b"s");
                self.text(text);
            }
            Value::Array(items) => {
                self.raw(b"a");
                self.each(items, |feed, item| feed.json(item));
            }
            Value::Object(map) => {
                self.raw(b"o");
                self.map(map);
            }
        }
    }

    /// In the order of the names: some dependency may have switched on maps that keep the order of
    /// insertion.
    pub(super) fn map(&mut self, map: &Map<String, Value>) {
        self.len(map.len());
        if map.keys().is_sorted() {
            map.iter().for_each(|entry| self.entry(entry));
        } else {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            entries.into_iter().for_each(|entry| self.entry(entry));
        }
    }

    fn entry(&mut self, (name, value): (&String, &Value)) {
        self.text(name);
        self.json(value);
    }

    /// As it is written, for a number may have more digits than an `f64` holds.
    fn digits(&mut self, number: &serde_json::Number) {
        let written = fmt::write(self, format_args!("{number};"));
        debug_assert!(written.is_ok(), "a hasher takes everything");
    }
}

impl fmt::Write for Feed {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.raw(piece.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hash(value: &Value) -> u128 {
        let mut feed = Feed::new([1, 2, 3, 4]);
        feed.json(value);
        feed.finish()
    }

    #[test]
    fn fields_do_not_run_into_one_another() {
        let of = |texts: &[&str]| {
            let mut feed = Feed::new([1, 2, 3, 4]);
            texts.iter().for_each(|text| feed.text(text));
            feed.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        assert_ne!(hash(&json!([1, 23])), hash(&json!([12, 3])));
        assert_ne!(hash(&json!([[1], 2])), hash(&json!([[1, 2]])));
    }

    #[test]
    fn json_is_told_apart_by_type_and_value() {
        let values = [
            json!(null),
            json!(false),
            json!(0),
            json!(0.5),
            json!("0"),
            json!([]),
            json!({}),
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"b": 1}),
            json!(u64::MAX),
            json!(-1),
        ];
        let hashes: std::collections::HashSet<_> = values.iter().map(hash).collect();
        assert_eq!(hashes.len(), values.len());
    }

    #[test]
    fn the_order_of_names_does_not_count() {
        assert_eq!(
            hash(&serde_json::from_str(r#"{"b":[1],"a":{"d":2,"c":3}}"#).unwrap()),
            hash(&serde_json::from_str(r#"{"a":{"c":3,"d":2},"b":[1]}"#).unwrap()),
        );
    }
}
