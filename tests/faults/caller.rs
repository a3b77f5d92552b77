//! A client of one endpoint, and how its calls end.

use std::fmt;
use std::time::Duration;

use evenkeel::balance::{BreakerPolicy, HealthPolicy};
use evenkeel::client::RetryPolicy;
use evenkeel::providers::HttpBounds;
use evenkeel::time::{after, now, sleep_until, until};
use evenkeel::{
    Balancer, Call, ChatRequest, Completion, Endpoint, Error, ErrorKind, LlmClient, Timeouts,
};
use futures::StreamExt as _;

use crate::proxy::Toxic;
use crate::rig::Rig;
use crate::wire::{Framing, Settings, TEXT, Way, Wire};

/// No limit that a test means to meet is as long, and no machine so busy that a test takes it.
pub(crate) const FAR: Duration = Duration::from_secs(20);

/// How a call failed, whatever its wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The one attempt failed.
    Failed(ErrorKind),
    /// After content, for this reason.
    BrokeOff(ErrorKind),
    Deadline,
}

pub(crate) struct Caller {
    client: LlmClient,
    wire: Wire,
    way: Way,
}

impl Caller {
    pub(crate) fn new(rig: &Rig, wire: Wire, way: Way) -> Self {
        Self::with(rig, wire, way, HttpBounds::new(), far())
    }

    pub(crate) fn with(
        rig: &Rig,
        wire: Wire,
        way: Way,
        bounds: HttpBounds,
        timeouts: Timeouts,
    ) -> Self {
        let settings = Settings { streaming: way.streams(), bounds };
        let endpoint = Endpoint::shared(wire.provider(&rig.url(), settings));
        let balancer = Balancer::builder().endpoint(endpoint).health(never_opens());
        let client = LlmClient::builder()
            .balancer(balancer.build().unwrap())
            .retry(RetryPolicy::never())
            .timeouts(timeouts);
        Self { client: client.build().unwrap(), wire, way }
    }

    /// Asks, and sees to it that whatever comes of it leaves no call and no attempt behind.
    pub(crate) async fn ask(&self) -> Result<Completion, Error> {
        let outcome = until(after(now(), FAR), self.answer(question())).await;
        let outcome = outcome.expect("every call ends");
        let stats = self.client.stats();
        assert_eq!((stats.running, stats.endpoints[0].in_flight), (0, 0));
        outcome
    }

    pub(crate) async fn end(&self) -> End {
        self.ask()
            .await
            .map(|completion| completion.text())
            .map_err(|error| end(&error))
            .unwrap_err()
    }

    pub(crate) async fn answer(&self, call: Call) -> Result<Completion, Error> {
        if self.way != Way::Streamed {
            return self.client.complete(call).await;
        }
        let mut stream = self.client.stream(call).await?;
        let mut done = 0;
        while let Some(chunk) = stream.next().await {
            done += usize::from(chunk?.is_done());
        }
        assert_eq!(done, 1, "one terminal chunk ends a stream");
        stream.into_completion().await
    }

    /// Whether the same client is served again once nothing is wrong. On a connection that is not
    /// kept, since what the proxy does is settled when it accepts.
    pub(crate) async fn recovers(&self, rig: &Rig) {
        rig.set(Framing::Close, Toxic::Clear);
        assert_eq!(self.ask().await.unwrap().text(), TEXT);
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.wire, self.way)
    }
}

pub(crate) fn question() -> Call {
    ChatRequest::new("m").user("hi").into()
}

/// Limits that nothing meets. The connect timeout stays what it is: another one means another HTTP
/// client, which is made when it is first needed and reads the system's certificates.
pub(crate) fn far() -> Timeouts {
    Timeouts::new().first_content(FAR).idle(FAR).total(FAR)
}

/// Waits until the client has closed every connection.
pub(crate) async fn all_closed(rig: &Rig) {
    let limit = after(now(), FAR);
    while rig.proxy.open() > 0 {
        assert!(now() < limit, "{} connections stay open", rig.proxy.open());
        sleep_until(after(now(), Duration::from_millis(1))).await;
    }
}

pub(crate) fn end(error: &Error) -> End {
    match error {
        Error::Deadline { .. } => End::Deadline,
        Error::Interrupted(broken) => End::BrokeOff(broken.error.kind()),
        Error::Exhausted { error, .. } | Error::Refused { error, .. } => End::Failed(error.kind()),
        other => panic!("no endpoint was asked: {other:?}"),
    }
}

/// A breaker would answer in the server's place.
fn never_opens() -> HealthPolicy {
    let mut policy = BreakerPolicy::new();
    policy.consecutive = u32::MAX;
    policy.min_samples = u32::MAX;
    HealthPolicy::Breaker(policy)
}
