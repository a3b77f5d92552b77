//! The text that Prometheus scrapes, as far as names and labels go.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a sample's name, each with its values.
pub(crate) type Labels = BTreeMap<String, BTreeSet<String>>;

pub(crate) struct Exposition {
    samples: BTreeMap<String, Labels>,
    families: BTreeSet<String>,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parsed = Self { samples: BTreeMap::new(), families: BTreeSet::new() };
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => {
                    parsed.families.extend(family.split(' ').next().map(str::to_owned));
                }
                None if !line.starts_with('#') && !line.is_empty() => parsed.sample(line),
                None => {}
            }
        }
        parsed
    }

    fn sample(&mut self, line: &str) {
        let end = line.find(['{', ' ']).unwrap();
        let labels = self.samples.entry(line[..end].to_owned()).or_default();
        let Some((inside, _)) = line[end..].strip_prefix('{').and_then(|it| it.split_once('}'))
        else {
            return;
        };
        for label in inside.split("\",") {
            let (name, value) = label.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"').to_owned();
            labels.entry(name.to_owned()).or_default().insert(value);
        }
    }

    /// The labels of a sample's name; `None` where there is no such sample.
    pub(crate) fn labels(&self, name: &str) -> Option<&Labels> {
        self.samples.get(name)
    }

    /// The names of metrics, without the suffixes of histograms.
    pub(crate) fn families(&self) -> impl Iterator<Item = &str> {
        self.families.iter().map(String::as_str)
    }

    /// Every sample's name, with each of its labels and that one's values.
    pub(crate) fn all_labels(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
        self.samples.iter().flat_map(|(name, labels)| {
            labels.iter().map(move |(label, values)| (name.as_str(), label.as_str(), values))
        })
    }
}
