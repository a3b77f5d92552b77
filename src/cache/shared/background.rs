//! The one place where the cache starts a task.
//!
//! Everything else happens while a call is polled. Two things cannot: what a call leaves to be written
//! when it is over, and the renewal of a lead while its answer streams to somebody who reads slowly.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs `work` beside the calls; `None` outside of a runtime. For work that no caller waits for and
/// that ends by itself: whoever starts it sees to that.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
    Handle::try_current().ok().map(|runtime| runtime.spawn(work))
}
