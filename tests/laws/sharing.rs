//! Instances that share their answers, through the whole client.

use std::time::Duration;

use evenkeel::cache::shared::FleetFlight;
use evenkeel::cache::{HitId, Invalidate, LexicalEmbedder, SemanticCache};
use evenkeel::testing::{Answer, ScriptedProvider, drop_after_polls, drop_at_every_poll};
use evenkeel::{CacheControl, Call, ChatRequest, Completion, Endpoint, LlmClient, ServedBy, time};
use futures::future::{join, join_all};

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds};
use crate::stores::{MS, Mood, Moody, pass, settle};

/// An instance over a provider and a store that others have too.
struct Instance {
    client: LlmClient,
    notebook: Notebook,
}

impl Instance {
    fn of(provider: &ScriptedProvider, store: &Moody) -> Self {
        Self::with(provider, store, None)
    }

    /// One that finds out whether another one is fetching.
    fn meeting(provider: &ScriptedProvider, store: &Moody) -> Self {
        Self::with(provider, store, Some(FleetFlight::new()))
    }

    fn with(provider: &ScriptedProvider, store: &Moody, flight: Option<FleetFlight>) -> Self {
        let cache = SemanticCache::builder().secret([7; 32]).shared(store.clone()).seed(3);
        let cache = match flight {
            Some(flight) => cache.fleet_flight(flight),
            None => cache,
        };
        let notebook = Notebook::default();
        let client = LlmClient::builder()
            .endpoint(Endpoint::new(provider.clone()))
            .cache(cache.build().unwrap())
            .observer(notebook.clone())
            .seed(1)
            .build()
            .unwrap();
        Self { client, notebook }
    }

    async fn ask(&self, text: &str) -> Completion {
        self.client.complete(question(text)).await.unwrap()
    }
}

fn question(text: &str) -> Call {
    ChatRequest::new("m").user(text.to_owned()).tenant("acme")
}

fn slow(by: Duration) -> Answer {
    Answer::text("one two three").delay(by)
}

