//! What instances tell one another of accounts: two balancers on one store, and the suite that every
//! store is held to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is a test that fails")]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use evenkeel::balance::facts::{AccountFact, FactKind, FactStore, MemoryFactStore};
use evenkeel::balance::{Condition, Demand, Lease, NoLease};
use evenkeel::outcome::{End, Outcome};
use evenkeel::remote::StoreError;
use evenkeel::testing::conformance;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    Balancer, ChatResponse, Endpoint, ErrorKind, Event, Observer, ProviderError, async_trait,
    provider_fn,
};
use futures::FutureExt as _;
use parking_lot::Mutex;

const SECOND: Duration = Duration::from_secs(1);

/// Longer than from one reading of the store to the next.
const POLL: Duration = Duration::from_millis(1_400);

const SECRET: [u8; 32] = [7; 32];

fn endpoint(id: &str) -> Endpoint {
    let provider =
        provider_fn(id.to_owned(), |_, _| async { Ok(ChatResponse::text_only("hello")) });
    Endpoint::new(provider)
}

fn balancer(ids: &[&str]) -> Balancer {
    let builder = ids.iter().fold(Balancer::builder(), |b, id| b.endpoint(endpoint(id)));
    builder.build().unwrap()
}

fn sharing(ids: &[&str], store: &MemoryFactStore) -> Balancer {
    let balancer = balancer(ids);
    balancer.share_facts(store.clone(), SECRET);
    balancer
}

async fn pass(time: Duration) {
    sleep_until(after(now(), time)).await;
}

fn lease(balancer: &Balancer) -> Result<Lease, NoLease> {
    balancer.try_lease(&Demand::new(None), now())
}

/// Makes attempts until one is on `id`, which ends with `outcome`; the others succeed.
fn attempt(balancer: &Balancer, id: &str, outcome: &Outcome) {
    for _ in 0..100 {
        let lease = lease(balancer).unwrap();
        if lease.endpoint() == id {
            return lease.settle(outcome, now());
        }
        lease.settle(&Outcome::new(End::Success), now());
    }
    panic!("{id} is not picked");
}

fn refused(kind: ErrorKind) -> Outcome {
    Outcome::failed(&ProviderError::new(kind, "no"), false)
}

fn come_back_in(kind: ErrorKind, time: Duration) -> Outcome {
    Outcome::failed(&ProviderError::new(kind, "later").with_retry_after(time), false)
}

