//! Texts as vectors, over the same wire.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::embed::{Embedder, Embedding};
use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::classify::Told;
use crate::providers::http::lenient::lenient;
use crate::providers::http::transport::{Attempt, Transport};
use crate::providers::openai::encode::{FRAME, to_json};
use crate::providers::openai::wire::malformed;

/// An embedder on a server that speaks OpenAI's wire; made by
/// [`OpenAi::embedder`](super::OpenAi::embedder).
///
/// One call is one request with all its texts. The body bound (16 MiB by default) holds about 700
/// vectors of 1536 dimensions.
#[derive(Clone)]
pub struct OpenAiEmbedder {
    provider: Arc<str>,
    id: String,
    transport: Arc<Transport>,
    model: String,
    dimensions: Option<usize>,
}

impl OpenAiEmbedder {
    pub(super) fn new(provider: &Arc<str>, transport: Arc<Transport>, model: String) -> Self {
        let id = format!("{provider}/{model}");
        Self { provider: Arc::clone(provider), id, transport, model, dimensions: None }
    }

    /// Asks for shorter vectors than the model's own, where the model can. Part of the id, since
    /// such vectors compare with no others.
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.id = format!("{}/{}@{dimensions}", self.provider, self.model);
        self.dimensions = Some(dimensions);
        self
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let ask = Ask { model: &self.model, input: texts, dimensions: self.dimensions };
        let decode = |body: &[u8]| decode(body, texts.len(), self.dimensions);
        let room = texts.iter().map(|text| text.len() + text.len() / 8).sum::<usize>() + FRAME;
        let json = to_json(&ask, room)?;
        let sent = self.transport.whole("embeddings", json, Attempt::default(), decode);
        sent.await.map(|(embeddings, _)| embeddings)
    }
}

impl fmt::Debug for OpenAiEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiEmbedder")
            .field("id", &self.id)
            .field("base_url", &self.transport.base())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Ask<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Listed {
    data: Vec<Vector>,
    #[serde(deserialize_with = "lenient")]
    error: Option<Told>,
}

#[derive(Deserialize)]
struct Vector {
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// One vector for each of `texts` texts, in their order, all of one length.
fn decode(
    body: &[u8],
    texts: usize,
    dimensions: Option<usize>,
) -> Result<Vec<Embedding>, ProviderError> {
    let listed: Listed = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if let Some(error) = listed.error {
        return Err(error.in_answer());
    }
    if listed.data.len() != texts {
        return Err(wrong(format!("{} vectors for {texts} texts", listed.data.len())));
    }
    let mut places: Vec<Option<Embedding>> = vec![None; texts];
    let length = dimensions.or_else(|| listed.data.first().map(|vector| vector.embedding.len()));
    for (position, Vector { index, embedding }) in listed.data.into_iter().enumerate() {
        if Some(embedding.len()) != length {
            return Err(wrong(format!("vector {position} has {} dimensions", embedding.len())));
        }
        let place = places.get_mut(index.unwrap_or(position)).filter(|place| place.is_none());
        let place = place.ok_or_else(|| wrong(format!("vector {position} has no text")))?;
        *place = Some(Embedding::new(embedding)?);
    }
    // As many vectors as places, and no place taken twice: none is empty.
    Ok(places.into_iter().flatten().collect())
}

fn wrong(what: String) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn decoded(
        body: Value,
        texts: usize,
        dimensions: Option<usize>,
    ) -> Result<Vec<Embedding>, ErrorKind> {
        decode(body.to_string().as_bytes(), texts, dimensions).map_err(|error| error.kind())
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let body =
            json!({"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 0]}]});
        let vectors = decoded(body, 2, Some(2)).unwrap();
        assert_eq!(vectors[0].as_slice(), [1.0, 0.0]);
        assert_eq!(vectors[1].as_slice(), [0.0, 1.0]);
    }

    #[test]
    fn an_answer_that_is_not_one_vector_a_text_is_malformed() {
        let one = json!({"index": 0, "embedding": [1, 0]});
        for (data, dimensions) in [
            (json!([one]), None),
            (json!([one, one]), None),
            (json!([one, {"index": 2, "embedding": [1, 0]}]), None),
            (json!([one, {"index": 1, "embedding": [1]}]), None),
            (json!([one, {"index": 1, "embedding": [0, 0]}]), None),
            (json!([one, {"index": 1, "embedding": [1, 1e99]}]), None),
            (json!([one, {"index": 1, "embedding": "AAAA"}]), None),
            (json!([one, {"index": 1, "embedding": [0, 1]}]), Some(3)),
        ] {
            let decoded = decoded(json!({"data": data}), 2, dimensions);
            assert_eq!(decoded.unwrap_err(), ErrorKind::Malformed, "{data}");
        }
    }

    #[test]
    fn an_error_in_a_good_response_is_an_error() {
        let body = json!({"error": {"code": "insufficient_quota", "message": "m"}});
        assert_eq!(decoded(body, 1, None).unwrap_err(), ErrorKind::QuotaExhausted);
    }
}
