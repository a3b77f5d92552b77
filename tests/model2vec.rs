//! Embeddings in process, from a model of a few words that the tests write themselves.
#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel::cache::{Lookup, SemanticCache};
use evenkeel::providers::Model2Vec;
use evenkeel::providers::model2vec::ModelFault;
use evenkeel::{CallOptions, ChatRequest, ChatResponse, Embedder, ErrorKind};
use futures::FutureExt as _;
use serde_json::json;

/// Words, and what they mean in two dimensions. The first stands for all others.
const WORDS: [(&str, [f32; 2]); 5] = [
    ("[UNK]", [9.0, 9.0]),
    ("cat", [1.0, 0.0]),
    ("kitten", [0.9, 0.1]),
    ("invoice", [0.0, 1.0]),
    ("zero", [0.0, 0.0]),
];

/// A directory of its own, removed with its test.
struct Directory(PathBuf);

impl Directory {
    fn with_a_model(name: &str) -> Self {
        Self::with(name, &WORDS.map(|(_, vector)| vector))
    }

    fn with(name: &str, table: &[[f32; 2]]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model2vec-{name}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("config.json"), r#"{"normalize": true}"#).unwrap();
        fs::write(path.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        fs::write(path.join("model.safetensors"), safetensors(table)).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tokenizer() -> serde_json::Value {
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().zip(0..).map(|((word, _), id)| (word.to_string(), json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
    })
}

/// The length of a JSON header, the header, the numbers.
fn safetensors(table: &[[f32; 2]]) -> Vec<u8> {
    let bytes: Vec<u8> = table.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let shape = [table.len(), 2];
    let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": [0, bytes.len()] });
    let header = json!({ "embeddings": tensor }).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &bytes].concat()
}

#[tokio::test]
async fn a_text_is_the_mean_of_its_words() {
    let directory = Directory::with_a_model("mean");
    let model = Model2Vec::load(&directory.0).unwrap();
    assert_eq!(model.dimensions(), 2);
    let vectors = model.embed(&["Cat", "cat invoice", "cat unheard"]).await.unwrap();
    let vectors: Vec<_> = vectors.iter().map(|vector| vector.as_slice()).collect();
    assert_eq!((vectors[0], vectors[2]), (&[1.0, 0.0][..], &[1.0, 0.0][..]));
    assert!((vectors[1][0] - vectors[1][1]).abs() < 1e-6, "{:?}", vectors[1]);
}

#[tokio::test]
async fn what_means_alike_is_a_hit() {
    let directory = Directory::with_a_model("hit");
    let model = Model2Vec::load(&directory.0).unwrap();
    let cache = SemanticCache::builder().embedder(model).threshold(0.9).build().unwrap();
    let ask = |text: &str| ChatRequest::new("m").user(text);
    let Lookup::Miss(ticket) = cache.lookup(&ask("cat"), &CallOptions::new()).await else {
        panic!("nothing is stored");
    };
    cache.store(ticket, ChatResponse::text_only("purrs")).unwrap();
    let found = async |text| cache.lookup(&ask(text), &CallOptions::new()).await;
    assert!(matches!(found("kitten").await, Lookup::Hit(_)));
    assert!(matches!(found("invoice").await, Lookup::Miss(_)));
}

#[tokio::test]
async fn a_text_without_a_direction_is_an_error_that_names_it() {
    let directory = Directory::with_a_model("unknown");
    let model = Model2Vec::load(&directory.0).unwrap();
    for text in ["", "unheard of", "zero"] {
        let error = model.embed(&["cat", text]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.message().contains("text 1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_table_that_is_too_short_is_an_error() {
    let directory = Directory::with("short", &[[1.0, 0.0], [0.0, 1.0]]);
    let model = Model2Vec::load(&directory.0).unwrap();
    assert!(model.embed(&["cat"]).await.is_ok());
    assert_eq!(model.embed(&["invoice"]).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_long_text_is_read_up_to_a_bound_and_a_long_list_gives_way() {
    let directory = Directory::with_a_model("long");
    let model = Model2Vec::load(&directory.0).unwrap();
    let long = "cat ".repeat(100_000) + "invoice";
    let vector = model.embed(&[&long]).await.unwrap();
    assert_eq!(vector[0].as_slice(), [1.0, 0.0]);

    let texts = ["cat"; 10];
    let mut work = std::pin::pin!(model.embed(&texts));
    let mut turns = 0;
    while work.as_mut().now_or_never().is_none() {
        turns += 1;
    }
    assert_eq!(turns, 9);
}

/// It gives way between two texts, where it can be dropped: nothing is left to be seen of it.
#[cfg(feature = "test-util")]
#[tokio::test]
async fn a_list_may_be_dropped_at_any_text() {
    use evenkeel::testing::drop_at_every_poll;
    let directory = Directory::with_a_model("dropped");
    let model = Model2Vec::load(&directory.0).unwrap();
    let texts = ["cat", "kitten", "invoice"];
    let mut dropped = 0;
    let vectors = drop_at_every_poll(|| model.embed(&texts), |_| dropped += 1).await.unwrap();
    assert_eq!((vectors.len(), dropped), (3, 4));
    assert_eq!(vectors, model.embed(&texts).await.unwrap());
}

#[test]
fn another_model_has_another_id() {
    let id = |directory: &Directory| Model2Vec::load(&directory.0).unwrap().id().to_owned();
    let one = Directory::with_a_model("one");
    let same = Directory::with_a_model("same");
    let other = Directory::with("other", &[[0.5, 0.5]; 5]);
    assert_eq!(id(&one), id(&same));
    assert_ne!(id(&one), id(&other));
}

#[test]
fn a_file_that_is_missing_is_named() {
    for name in ["tokenizer.json", "model.safetensors", "config.json"] {
        let directory = Directory::with_a_model(&format!("without-{name}"));
        fs::remove_file(directory.file(name)).unwrap();
        let error = Model2Vec::load(&directory.0).unwrap_err();
        assert_eq!(error.path, directory.file(name));
        assert!(matches!(error.fault, ModelFault::Io(_)) && error.to_string().contains(name));
    }
}

#[test]
fn files_that_are_no_model_are_an_error() {
    for name in ["tokenizer.json", "model.safetensors", "config.json"] {
        let directory = Directory::with_a_model(&format!("damaged-{name}"));
        fs::write(directory.file(name), b"{ this is no model").unwrap();
        let error = Model2Vec::load(&directory.0).unwrap_err();
        assert_eq!(error.path, directory.0);
        assert!(matches!(error.fault, ModelFault::Damaged(_)), "{error}");
    }
}
