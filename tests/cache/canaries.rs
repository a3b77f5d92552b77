//! Whatever instances do with one another, nothing is served across scopes or requests.

use evenkeel::cache::{Invalidate, LexicalEmbedder, Lookup, Scope, SemanticCache};
use evenkeel::rng::Rng;
use evenkeel::{CacheControl, CallOptions, ChatRequest, ChatResponse};

use crate::doubles::{SECOND, of_tenant};
use crate::stores::{Mood, Moody, pass, settle};

const TENANTS: u64 = 40;

fn instance(store: &Moody) -> SemanticCache {
    SemanticCache::builder()
        .secret([7; 32])
        .shared(store.clone())
        .shared_index(store.clone())
        .embedder(LexicalEmbedder::new())
        .threshold(0.3)
        .max_entries(200)
        .build()
        .unwrap()
}

/// A call and what every answer to it must say: whose it is, and under which instructions.
fn call(rng: &Rng) -> (Scope, ChatRequest, CallOptions, String) {
    let tenant = format!("tenant-{}", rng.below(TENANTS));
    let system = format!("instructions {}", rng.below(3));
    let scope = match rng.below(4) {
        0 => Scope::tenant_in("tenant-1"),
        _ => Scope::Tenant,
    };
    let canary = format!("{tenant} {system} {scope:?}");
    let question = format!("How do I reset password {}?", rng.below(6));
    let mut options = of_tenant(&tenant);
    options.tags.insert(format!("tag-{}", rng.below(3)).into());
    options.cache = match rng.below(20) {
        0 => CacheControl::Refresh,
        1 => CacheControl::ReadOnly,
        2 => CacheControl::ExactOnly,
        _ => CacheControl::Default,
    };
    (scope, ChatRequest::new("m").system(&system).user(question), options, canary)
}

async fn disturb(instances: &mut [SemanticCache], store: &Moody, rng: &Rng) {
    let which = rng.below(instances.len() as u64) as usize;
    let tenant = format!("tenant-{}", rng.below(TENANTS)).into();
    let taken_back = match rng.below(12) {
        0 => Invalidate::All,
        1 => Invalidate::Tag("tag-1"),
        2 => Invalidate::Namespace("tenant-1"),
        3 => Invalidate::Tenant(&tenant),
        4 => return instances[which] = instance(store),
        5 => return store.turns(Mood::Misplaces),
        6 => return store.turns(Mood::Fails),
        _ => {
            store.turns(Mood::Well);
            return pass(SECOND * 5 * rng.below(8) as u32).await;
        }
    };
    let _ = instances[which].invalidate_shared(taken_back).await;
}

#[tokio::test(start_paused = true)]
async fn canaries_of_forty_tenants_never_cross_between_three_instances() {
    let (store, rng) = (Moody::default(), Rng::from_seed(11));
    let mut instances: Vec<_> = (0..3).map(|_| instance(&store)).collect();
    let mut tiers = [0; 4];
    for step in 0..8_000 {
        if rng.below(60) == 0 {
            disturb(&mut instances, &store, &rng).await;
        }
        let (scope, request, options, canary) = call(&rng);
        let cache = instances[rng.below(3) as usize].in_scope(scope);
        match cache.lookup(&request, &options).await {
            Lookup::Hit(hit) => {
                assert_eq!(hit.answer.response.text(), canary, "step {step}");
                let labels = ["exact_hit", "semantic_hit", "shared_hit", "shared_semantic_hit"];
                tiers[labels.iter().position(|label| *label == hit.label()).unwrap()] += 1;
                if rng.below(100) == 0 {
                    cache.report_wrong(hit.id);
                }
            }
            Lookup::Miss(ticket) => {
                let _ = cache.store(ticket, ChatResponse::text_only(&*canary));
                settle().await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(tiers.iter().all(|hits| *hits > 100), "{tiers:?}");
}
