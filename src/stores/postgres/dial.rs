//! Making connections.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use tokio_postgres::{Client, Config, Error, NoTls};

use super::fault::Fault;
use super::link::Link;
use super::migration;
use super::sql::Shape;
use crate::time::{after, now, until};

/// What moves a connection's bytes: it has to be polled for anything to happen. Ends with the
/// connection.
pub(super) type Driver = BoxFuture<'static, Result<(), Error>>;

/// How to reach the server, and what is expected there.
pub(super) struct Dialer {
    config: Config,
    timeout: Duration,
    shape: Shape,
}

impl Dialer {
    pub(super) const fn new(config: Config, timeout: Duration, shape: Shape) -> Self {
        Self { config, timeout, shape }
    }

    pub(super) const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A connection to a server whose table is as it is needed.
    pub(super) async fn link(&self) -> Result<(Link, Driver), Fault> {
        let linking = async {
            let (client, mut driver) = self.connect().await?;
            let link = alongside(&mut driver, self.prepare(client)).await?;
            Ok((link, driver))
        };
        self.in_time(linking).await
    }

    /// Brings the table up to date, over a connection of its own.
    pub(super) async fn migrate(&self) -> Result<(), Fault> {
        let (client, mut driver) = self.in_time(self.connect()).await?;
        alongside(&mut driver, migration::run(&client, &self.shape)).await
    }

    async fn connect(&self) -> Result<(Client, Driver), Fault> {
        let connected = self.config.connect(NoTls).await;
        let (client, connection) = connected.map_err(|error| self.fault(&error))?;
        Ok((client, connection.boxed()))
    }

    async fn prepare(&self, client: Client) -> Result<Link, Fault> {
        let iterative = migration::check(&client, &self.shape).await?;
        let link = Link::prepare(client, self.shape.clone(), iterative).await;
        link.map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &Error) -> Fault {
        Fault::of(error, self.timeout)
    }

    async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let connected = until(after(now(), self.timeout), connecting).await;
        connected
            .unwrap_or_else(|| Err(Fault::unreachable("the server accepts and does not answer")))
    }
}

/// `work` over a connection, which is driven meanwhile.
async fn alongside<T>(
    driver: &mut Driver,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    // What was asked fails by itself when the driver is gone.
    match select(driver, Box::pin(work)).await {
        Either::Left((_, work)) => work.await,
        Either::Right((done, _)) => done,
    }
}

/// The configuration may hold a password, so it is not shown.
impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("timeout", &self.timeout)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
