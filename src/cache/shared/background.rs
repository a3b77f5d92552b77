//! The one place where the cache starts a task.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs `work` beside the calls; `None` outside of a runtime. For work that no caller waits for and
/// that ends by itself: whoever starts it sees to that.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
    Handle::try_current().ok().map(|runtime| runtime.spawn(work))
}
