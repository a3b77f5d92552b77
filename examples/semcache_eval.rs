//! How many questions does the cache answer, and how many of its answers are wrong?
//!
//! Reads labelled questions with their vectors from a folder and plays them through the cache:
//!
//! * `queries.jsonl`: streams in their order of arrival, `{e, stream, class, text}`. A hit is right
//!   if it was stored for a question of the same class.
//! * `traps.jsonl`: pairs `{ea, eb, a, b, same, category}`. `a` is stored, then `b` is asked.
//! * `embeddings.i8`: one row of 384 signed bytes a text, row `e`.
//!
//! ```text
//! cargo run --release --example semcache_eval -- DIR [POLICY]
//! cargo run --release --features model2vec --example semcache_eval -- DIR [POLICY] --model2vec MODEL
//! ```
//!
//! The second form embeds the texts itself, with the static model in the directory MODEL.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel::cache::{CacheBuilder, Decision, Lookup, SameText, SemanticCache};
use evenkeel::{
    CallOptions, ChatRequest, ChatResponse, Embedder, Embedding, ProviderError, async_trait,
};
use serde::Deserialize;

const DIMENSIONS: usize = 384;

/// Orders in which a policy that learns has to keep its promise.
const ORDERINGS: u64 = 10;

#[derive(Deserialize)]
struct Query {
    e: usize,
    stream: String,
    class: String,
    text: String,
}

#[derive(Deserialize)]
struct Trap {
    ea: usize,
    eb: usize,
    a: String,
    b: String,
    same: bool,
}

/// Vectors that were computed before, by text.
#[derive(Clone)]
struct Precomputed(Arc<HashMap<String, Embedding>>);

#[async_trait]
impl Embedder for Precomputed {
    fn id(&self) -> &str {
        "all-MiniLM-L6-v2/int8"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        Ok(texts.iter().map(|text| self.0[*text].clone()).collect())
    }
}

/// Where vectors come from.
type Vectors = Arc<dyn Embedder>;

/// The policies, by the name that is printed.
fn policies() -> Vec<(&'static str, Decision)> {
    vec![
        ("threshold_0.97", Decision::Threshold(0.97)),
        ("threshold_0.92", Decision::Threshold(0.92)),
        ("threshold_0.90", Decision::Threshold(0.90)),
        ("tiered", Decision::tiered()),
        ("calibrated_2", Decision::calibrated(0.02)),
        ("calibrated_5", Decision::calibrated(0.05)),
    ]
}

fn builder(vectors: &Vectors, decision: Decision, seed: u64) -> CacheBuilder {
    SemanticCache::builder()
        .embedder(Arc::clone(vectors))
        .decision(decision)
        .judge(SameText::new())
        .seed(seed)
}

struct Arguments {
    folder: PathBuf,
    /// What the names of the policies begin with.
    only: Option<String>,
    model: Option<String>,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        let option = words.iter().position(|word| word == "--model2vec");
        let model =
            option.map(|at| words.drain(at..).nth(1).ok_or("--model2vec needs a directory"));
        let mut words = words.into_iter();
        let folder = words.next().ok_or("usage: semcache_eval DIR [POLICY] [--model2vec MODEL]")?;
        Ok(Self { folder: folder.into(), only: words.next(), model: model.transpose()? })
    }
}

#[derive(Default)]
struct Tally {
    asked: usize,
    hits: usize,
    wrong: usize,
}

