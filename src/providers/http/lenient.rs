//! JSON as servers write it, read without building trees of it.
//!
//! A tree of values takes up to 85 times the text it was parsed from, and whoever writes the text is
//! not trusted. So a field is read into the one thing that is wanted of it, and whatever else stands
//! there is passed over: it costs that field and not the answer, and no memory. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a type takes of a JSON value. Its default is what it is where it takes nothing.
pub(crate) trait Lenient<'de>: Default {
    fn of_text(_text: &str) -> Self {
        Self::of_other()
    }

    fn of_count(_count: u64) -> Self {
        Self::of_other()
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::of_other())
    }

    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::of_other())
    }

    /// Anything but null that is not taken.
    fn of_other() -> Self {
        Self::default()
    }
}

/// Reads a field, for `deserialize_with`. Fails where the text is no JSON.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Lenient<'de>,
{
    deserializer.deserialize_any(Taking(PhantomData))
}

impl Lenient<'_> for Option<String> {
    fn of_text(text: &str) -> Self {
        Some(text.to_owned())
    }
}

impl Lenient<'_> for Option<u64> {
    fn of_count(count: u64) -> Self {
        Some(count)
    }
}

/// What is read of an object. Made by [`fields`].
pub(crate) trait Fields<'de>: Default {
    fn read<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error>;
}

impl<'de, T: Fields<'de>> Lenient<'de> for Option<T> {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::read(object).map(Some)
    }
}

/// Makes the named fields of a type, and their names in JSON where those differ, what is read of an
/// object. The last of several fields of one name stands, as in a tree; for what serde derives they
/// are an error.
macro_rules! fields {
    ($type:ty: $($field:ident $(= $name:literal)?),+ $(,)?) => {
        impl<'de> $crate::providers::http::lenient::Fields<'de> for $type {
            fn read<A: serde::de::MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
                #[derive(serde::Deserialize)]
                #[serde(field_identifier)]
                #[expect(non_camel_case_types, reason = "the fields' own names")]
                enum Name {
                    $($(#[serde(rename = $name)])? $field,)+
                    #[serde(other)]
                    Other,
                }
                let mut read = Self::default();
                while let Some(name) = object.next_key()? {
                    match name {
                        $(Name::$field => {
                            let value: $crate::providers::http::lenient::Element<_> =
                                object.next_value()?;
                            read.$field = value.0;
                        })+
                        Name::Other => {
                            object.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(read)
            }
        }
    };
}
pub(crate) use fields;

/// A value that is read as leniently as a field.
pub(crate) struct Element<T>(pub T);

impl<'de, T: Lenient<'de>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer).map(Self)
    }
}

/// Shows each element of a list to a closure, so that nobody has to hold them all. The closure's
/// error ends it.
pub(crate) struct Each<T, F>(F, PhantomData<T>);

impl<T, F> Each<T, F> {
    pub(crate) const fn new(see: F) -> Self {
        Self(see, PhantomData)
    }
}

impl<'de, T, F, M> Visitor<'de> for Each<T, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<(), M>,
    M: fmt::Display,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            (self.0)(element).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

struct Taking<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for Taking<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::of_other())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::of_other())
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<T, E> {
        Ok(T::of_count(count))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::of_other())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::of_object(object)
    }
}

/// How many values a tree of `json` would have, at most: cheap, and before the tree is built.
#[cfg(feature = "anthropic")]
pub(crate) fn values(json: &str) -> usize {
    let (mut values, mut text, mut escaped) = (1, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = text,
            b'"' => text = !text,
            b'[' | b'{' | b',' if !text => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Fields {
        #[serde(deserialize_with = "lenient")]
        text: Option<String>,
        #[serde(deserialize_with = "lenient")]
        count: Option<u64>,
    }

    #[test]
    fn what_is_not_wanted_costs_its_field_alone() {
        for odd in ["null", "true", "-1", "1.5", "[1,{\"a\":[]}]", "{\"a\":{\"b\":[2]}}"] {
            let json = format!("{{\"text\":{odd},\"count\":7,\"new\":{odd}}}");
            let expected = Fields { text: None, count: Some(7) };
            assert_eq!(serde_json::from_str::<Fields>(&json).unwrap(), expected, "{odd}");
        }
        let json = r#"{"text":"a\n","count":"7"}"#;
        let expected = Fields { text: Some("a\n".into()), count: None };
        assert_eq!(serde_json::from_str::<Fields>(json).unwrap(), expected);
    }

    #[derive(Debug, Default, PartialEq)]
    struct Last {
        text: Option<String>,
        kind: Option<u64>,
    }

    fields!(Last: text, kind = "type");

    #[test]
    fn the_last_field_of_a_name_stands() {
        let read = |json| serde_json::from_str::<Element<Option<Last>>>(json).unwrap().0;
        let last = |text: Option<&str>, kind| Some(Last { text: text.map(Into::into), kind });
        assert_eq!(read(r#"{"text":"a","type":1,"text":"b","type":2}"#), last(Some("b"), Some(2)));
        assert_eq!(read(r#"{"text":"a","text":[{}],"kind":1,"kind":{}}"#), last(None, None));
        assert_eq!(read(r#"{"te\u0078t":"a","type":1}"#), last(Some("a"), Some(1)));
        assert_eq!(read("{}"), last(None, None));
        assert_eq!(read("[7]"), None);
        for json in [r#"{"text":"a","text":}"#, r#"{"text":"a","#, r#"{"new":[1,}"#] {
            assert!(serde_json::from_str::<Element<Option<Last>>>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_text_that_is_none_is_an_error() {
        for json in [r#"{"text":"\ud800"}"#, r#"{"text":"a"#, r#"{"text":[1,}"#] {
            assert!(serde_json::from_str::<Fields>(json).is_err(), "{json}");
        }
    }

    #[cfg(feature = "anthropic")]
    #[test]
    fn values_are_counted_outside_of_texts() {
        assert_eq!(values("7"), 1);
        assert_eq!(values(r#"{"a":[1,2,{"b":"[,{\",\\"}]}"#), 6);
    }
}