#[tokio::test(start_paused = true)]
async fn what_one_instance_fetched_the_others_serve_and_say_so() {
    let (provider, store) = (always("only", Answer::text("hi")), Moody::default());
    let (a, b) = (Instance::of(&provider, &store), Instance::of(&provider, &store));
    assert_eq!(a.ask("q").await.report.served_by, ServedBy::Endpoint("only".into()));
    settle().await;
    let done = b.ask("q").await;
    assert_eq!((done.text(), done.report.served_by), ("hi".into(), ServedBy::SharedHit));
    assert!(done.report.hit.is_some());
    assert_eq!(b.ask("q").await.report.served_by, ServedBy::ExactHit);
    assert_eq!(provider.counts().started, 1);
    for (instance, outcome) in [(&a, "miss"), (&b, "shared_hit"), (&b, "exact_hit")] {
        assert_eq!(instance.notebook.cache(outcome), 1, "{outcome}");
    }
    assert_nothing_is_held(&b.client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn what_another_instance_was_asked_in_other_words_is_served_and_said_to_be() {
    let (provider, store) = (always("only", Answer::text("each has one owner")), Moody::default());
    let notebook = Notebook::default();
    let instance = || {
        let cache = SemanticCache::builder()
            .secret([7; 32])
            .shared(store.clone())
            .shared_index(store.clone())
            .embedder(LexicalEmbedder::default())
            .threshold(0.6);
        LlmClient::builder()
            .endpoint(Endpoint::new(provider.clone()))
            .cache(cache.build().unwrap())
            .observer(notebook.clone())
            .build()
            .unwrap()
    };
    let (a, b) = (instance(), instance());
    a.complete(question("Please explain to me how ownership works in Rust")).await.unwrap();
    settle().await;
    assert_eq!(store.entries().len(), 1);
    let alike = || question("Please explain how ownership works in Rust");
    let done = b.complete(alike()).await.unwrap();
    let ServedBy::SharedSemanticHit { similarity } = done.report.served_by else {
        panic!("{done:?}")
    };
    assert!((0.6..1.0).contains(&similarity), "{similarity}");
    assert_eq!(notebook.cache("shared_semantic_hit"), 1);

    let hit: HitId = done.report.hit.unwrap();
    assert!(b.cache().unwrap().report_wrong(hit));
    settle().await;
    for client in [&b, &instance()] {
        let again = client.complete(alike()).await.unwrap();
        assert_eq!(again.report.served_by, ServedBy::Endpoint("only".into()));
        client.cache().unwrap().invalidate_shared(Invalidate::All).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_scope_is_no_answer_and_is_told_of() {
    let (provider, store) = (always("only", Answer::text("hi")), Moody::default());
    let (a, b) = (Instance::of(&provider, &store), Instance::of(&provider, &store));
    a.ask("q").await;
    settle().await;
    store.turns(Mood::Misplaces);
    assert_eq!(b.ask("q").await.report.served_by, ServedBy::Endpoint("only".into()));
    assert_eq!(b.notebook.count("StoreFailed { store: \"cache\", why: \"garbled\""), 1);
    assert_eq!(b.notebook.count("StoreState"), 0, "the store itself is well");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_costs_no_call_its_answer_and_five_at_most_their_patience() {
    for (mood, why) in
        [(Mood::Hangs, "late"), (Mood::Fails, "unreachable"), (Mood::Garbles, "garbled")]
    {
        let (provider, store) = (always("only", Answer::text("hi")), Moody::of(mood));
        let a = Instance::meeting(&provider, &store);
        let mut patient = 0;
        for number in 0..40 {
            let start = time::now();
            assert_eq!(a.ask(&format!("{number}")).await.text(), "hi");
            assert!(start.elapsed() <= 15 * MS, "{mood:?}: {:?}", start.elapsed());
            patient += usize::from(!start.elapsed().is_zero());
        }
        // A look asks for the answer, and for what was taken back.
        assert!(mood == Mood::Garbles || store.asked() == 2 * 5, "{mood:?}: {}", store.asked());
        assert_eq!(patient, if mood == Mood::Hangs { 5 } else { 0 }, "{mood:?}");
        let told = format!("StoreFailed {{ store: \"cache\", why: \"{why}\"");
        assert!(a.notebook.count(&told) >= 5, "{:?}", a.notebook.lines());
        let opened = a.notebook.count("StoreState { store: \"cache\", state: \"open\"");
        assert_eq!(opened, usize::from(mood != Mood::Garbles), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_no_call_later_than_its_deadline() {
    let provider = always("only", slow(seconds(5)));
    for mood in [Mood::Hangs, Mood::WritesHang] {
        let a = Instance::meeting(&provider, &Moody::of(mood));
        let start = time::now();
        let error = a.client.complete(question("q").deadline_in(seconds(1))).await.unwrap_err();
        assert_eq!((error.label(), start.elapsed()), ("deadline", seconds(1)));
        assert_nothing_is_held(&a.client, [&provider]);
    }
}

#[tokio::test(start_paused = true)]
async fn four_instances_with_five_hundred_callers_each_make_one_upstream_call() {
    let (provider, store) = (always("only", slow(seconds(3))), Moody::default());
    let instances: Vec<_> = (0..4).map(|_| Instance::meeting(&provider, &store)).collect();
    let start = time::now();
    let callers = instances.iter().flat_map(|it| (0..500).map(|_| it.ask("q")));
    let answers = join_all(callers).await;
    assert!(answers.iter().all(|done| done.text() == "one two three"));
    assert_eq!(provider.counts().started, 1);
    // The longest pause between two looks.
    assert!(start.elapsed() <= seconds(3) + 300 * MS, "{:?}", start.elapsed());
    let led = instances.iter().map(|it| it.notebook.cache("miss")).sum::<usize>();
    assert_eq!(led, 1);
    for it in &instances {
        assert_nothing_is_held(&it.client, [&provider]);
    }
}

/// The answer may arrive between a look for it and a try for the lead.
#[tokio::test(start_paused = true)]
async fn whenever_the_answer_arrives_it_is_fetched_once() {
    for millis in 0..250 {
        let provider = always("only", slow(seconds(1) + millis * MS));
        let store = Moody::of(Mood::TakesItsTime);
        let instances: Vec<_> = (0..4).map(|_| Instance::meeting(&provider, &store)).collect();
        join_all(instances.iter().map(|it| it.ask("q"))).await;
        assert_eq!(provider.counts().started, 1, "after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_instance_that_leads_gives_up_another_one_leads() {
    // By how many polls its callers leave: before, while and after it takes the lead.
    for polls in 1..6 {
        let (provider, store) = (always("only", slow(seconds(3))), Moody::default());
        let [a, b, c, d] = [(); 4].map(|()| Instance::meeting(&provider, &store));
        let leaving = join_all((0..500).map(|_| drop_after_polls(Box::pin(a.ask("q")), polls)));
        let staying = join_all([&b, &c, &d].iter().flat_map(|it| (0..500).map(|_| it.ask("q"))));
        let (_, answers) = join(leaving, staying).await;
        assert!(answers.iter().all(|done| done.text() == "one two three"));
        assert!(
            provider.counts().started <= 2,
            "{} after {polls} polls",
            provider.counts().started
        );
        assert_nothing_is_held(&a.client, [&provider]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_holds_the_others_up_for_its_lease_only() {
    let (provider, store) = (always("only", slow(seconds(3))), Moody::default());
    let start = time::now();
    let dying = async {
        let its = store.apart();
        let a = Instance::meeting(&provider, &its);
        let dead = time::until(start + seconds(1), a.ask("q")).await;
        // What it has to say comes to nobody's ears.
        its.turns(Mood::Fails);
        dead
    };
    let waiting = async {
        let b = Instance::meeting(&provider, &store);
        settle().await;
        b.ask("q").await
    };
    let (dead, answer) = join(dying, waiting).await;
    assert!(dead.is_none());
    assert_eq!(answer.report.served_by, ServedBy::Endpoint("only".into()));
    assert_eq!(provider.counts().started, 2);
    let waited = start.elapsed() - seconds(3);
    assert!(waited >= seconds(10) && waited <= seconds(10) + 300 * MS, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lead_is_kept_for_as_long_as_the_answer_takes() {
    let (provider, store) = (always("only", slow(seconds(25))), Moody::default());
    let instances: Vec<_> = (0..4).map(|_| Instance::meeting(&provider, &store)).collect();
    let patient = || question("q").deadline_in(seconds(600));
    let answers = join_all(instances.iter().map(|it| it.client.complete(patient()))).await;
    assert!(answers.into_iter().all(|done| done.unwrap().text() == "one two three"));
    assert_eq!(provider.counts().started, 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_goes_alone() {
    // At most half of what the call has, and no longer than was configured.
    for (most, has, waits) in [(seconds(60), seconds(40), 20), (seconds(2), seconds(600), 2)] {
        let provider =
            ScriptedProvider::new("only").then(slow(seconds(25))).forever(slow(seconds(1)));
        let store = Moody::default();
        let a = Instance::meeting(&provider, &store);
        let b = Instance::with(&provider, &store, Some(FleetFlight::new().most_wait(most)));
        let start = time::now();
        let hasty = async {
            settle().await;
            b.client.complete(question("q").deadline_in(has)).await.unwrap();
            start.elapsed()
        };
        let (_, took) = join(a.ask("q"), hasty).await;
        assert_eq!((provider.counts().started, took), (2, seconds(waits + 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_while_another_one_leads_sends_everybody_off_alone() {
    for mood in [Mood::Fails, Mood::Hangs] {
        let (provider, store) = (always("only", slow(seconds(5))), Moody::default());
        let (a, b) = (Instance::meeting(&provider, &store), Instance::meeting(&provider, &store));
        let (_, ()) = join(
            join(a.ask("q"), async {
                settle().await;
                let start = time::now();
                b.ask("q").await;
                let waited = start.elapsed() - seconds(5);
                assert!(waited >= seconds(1) && waited <= seconds(1) + 400 * MS, "{waited:?}");
            }),
            async {
                pass(seconds(1)).await;
                store.turns(mood);
            },
        )
        .await;
        assert_eq!(provider.counts().started, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_put_nothing_or_want_it_fresh_neither_lead_nor_wait() {
    let (provider, store) = (always("only", slow(seconds(1))), Moody::default());
    let (a, b) = (Instance::meeting(&provider, &store), Instance::meeting(&provider, &store));
    let start = time::now();
    let of = async |it: &Instance, control| it.client.complete(question("q").cache(control)).await;
    let reading = join(of(&a, CacheControl::ReadOnly), of(&b, CacheControl::ReadOnly)).await;
    let fresh = join(of(&a, CacheControl::Refresh), of(&b, CacheControl::Refresh)).await;
    [reading.0, reading.1, fresh.0, fresh.1].into_iter().for_each(|done| drop(done.unwrap()));
    assert_eq!((provider.counts().started, start.elapsed()), (4, seconds(2)));
}

#[tokio::test(start_paused = true)]
async fn dropped_at_every_poll_a_call_leaves_no_lead_and_no_work() {
    let (provider, store) = (always("only", slow(seconds(1))), Moody::default());
    let mut round = 0;
    let done = drop_at_every_poll(
        || {
            round += 1;
            let (a, b) =
                (Instance::meeting(&provider, &store), Instance::meeting(&provider, &store));
            let text = format!("{round}");
            let provider = &provider;
            async move {
                let leaving = join(a.ask(&text), b.ask(&text));
                let (one, two) = leaving.await;
                assert_nothing_is_held(&a.client, [provider]);
                (one.text(), two.text())
            }
        },
        |polls| assert_eq!(provider.counts().open, 0, "a body is open after {polls} polls"),
    )
    .await;
    assert_eq!(done, ("one two three".into(), "one two three".into()));
}

/// The lead of a call that was dropped, wherever it was, is free for the next one.
#[tokio::test(start_paused = true)]
async fn dropped_at_any_poll_a_call_holds_nobody_up() {
    for polls in 0..12 {
        let (provider, store) = (always("only", slow(seconds(1))), Moody::default());
        let (a, b) = (Instance::meeting(&provider, &store), Instance::meeting(&provider, &store));
        drop_after_polls(Box::pin(a.ask("q")), polls).await;
        settle().await;
        let start = time::now();
        b.ask("q").await;
        assert!(start.elapsed() <= seconds(1), "after {polls} polls: {:?}", start.elapsed());
    }
}