impl Tally {
    fn wrong_per_hit(&self) -> f64 {
        percent(self.wrong, self.hits)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { folder, only, model } = Arguments::parse()?;
    let queries: Vec<Query> = lines(&folder.join("queries.jsonl"))?;
    let traps: Vec<Trap> = lines(&folder.join("traps.jsonl"))?;
    let vectors = match model {
        Some(model) => model2vec(Path::new(&model))?,
        None => precomputed(&fs::read(folder.join("embeddings.i8"))?, &queries, &traps)?,
    };

    let mut streams: BTreeMap<&str, Vec<&Query>> = BTreeMap::new();
    queries.iter().for_each(|query| streams.entry(&query.stream).or_default().push(query));
    let chosen = |name: &str| only.as_deref().is_none_or(|only| name.starts_with(only));
    for (policy, decision) in policies().into_iter().filter(|(name, _)| chosen(name)) {
        for (stream, queries) in &streams {
            let tally = play(builder(&vectors, decision, 0).build()?, queries).await?;
            report(stream, policy, &tally);
            if let Decision::Calibrated { max_wrong_per_hit } = decision {
                orderings(&vectors, stream, policy, queries, max_wrong_per_hit).await?;
            }
        }
        if !matches!(decision, Decision::Calibrated { .. }) {
            spring(&vectors, policy, decision, &traps).await?;
        }
    }
    Ok(())
}

/// Asks every question once; what is not answered is stored with its class for an answer.
async fn play(cache: SemanticCache, queries: &[&Query]) -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally { asked: queries.len(), ..Tally::default() };
    let options = CallOptions::new();
    for query in queries {
        let request = ChatRequest::with_default_model().user(&query.text);
        match cache.lookup(&request, &options).await {
            Lookup::Hit(hit) => {
                tally.hits += 1;
                tally.wrong += usize::from(hit.answer.response.text() != query.class);
            }
            Lookup::Miss(ticket) => cache.store(ticket, ChatResponse::text_only(&query.class))?,
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(tally)
}

fn report(stream: &str, policy: &str, tally: &Tally) {
    println!(
        "eval stream={stream} policy={policy} hit_pct={:.1} wrong_per_hit_pct={:.2} wrong_per_req_pct={:.2}",
        percent(tally.hits, tally.asked),
        tally.wrong_per_hit(),
        percent(tally.wrong, tally.asked),
    );
}

/// Plays a stream in several orders: a promise must not depend on luck.
async fn orderings(
    vectors: &Vectors,
    stream: &str,
    policy: &str,
    queries: &[&Query],
    promise: f64,
) -> Result<(), Box<dyn Error>> {
    let mut kept = 0;
    let (mut hits, mut worst) = (Vec::new(), 0.0_f64);
    for seed in 1..=ORDERINGS {
        let cache = builder(vectors, Decision::calibrated(promise), seed).build()?;
        let tally = play(cache, &shuffled(queries, seed)).await?;
        kept += u64::from(tally.wrong_per_hit() <= promise * 100.0);
        worst = worst.max(tally.wrong_per_hit());
        hits.push(percent(tally.hits, tally.asked));
    }
    hits.sort_by(f64::total_cmp);
    println!(
        "orderings stream={stream} policy={policy} kept={kept}/{ORDERINGS} hit_pct_least={:.1} hit_pct_median={:.1} wrong_per_hit_pct_worst={worst:.2}",
        hits[0],
        hits[hits.len() / 2],
    );
    Ok(())
}

fn shuffled<'q>(queries: &[&'q Query], seed: u64) -> Vec<&'q Query> {
    let rng = evenkeel::rng::Rng::from_seed(seed);
    let mut order = queries.to_vec();
    for end in (1..order.len()).rev() {
        order.swap(end, rng.below(end as u64 + 1) as usize);
    }
    order
}

/// Stores one question of each pair and asks the other.
async fn spring(
    vectors: &Vectors,
    policy: &str,
    decision: Decision,
    traps: &[Trap],
) -> Result<(), Box<dyn Error>> {
    let mut pairs = [Tally::default(), Tally::default()];
    let options = CallOptions::new();
    for trap in traps {
        let cache = builder(vectors, decision, 0).build()?;
        let ask = |text: &str| ChatRequest::with_default_model().user(text);
        if let Lookup::Miss(ticket) = cache.lookup(&ask(&trap.a), &options).await {
            cache.store(ticket, ChatResponse::text_only("a"))?;
        }
        let served = matches!(cache.lookup(&ask(&trap.b), &options).await, Lookup::Hit(_));
        let tally = &mut pairs[usize::from(trap.same)];
        tally.asked += 1;
        tally.hits += usize::from(served);
    }
    let [different, same] = pairs.map(|tally| percent(tally.hits, tally.asked));
    println!("traps policy={policy} served_pct={different:.1} should_hit_pct={same:.1}");
    Ok(())
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn precomputed(bytes: &[u8], queries: &[Query], traps: &[Trap]) -> Result<Vectors, Box<dyn Error>> {
    let rows: Vec<&[u8]> = bytes.chunks_exact(DIMENSIONS).collect();
    let of_queries = queries.iter().map(|query| (query.e, &query.text));
    let of_traps = traps.iter().flat_map(|trap| [(trap.ea, &trap.a), (trap.eb, &trap.b)]);
    let mut vectors = HashMap::new();
    for (row, text) in of_queries.chain(of_traps) {
        let row = rows.get(row).ok_or("embeddings.i8 has too few rows")?;
        let vector = row.iter().map(|&byte| f32::from(byte.cast_signed())).collect();
        vectors.insert(text.clone(), Embedding::new(vector)?);
    }
    Ok(Arc::new(Precomputed(Arc::new(vectors))))
}

#[cfg(feature = "model2vec")]
fn model2vec(directory: &Path) -> Result<Vectors, Box<dyn Error>> {
    Ok(Arc::new(evenkeel::providers::Model2Vec::load(directory)?))
}

#[cfg(not(feature = "model2vec"))]
fn model2vec(_: &Path) -> Result<Vectors, Box<dyn Error>> {
    Err("--model2vec needs the feature of that name".into())
}
