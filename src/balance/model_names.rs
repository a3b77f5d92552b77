//! The models of an endpoint as configurations spell them, for `#[serde(with = "..")]`: a map from
//! each name to the backend's own, or a list of names that are the same on both sides.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize as _;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;

/// The backend's name for each model.
type Names = BTreeMap<String, String>;

pub(super) fn serialize<S: Serializer>(names: &Names, serializer: S) -> Result<S::Ok, S::Error> {
    match names.iter().all(|(name, upstream)| name == upstream) {
        true => serializer.collect_seq(names.keys()),
        false => names.serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
    deserializer.deserialize_any(Reader)
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of model names, or a map from model names to the backend's own")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut names = Names::new();
        while let Some(name) = list.next_element::<String>()? {
            insert(&mut names, name.clone(), name)?;
        }
        Ok(names)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Names::new();
        while let Some((name, upstream)) = map.next_entry()? {
            insert(&mut names, name, upstream)?;
        }
        Ok(names)
    }
}

/// Refuses what a map would silently overwrite.
fn insert<E: de::Error>(names: &mut Names, name: String, upstream: String) -> Result<(), E> {
    if names.contains_key(&name) {
        return Err(E::custom(format_args!("model {name:?} is named twice")));
    }
    names.insert(name, upstream);
    Ok(())
}
