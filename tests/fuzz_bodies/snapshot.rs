//! Snapshots of a cache: any file is loaded within the cache's bounds or is an error, and what was
//! loaded is saved and loaded again.

use evenkeel::cache::{Decision, LexicalEmbedder, SameText, SemanticCache, SnapshotFault, door};
use evenkeel::{CallOptions, ChatRequest, ChatResponse, TenantId};

use crate::bytes::Bytes;

const MOST_ENTRIES: usize = 64;
const MOST_BYTES: usize = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 3 {
        0 => a_file(bytes.rest()),
        1 => contents(bytes.rest()),
        _ => a_cache(&mut bytes),
    }
}

fn builder() -> evenkeel::cache::CacheBuilder {
    SemanticCache::builder()
        .embedder(LexicalEmbedder::new())
        .decision(Decision::calibrated(0.05))
        .judge(SameText::new())
        .max_entries(MOST_ENTRIES)
        .max_bytes(MOST_BYTES)
        .seed(1)
}

fn a_file(file: &[u8]) {
    match door::load(builder(), file) {
        Ok(cache) => check(&cache),
        Err(fault) => {
            let told = matches!(
                fault,
                SnapshotFault::NotASnapshot | SnapshotFault::Version(_) | SnapshotFault::Damaged
            );
            assert!(told, "{fault:?}");
        }
    }
}

/// What a file holds whose checksum fits: it finds damage and no forgery.
fn contents(json: &[u8]) {
    let file = door::snapshot(json);
    a_file(&file);
    // One that was damaged is not loaded.
    for at in [0, 8, 12, 20, 36, file.len() - 1] {
        let mut damaged = file.clone();
        if let Some(byte) = damaged.get_mut(at) {
            *byte ^= 0x40;
        }
        assert!(door::load(builder(), &damaged).is_err(), "byte {at}");
    }
    assert!(door::load(builder(), &file[..file.len() - 1]).is_err());
}

fn check(cache: &SemanticCache) {
    let stats = cache.stats();
    assert!(stats.entries <= MOST_ENTRIES && stats.bytes <= MOST_BYTES, "{stats:?}");
    let json = door::saved(cache).expect("what was loaded is JSON");
    let again = door::load(builder(), &door::snapshot(&json)).expect("what was saved is loaded");
    // A key may come twice in a file, not in a cache; nothing expires meanwhile but what just did.
    assert!(again.stats().entries <= stats.entries);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&json) {
        let written = value["entries"].as_array().map_or(0, Vec::len);
        assert!(written <= stats.entries);
        assert!(
            again.stats().entries == written
                || stats.entries == MOST_ENTRIES
                || near_its_end(&value)
        );
    }
}

/// Whether an entry has so little time left that it may be gone when it is loaded.
fn near_its_end(contents: &serde_json::Value) -> bool {
    let entries = contents["entries"].as_array().into_iter().flatten();
    entries.into_iter().any(|entry| entry["left"]["secs"].as_u64().unwrap_or(0) < 60)
}

/// What was stored is served after a restart, to whom it was served before.
fn a_cache(bytes: &mut Bytes<'_>) {
    let cache = builder().build().expect("the builder's values are valid");
    let mut asked = Vec::new();
    for _ in 0..bytes.below(6) {
        let request = ChatRequest::new("m").user(bytes.text(20));
        let mut options = CallOptions::new();
        match bytes.below(3) {
            0 => {}
            tenant => options.tenant = Some(TenantId::new(tenant.to_string())),
        }
        let answer = bytes.text(30);
        if let evenkeel::cache::Lookup::Miss(ticket) = probe(&cache, &request, &options)
            && cache.store(ticket, ChatResponse::text_only(&*answer)).is_ok()
        {
            asked.push((request, options, answer));
        }
    }
    let json = door::saved(&cache).expect("a cache is JSON");
    let loaded = door::load(builder(), &door::snapshot(&json)).expect("what was saved is loaded");
    assert_eq!(loaded.stats().entries, cache.stats().entries);
    for (request, options, answer) in asked {
        match probe(&loaded, &request, &options) {
            evenkeel::cache::Lookup::Hit(hit) => {
                assert_eq!(hit.answer.response.text(), answer);
            }
            other => panic!("{other:?} for what was stored"),
        }
    }
}

fn probe(
    cache: &SemanticCache,
    request: &ChatRequest,
    options: &CallOptions,
) -> evenkeel::cache::Lookup {
    cache.probe(request, options, evenkeel::time::now())
}
