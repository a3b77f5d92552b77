//! Clients over scripted providers.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::client::RetryPolicy;
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Endpoint, Event, LlmClient, Observer};
use parking_lot::Mutex;

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A provider that gives `answer` to every attempt.
pub(crate) fn always(id: &str, answer: Answer) -> ScriptedProvider {
    ScriptedProvider::new(id).forever(answer)
}

/// A client over `providers`, equally weighted, whose jitter repeats.
pub(crate) fn client_over<const N: usize>(providers: [&ScriptedProvider; N]) -> LlmClient {
    builder_over(providers).build().unwrap()
}

pub(crate) fn builder_over<const N: usize>(
    providers: [&ScriptedProvider; N],
) -> evenkeel::client::LlmClientBuilder {
    let builder = LlmClient::builder().seed(1).retry(RetryPolicy::new().budget(1.0, 100.0));
    providers
        .into_iter()
        .fold(builder, |builder, provider| builder.endpoint(Endpoint::new(provider.clone())))
}

/// The ids of the endpoints a call tried, in order.
pub(crate) fn tried(trail: &evenkeel::report::Trail) -> Vec<String> {
    trail.iter().map(|attempt| attempt.endpoint.to_string()).collect()
}

/// An observer that keeps what it is told, in words.
#[derive(Clone, Default)]
pub(crate) struct Notebook(Arc<Mutex<Vec<String>>>);

impl Notebook {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(word)).count()
    }
}

impl Notebook {
    /// How often the cache is told to have done this for a call.
    pub(crate) fn cache(&self, outcome: &str) -> usize {
        let part = format!("outcome: \"{outcome}\"");
        self.lines().iter().filter(|l| l.starts_with("Cache ") && l.contains(&part)).count()
    }
}

impl Observer for Notebook {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().push(format!("{event:?}"));
    }
}

/// Nothing of any call is left: no lease, no open body, no place.
pub(crate) fn assert_nothing_is_held<const N: usize>(
    client: &LlmClient,
    providers: [&ScriptedProvider; N],
) {
    assert_eq!(client.running(), 0, "a place is still held");
    for status in client.balancer().status(evenkeel::time::now()) {
        assert_eq!(status.in_flight, 0, "a lease on {} is still held", status.id);
    }
    for provider in providers {
        assert_eq!(provider.counts().open, 0, "a body is still open");
    }
}