/// The endpoints that twenty calls go to, each once.
fn served(balancer: &Balancer) -> Vec<String> {
    let mut ids: Vec<String> = (0..20)
        .filter_map(|_| {
            let lease = lease(balancer).ok()?;
            let id = lease.endpoint().as_str().to_owned();
            lease.settle(&Outcome::new(End::Success), now());
            Some(id)
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn condition(balancer: &Balancer, id: &str) -> Condition {
    let status = balancer.status(now());
    status.into_iter().find(|status| status.id == *id).unwrap().condition
}

/// How much longer the endpoint is out.
fn out_for(balancer: &Balancer, id: &str) -> Duration {
    condition(balancer, id).until().map_or(Duration::ZERO, |until| until - now())
}

/// Counts the questions, and answers none while it is out.
#[derive(Clone, Default)]
struct Watched {
    store: MemoryFactStore,
    out: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Watched {
    async fn ask(&self) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.out.load(Ordering::Relaxed) {
            true => Err(StoreError::Unreachable("refused".into())),
            false => Ok(()),
        }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl FactStore for Watched {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        self.ask().await?;
        self.store.publish(fact).await
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        self.ask().await?;
        self.store.lift(account).await
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        self.ask().await?;
        self.store.all().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_keeps_the_laws() {
    let store = MemoryFactStore::new();
    conformance::facts::store(|| async { store.clone() }).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_is_told_of_a_rate_the_others_heed_after_one_reading() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Overloaded] {
        let store = MemoryFactStore::new();
        let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
        pass(POLL).await;
        attempt(&one, "a", &come_back_in(kind, 60 * SECOND));
        pass(POLL).await;
        assert_eq!(served(&other), ["b"]);
        let Condition::Cooling { why, .. } = condition(&other, "a") else { panic!("not cooling") };
        assert_eq!(why, kind);
        pass(61 * SECOND).await;
        assert_eq!(served(&other), ["a", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_told_of_its_model_alone() {
    let store = MemoryFactStore::new();
    let make = || {
        let endpoint = endpoint("a").map_model("smart", "large-2").model("cheap");
        let balancer = Balancer::builder().endpoint(endpoint).build().unwrap();
        balancer.share_facts(store.clone(), SECRET);
        balancer
    };
    let [one, other] = [(); 2].map(|()| make());
    let ask = |balancer: &Balancer, model| balancer.try_lease(&Demand::new(Some(model)), now());
    let limited = come_back_in(ErrorKind::RateLimited, 60 * SECOND);
    ask(&one, "smart").unwrap().settle(&limited, now());
    pass(POLL).await;
    assert!(matches!(ask(&other, "smart"), Err(NoLease::NotBefore(Some(_)))));
    assert!(ask(&other, "cheap").is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_account_without_money_is_left_alone_by_all_until_one_finds_that_it_works() {
    for kind in [ErrorKind::QuotaExhausted, ErrorKind::Auth] {
        let store = MemoryFactStore::new();
        let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
        attempt(&one, "a", &refused(kind));
        pass(POLL).await;
        assert_eq!(served(&other), ["b"]);
        assert_eq!(condition(&other, "a").why(), Some(kind));
        one.probe(SECOND).await;
        pass(POLL).await;
        assert_eq!(served(&other), ["a", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_refused_after_ten_minutes_is_told_again() {
    let store = MemoryFactStore::new();
    let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    pass(599 * SECOND).await;
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    assert!(out_for(&other, "a") > 590 * SECOND);
    assert_eq!(served(&other), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_tells_again_is_found_out_by_one_call_of_each_at_a_time_of_its_own() {
    let store = MemoryFactStore::new();
    let one = sharing(&["a", "b"], &store);
    let others: Vec<Balancer> = (0..20).map(|_| sharing(&["a", "b"], &store)).collect();
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    let mut returns: Vec<Duration> = others.iter().map(|other| out_for(other, "a")).collect();
    returns.sort();
    assert!(returns[0] > 598 * SECOND && returns[19] < 631 * SECOND, "{returns:?}");
    assert!(returns[19] - returns[0] > 15 * SECOND, "{returns:?}");
    pass(630 * SECOND).await;
    assert!(others.iter().all(|other| condition(other, "a") == Condition::Trial));
}

#[tokio::test(start_paused = true)]
async fn suspicions_are_not_shared() {
    let store = MemoryFactStore::new();
    let one = sharing(&["a", "b"], &store);
    for kind in ErrorKind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, ErrorKind::QuotaExhausted | ErrorKind::Auth))
    {
        attempt(&one, "b", &refused(kind));
        pass(61 * SECOND).await;
    }
    attempt(&one, "a", &come_back_in(ErrorKind::Timeout, 60 * SECOND));
    pass(POLL).await;
    assert_eq!(store.all().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn accounts_are_matched_by_name_and_secret() {
    let store = MemoryFactStore::new();
    let named = |id: &str, secret| {
        let endpoint = endpoint(id).account("our account");
        let balancer = Balancer::builder().endpoint(endpoint).share_facts(store.clone(), secret);
        balancer.build().unwrap()
    };
    let (one, same) = (named("a", SECRET), named("b", SECRET));
    let (stranger, unnamed) = (named("a", [8; 32]), sharing(&["a"], &store));
    attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
    pass(POLL).await;
    assert_eq!(condition(&same, "b").label(), "cooling");
    assert_eq!(condition(&stranger, "a"), Condition::Eligible);
    assert_eq!(condition(&unnamed, "a"), Condition::Eligible);
}

/// Says of every account that was asked about that it is out for ever.
struct Liar(Mutex<Vec<u128>>);

#[async_trait]
impl FactStore for Liar {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        self.0.lock().push(fact.account);
        Ok(())
    }

    async fn lift(&self, _: u128) -> Result<(), StoreError> {
        Ok(())
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        let accounts = self.0.lock();
        let lie = |account: &u128| {
            AccountFact::new(*account, FactKind::RateLimited, Duration::from_secs(u64::MAX))
        };
        Ok(accounts.iter().map(lie).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_lie_is_believed_for_five_minutes() {
    let store = Arc::new(Liar(Mutex::default()));
    let [one, other] = [(); 2].map(|()| balancer(&["a", "b"]));
    one.share_facts(Arc::clone(&store), SECRET);
    other.share_facts(Arc::clone(&store), SECRET);
    attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, SECOND));
    pass(POLL).await;
    let out = out_for(&other, "a");
    assert!(out > 298 * SECOND && out <= 301 * SECOND, "{out:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_dies_changes_nothing() {
    let store = Watched::default();
    let [one, other] = [(); 2].map(|()| balancer(&["a", "b", "c"]));
    one.share_facts(store.clone(), SECRET);
    other.share_facts(store.clone(), SECRET);
    attempt(&one, "a", &refused(ErrorKind::Auth));
    attempt(&one, "b", &come_back_in(ErrorKind::RateLimited, 120 * SECOND));
    pass(POLL).await;
    for switch in [&store.out, &store.hangs] {
        switch.store(true, Ordering::Relaxed);
        pass(30 * SECOND).await;
        assert_eq!(served(&other), ["c"]);
        switch.store(false, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_is_told_when_the_store_is_back() {
    let store = Watched::default();
    let [one, other] = [(); 2].map(|()| balancer(&["a", "b"]));
    one.share_facts(store.clone(), SECRET);
    other.share_facts(store.clone(), SECRET);
    for switch in [&store.out, &store.hangs] {
        switch.store(true, Ordering::Relaxed);
        pass(POLL).await;
        attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
        let asked = now();
        assert_eq!(served(&one), ["b"]);
        assert_eq!(now(), asked, "nobody waits");
        pass(20 * SECOND).await;
        assert_eq!(served(&other), ["a", "b"]);
        switch.store(false, Ordering::Relaxed);
        pass(12 * SECOND).await;
        assert_eq!(served(&other), ["b"]);
        let out = out_for(&other, "a");
        assert!(out < 30 * SECOND, "what is left, not what was: {out:?}");
        pass(60 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_not_asked_every_second() {
    let store = Watched::default();
    store.out.store(true, Ordering::Relaxed);
    let one = balancer(&["a"]);
    one.share_facts(store.clone(), SECRET);
    pass(600 * SECOND).await;
    assert!(store.asked() < 200, "{}", store.asked());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_balancer_ends_the_task_wherever_it_stands() {
    for hangs in [false, true] {
        let store = Watched::default();
        store.hangs.store(hangs, Ordering::Relaxed);
        let one = balancer(&["a"]);
        one.share_facts(store.clone(), SECRET);
        pass(Duration::from_millis(100)).await;
        assert!(Arc::strong_count(&store.asked) == 2 && store.asked() == 1);
        drop(one);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&store.asked), 1, "hangs: {hangs}");
    }
}

#[test]
fn a_balancer_built_before_its_runtime_shares_from_its_first_call_on_and_survives_the_runtime() {
    let store = MemoryFactStore::new();
    let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
    for round in 0..2 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            // Each runtime's clock starts anew; nothing of the one before is to count.
            pass(1_000 * round * SECOND).await;
            // A call, or the end of a cooldown: what changes a state starts the task again.
            attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
            attempt(&other, "b", &come_back_in(ErrorKind::RateLimited, SECOND / 10));
            pass(2 * POLL).await;
            assert_eq!(served(&other), ["b"], "round {round}");
            pass(90 * SECOND).await;
            assert_eq!(served(&one), ["a", "b"]);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_is_obeyed_whoever_was_told_of_it_though_nobody_is_left() {
    let store = MemoryFactStore::new();
    let [one, other] = [(); 2].map(|()| sharing(&["a"], &store));
    attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
    pass(POLL).await;
    let Err(NoLease::NotBefore(Some(at))) = lease(&other) else { panic!("a lease") };
    assert!(at >= now() + 58 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn that_the_last_account_is_disabled_is_verified_by_one_call_at_a_time() {
    let store = MemoryFactStore::new();
    let [one, other, third, fourth] = [(); 4].map(|()| sharing(&["a"], &store));
    attempt(&one, "a", &refused(ErrorKind::Auth));
    assert!(lease(&one).is_err(), "it knows first-hand");
    pass(POLL).await;
    assert_eq!(condition(&other, "a").label(), "disabled");
    let trial = lease(&other).unwrap();
    assert!(trial.is_trial() && lease(&other).is_err());
    trial.settle(&refused(ErrorKind::Auth), now());
    assert!(lease(&other).is_err(), "now it knows first-hand, too");
    pass(POLL).await;
    let trial = lease(&third).unwrap();
    pass(SECOND).await;
    trial.settle(&Outcome::new(End::Success), now());
    assert_eq!(condition(&third, "a"), Condition::Eligible);
    pass(POLL).await;
    assert_eq!(condition(&fourth, "a"), Condition::Eligible);
}

#[tokio::test(start_paused = true)]
async fn with_an_endpoint_left_nobody_tries_an_account_that_is_said_to_be_disabled() {
    let store = MemoryFactStore::new();
    let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    attempt(&other, "b", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
    let trial = lease(&other).unwrap();
    assert!(trial.endpoint() == "a" && trial.is_trial(), "b is out");
    drop(trial);
    pass(62 * SECOND).await;
    assert_eq!(served(&other), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn the_echo_of_what_one_was_told_itself_prolongs_nothing() {
    let store = MemoryFactStore::new();
    let one = sharing(&["a", "b"], &store);
    pass(POLL).await;
    attempt(&one, "a", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
    let until = condition(&one, "a").until();
    for _ in 0..20 {
        pass(POLL).await;
        assert_eq!(condition(&one, "a").until(), until);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_in_the_old_ones_place_is_tried_by_all() {
    let store = MemoryFactStore::new();
    let [one, other] = [(); 2].map(|()| sharing(&["a", "b"], &store));
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    one.replace(endpoint("a").account("a second account")).unwrap();
    pass(POLL).await;
    assert_eq!(served(&other), ["b"], "it still has the old one");
    assert_eq!(served(&one), ["a", "b"]);
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    one.replace(endpoint("a").account("a second account")).unwrap();
    pass(POLL).await;
    assert_eq!(served(&one), ["a", "b"]);
}

#[derive(Clone, Default)]
struct States(Arc<Mutex<Vec<String>>>);

impl Observer for States {
    fn on_event(&self, event: &Event<'_>) {
        let line = match event {
            Event::EndpointState { endpoint, state, why, .. } => {
                format!("{endpoint} {state} {why}")
            }
            Event::StoreFailed { store, why, .. } => format!("{store} {why}"),
            _ => return,
        };
        self.0.lock().push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn events_say_what_came_from_others_and_when_the_store_fails() {
    let (store, states) = (Watched::default(), States::default());
    let one = balancer(&["a", "b"]);
    one.share_facts(store.clone(), SECRET);
    let other = Balancer::builder().endpoint(endpoint("a")).endpoint(endpoint("b"));
    let other = other.observer(states.clone()).share_facts(store.clone(), SECRET).build().unwrap();
    attempt(&one, "a", &refused(ErrorKind::Auth));
    pass(POLL).await;
    one.probe(SECOND).await;
    pass(POLL).await;
    attempt(&one, "b", &come_back_in(ErrorKind::RateLimited, 60 * SECOND));
    pass(POLL).await;
    store.out.store(true, Ordering::Relaxed);
    pass(POLL).await;
    drop(other);
    let mut states = states.0.lock().clone();
    states.dedup();
    let told = ["a disabled shared", "a eligible shared", "b cooling shared", "facts unreachable"];
    assert_eq!(states, told);
}

/// Answers with what it knew half of the deadline ago.
struct Behind(MemoryFactStore);

#[async_trait]
impl FactStore for Behind {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        self.0.publish(fact).await
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        self.0.lift(account).await
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        let facts = self.0.all().await;
        pass(Duration::from_millis(125)).await;
        facts
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_found_to_be_over_is_not_believed_again_because_an_answer_was_on_its_way() {
    let one = balancer(&["a", "b"]);
    one.share_facts(Behind(MemoryFactStore::new()), SECRET);
    for _ in 0..100 {
        attempt(&one, "a", &refused(ErrorKind::Auth));
        pass(Duration::from_millis(700)).await;
        one.probe(SECOND).await;
        for _ in 0..30 {
            pass(Duration::from_millis(25)).await;
            assert_eq!(condition(&one, "a"), Condition::Eligible);
        }
    }
}

/// A store with a bad habit, for each law one.
#[derive(Clone, Copy, Debug)]
enum Habit {
    KeepsNothing,
    LastOneStands,
    BelievesAnything,
    NeverForgets,
    KeepsNothings,
    IgnoresLifts,
    LiftsAll,
}

struct Broken {
    habit: Habit,
    facts: Mutex<Vec<(AccountFact, tokio::time::Instant)>>,
}

#[async_trait]
impl FactStore for Broken {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        let mut facts = self.facts.lock();
        let lasts = match self.habit {
            Habit::BelievesAnything => fact.lasts.min(3_600 * SECOND),
            Habit::KeepsNothings => fact.clamped().lasts.max(SECOND),
            _ => fact.clamped().lasts,
        };
        let (fact, until) = (AccountFact::new(fact.account, fact.kind, lasts), after(now(), lasts));
        let known = facts.iter().position(|(known, _)| known.account == fact.account);
        match (self.habit, known) {
            (Habit::KeepsNothing, _) => {}
            (Habit::LastOneStands, Some(at)) if !lasts.is_zero() => facts[at] = (fact, until),
            (_, Some(at)) if facts[at].1 >= until => {}
            (_, Some(at)) => facts[at] = (fact, until),
            (_, None) => facts.push((fact, until)),
        }
        Ok(())
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        let mut facts = self.facts.lock();
        match self.habit {
            Habit::IgnoresLifts => {}
            Habit::LiftsAll => facts.clear(),
            _ => facts.retain(|(fact, _)| fact.account != account),
        }
        Ok(())
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        let facts = self.facts.lock();
        let forgets = !matches!(self.habit, Habit::NeverForgets);
        let running = facts.iter().filter(|(_, until)| !forgets || *until > now());
        let left = |(fact, until): &(AccountFact, tokio::time::Instant)| {
            AccountFact::new(fact.account, fact.kind, until.saturating_duration_since(now()))
        };
        Ok(running.map(left).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_finds_each_bad_habit() {
    for (habit, law) in [
        (Habit::KeepsNothing, "is told with what is left"),
        (Habit::LastOneStands, "the later end stands"),
        (Habit::BelievesAnything, "no fact outlasts"),
        (Habit::NeverForgets, "ends by itself"),
        (Habit::KeepsNothings, "lasts no time"),
        (Habit::IgnoresLifts, "is lifted is gone"),
        (Habit::LiftsAll, "is lifted is gone"),
    ] {
        let suite =
            conformance::facts::store(|| async move { Broken { habit, facts: Mutex::default() } });
        let panic = AssertUnwindSafe(suite).catch_unwind().await.unwrap_err();
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(law), "{habit:?}: {said}");
    }
}
