//! A cache in a file: all of it, or an error that names the file.

use std::path::PathBuf;
use std::time::Duration;

use evenkeel::CallOptions;
use evenkeel::cache::{SemanticCache, SnapshotFault};

use crate::doubles::{Angles, ask, ask_or_store, hit, miss, of_tenant};

/// A file of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("evenkeel-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn builder() -> evenkeel::cache::CacheBuilder {
    SemanticCache::builder().embedder(Angles::default()).threshold(0.9).ttl(Duration::from_secs(60))
}

async fn filled() -> SemanticCache {
    let cache = builder().build().unwrap();
    ask_or_store(&cache, &ask("a @0"), &of_tenant("acme"), "answer").await;
    ask_or_store(&cache, &ask("z @90"), &CallOptions::new(), "other").await;
    cache
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_is_served_as_before() {
    let file = Scratch::new("whole");
    let cache = filled().await;
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(cache.save(&file.0).unwrap(), 2);
    let loaded = builder().load(&file.0).unwrap();
    let options = of_tenant("acme");
    assert_eq!(hit(&loaded, &ask("a @0"), &options).await.answer.response.text(), "answer");
    assert!(!hit(&loaded, &ask("b @1"), &options).await.is_exact());
    miss(&loaded, &ask("a @0"), &of_tenant("other")).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    miss(&loaded, &ask("a @0"), &options).await;
}

#[tokio::test]
async fn a_snapshot_fits_into_less_room() {
    let file = Scratch::new("less");
    filled().await.save(&file.0).unwrap();
    let small = builder().max_entries(1).load(&file.0).unwrap();
    assert_eq!(small.stats().entries, 1);
    let exact_only = SemanticCache::builder().load(&file.0).unwrap();
    assert_eq!((exact_only.stats().entries, exact_only.stats().partitions), (2, 0));
}

#[tokio::test]
async fn a_damaged_snapshot_is_an_error_that_names_the_file() {
    let file = Scratch::new("damaged");
    filled().await.save(&file.0).unwrap();
    let whole = std::fs::read(&file.0).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(&file.0, bytes).unwrap();
        builder().load(&file.0).map(|_| ())
    };
    load(&whole).unwrap();
    for length in 0..whole.len() {
        let error = load(&whole[..length]).unwrap_err();
        assert!(
            error.to_string().contains("damaged"),
            "the name has the word, the file {length} bytes"
        );
        assert!(error.path == file.0);
    }
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(load(&bytes).is_err(), "byte {at}");
    }
    let mut long = whole.clone();
    long.push(0);
    assert!(matches!(load(&long).unwrap_err().fault, SnapshotFault::Damaged));
    let mut younger = whole;
    younger[8] = 9;
    assert!(matches!(load(&younger).unwrap_err().fault, SnapshotFault::Version(9)));
}

#[test]
fn a_snapshot_that_is_not_there_is_an_error() {
    let missing = builder().load("/nowhere/at/all").unwrap_err();
    assert!(matches!(missing.fault, SnapshotFault::Io(_)));
    assert!(missing.to_string().contains("/nowhere/at/all"));
}
