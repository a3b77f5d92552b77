//! What a cache writes to a disk: questions and answers, which it is for, and nothing more.

use std::path::PathBuf;

use evenkeel::cache::{Lookup, Scope, SemanticCache};
use evenkeel::{CallOptions, ChatRequest, ChatResponse};

use crate::{CANARY, SECRET, assert_clean};

/// A file of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("evenkeel-secrets-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options() -> CallOptions {
    crate::nouns::call().options
}

fn question() -> ChatRequest {
    ChatRequest::new("m").user("a question")
}

async fn filled(builder: evenkeel::cache::CacheBuilder) -> SemanticCache {
    let cache = builder.scope(Scope::tenant_in(CANARY)).build().unwrap();
    let Lookup::Miss(ticket) = cache.lookup(&question(), &options()).await else { panic!("empty") };
    cache.store(ticket, ChatResponse::text_only("an answer")).unwrap();
    cache
}

fn is_hit(found: &Lookup) -> bool {
    matches!(found, Lookup::Hit(_))
}

#[tokio::test]
async fn a_snapshot_names_no_tenant_no_namespace_no_tag_and_no_given_secret() {
    let file = Scratch::new("given");
    let cache = filled(SemanticCache::builder().secret(SECRET)).await;
    assert_eq!(cache.save(&file.0).unwrap(), 1);
    let bytes = std::fs::read(&file.0).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("an answer"), "answers are what it is for");
    assert_clean("the snapshot", &text);
    assert!(text.contains("\"secret\":null"), "nor what is made of the secret: {text}");
}

/// Whoever has the file but not the secret cannot use what is in it, nor the key of a fleet's hashes.
#[tokio::test]
async fn a_snapshot_under_a_given_secret_is_of_use_only_with_it() {
    let file = Scratch::new("needs");
    filled(SemanticCache::builder().secret(SECRET)).await.save(&file.0).unwrap();
    let load = |builder: evenkeel::cache::CacheBuilder| {
        builder.scope(Scope::tenant_in(CANARY)).load(&file.0).unwrap()
    };
    let same = load(SemanticCache::builder().secret(SECRET));
    assert!(is_hit(&same.lookup(&question(), &options()).await));
    for other in [SemanticCache::builder(), SemanticCache::builder().secret([7; 32])] {
        let other = load(other);
        assert_eq!(other.stats().entries, 0);
        assert!(!is_hit(&other.lookup(&question(), &options()).await));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_snapshot_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = Scratch::new("private");
    // As a crash would leave it behind, for everybody.
    std::fs::write(file.0.with_extension("partial"), "").unwrap();
    filled(SemanticCache::builder()).await.save(&file.0).unwrap();
    let mode = std::fs::metadata(&file.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
