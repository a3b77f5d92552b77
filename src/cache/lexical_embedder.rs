//! Vectors from words alone.

use async_trait::async_trait;

use crate::embed::{Embedder, Embedding};
use crate::error::ProviderError;
use crate::rng::mix;

/// Vectors of hashed words and letter triples: no model, no network, some microseconds a text.
///
/// It finds *near-duplicates*: other punctuation, word order, spelling, a word more or less. It knows
/// no meanings: "How do I pay?" and "What are the ways of payment?" are strangers, and "enable" is
/// closer to "disable" than to "switch on". Use it with
/// [`Decision::tiered`](crate::cache::Decision::tiered), which looks at the words, and a real embedder
/// where paraphrases count.
///
/// Words and triples are hashed to signed coordinates (Weinberger et al., "Feature hashing for large
/// scale multitask learning", ICML 2009).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LexicalEmbedder;

/// Two words share a coordinate rarely in questions of some dozen words.
const DIMENSIONS: usize = 512;

/// A word weighs as much as so many of its triples: triples forgive spelling, words tell apart.
const WORD: f32 = 2.0;

impl LexicalEmbedder {
    /// The embedder.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The vector of a text; for a text without letters or digits, that of nothing.
    fn vector(text: &str) -> Result<Embedding, ProviderError> {
        let mut vector = vec![0.0; DIMENSIONS];
        // Keeps a text without words from having no direction.
        vector[0] = f32::EPSILON;
        let lower = text.to_lowercase();
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            add(&mut vector, hash(word.chars()), WORD);
            let framed: Vec<char> = ['^'].into_iter().chain(word.chars()).chain(['$']).collect();
            for triple in framed.windows(3) {
                add(&mut vector, hash(triple.iter().copied()).rotate_left(17), 1.0);
            }
        }
        Ok(Embedding::new(vector)?)
    }
}

impl Default for LexicalEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Embedder for LexicalEmbedder {
    fn id(&self) -> &str {
        "evenkeel/lexical/1"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        texts.iter().map(|text| Self::vector(text)).collect()
    }
}

fn add(vector: &mut [f32], hash: u64, weight: f32) {
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    vector[hash as usize % DIMENSIONS] += sign;
}

fn hash(chars: impl Iterator<Item = char>) -> u64 {
    chars.fold(0x5EED, |state, c| mix(state ^ u64::from(u32::from(c))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        let (a, b) = (LexicalEmbedder::vector(a).unwrap(), LexicalEmbedder::vector(b).unwrap());
        a.as_slice().iter().zip(b.as_slice()).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn near_duplicates_are_near_and_others_far() {
        let asked = "How do I reset my password?";
        assert!(cosine(asked, "how do i reset my password") > 0.99);
        assert!(cosine(asked, "my password: how do I reset it?") > 0.85);
        assert!(cosine(asked, "How do I reset my pasword?") > 0.8);
        assert!(cosine(asked, "Where is the nearest train station?") < 0.3);
    }

    #[test]
    fn a_text_without_words_has_a_vector() {
        assert!(cosine("?!", "...") > 0.99);
        assert!(cosine("?!", "word").abs() < 0.01);
    }
}
