//! A few connections, and the tasks that work them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::dial::{Dialer, Driver};
use super::fault::Fault;
use super::link::Link;
use super::pace::Pace;
use super::standing::Standing;
use crate::remote::StoreError;
use crate::rng::Rng;
use crate::sync::Mutex;
use crate::time::{after, now, sleep_until, until};

/// Operations that wait for a connection, for each of those; whoever comes later waits outside.
const WAITING: usize = 8;

/// How much longer than the server may work on an operation its answer is waited for. After that the
/// server, or the way to it, is taken for dead.
const GRACE: Duration = Duration::from_secs(1);

/// Something to be done over a connection.
type Job = Box<dyn FnOnce(Arc<Link>) -> BoxFuture<'static, ()> + Send>;

/// Connections that are made when something is first asked.
///
/// Each has a task that makes it, keeps it, and does over it what is asked, one thing at a time. An
/// operation whose future is dropped is not begun any more, or its answer is thrown away, and the
/// connection stays in step. The tasks end with this.
pub(super) struct Lines {
    line: Arc<Line>,
    jobs: mpsc::Sender<Job>,
    tasks: Mutex<JoinSet<()>>,
    connections: usize,
}

/// What the tasks share.
struct Line {
    dialer: Dialer,
    /// Held by the task that connects: one at a time, so that the pauses are those of all.
    pace: AsyncMutex<Pace>,
    again: Notify,
    jobs: AsyncMutex<mpsc::Receiver<Job>>,
    standing: Standing,
}

impl Lines {
    pub(super) fn new(dialer: Dialer, connections: usize) -> Self {
        let (jobs, receiver) = mpsc::channel(connections.saturating_mul(WAITING));
        let line = Line {
            dialer,
            pace: AsyncMutex::new(Pace::new(Rng::from_entropy())),
            again: Notify::new(),
            jobs: AsyncMutex::new(receiver),
            standing: Standing::default(),
        };
        Self { line: Arc::new(line), jobs, tasks: Mutex::default(), connections }
    }

    /// Does `job` over a connection.
    ///
    /// # Errors
    /// What the job fails with, and [`StoreError::Unreachable`] where there is no connection or it
    /// broke meanwhile.
    pub(super) async fn ask<T, F, Fut>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Link>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.start()?;
        if let Some(fault) = self.line.standing.fault() {
            return Err(fault.into());
        }
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |link| Box::pin(done(link, job, reply)));
        let taken = self.jobs.send(job).await.is_ok();
        match answer.await {
            Ok(answer) if taken => answer.map_err(StoreError::from),
            _ => Err(self.broken().into()),
        }
    }

    /// Brings the table up to date, and has the tasks look at it anew.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        self.line.dialer.migrate().await?;
        self.line.standing.forgive();
        self.line.again.notify_one();
        Ok(())
    }

    /// Starts the tasks that are missing: all of them at first, and after a runtime that has ended took
    /// them along.
    fn start(&self) -> Result<(), Fault> {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        if tasks.len() == self.connections {
            return Ok(());
        }
        let runtime = Handle::try_current();
        let runtime = runtime.map_err(|_| Fault::unreachable("there is no tokio runtime"))?;
        while tasks.len() < self.connections {
            tasks.spawn_on(work(Arc::clone(&self.line)), &runtime);
        }
        Ok(())
    }

    fn broken(&self) -> Fault {
        let fault = self.line.standing.fault();
        fault.unwrap_or_else(|| Fault::unreachable("the connection broke or the server hangs"))
    }
}

/// Does a job, unless nobody waits for it any more.
async fn done<T, F, Fut>(link: Arc<Link>, job: F, reply: oneshot::Sender<Result<T, Fault>>)
where
    F: FnOnce(Arc<Link>) -> Fut,
    Fut: Future<Output = Result<T, Fault>>,
{
    if !reply.is_closed() {
        // Whoever asked may have left meanwhile.
        let _ = reply.send(job(link).await);
    }
}

/// One connection after another.
async fn work(line: Arc<Line>) {
    loop {
        let (link, driver) = line.connect().await;
        let _up = line.standing.up();
        line.serve(&Arc::new(link), driver).await;
    }
}

impl Line {
    /// Tries until there is a connection.
    async fn connect(&self) -> (Link, Driver) {
        let mut pace = self.pace.lock().await;
        loop {
            let fault = match self.dialer.link().await {
                Ok(link) => {
                    pace.succeeded();
                    return link;
                }
                Err(fault) => fault,
            };
            if self.standing.failed(fault) {
                self.give_up_waiting();
            }
            let rest = sleep_until(after(now(), pace.failed()));
            select(Box::pin(rest), Box::pin(self.again.notified())).await;
        }
    }

    /// Nobody else takes jobs while there is no connection; those who asked are told why.
    fn give_up_waiting(&self) {
        if let Ok(mut jobs) = self.jobs.try_lock() {
            while jobs.try_recv().is_ok() {}
        }
    }

    /// Does one job after another, until the connection breaks or an answer does not come.
    async fn serve(&self, link: &Arc<Link>, driver: Driver) {
        let serving = Box::pin(async {
            while let Some(job) = self.next().await {
                if until(after(now(), self.patience()), job(Arc::clone(link))).await.is_none() {
                    return;
                }
            }
        });
        match select(driver, serving).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    async fn next(&self) -> Option<Job> {
        self.jobs.lock().await.recv().await
    }

    fn patience(&self) -> Duration {
        self.dialer.shape().patience_for_batches().saturating_add(GRACE)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("dialer", &self.line.dialer)
            .field("connections", &self.connections)
            .field("standing", &self.line.standing)
            .finish_non_exhaustive()
    }
}
