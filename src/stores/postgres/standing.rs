//! Whether there is a connection, and if not, why.

use super::fault::Fault;
use crate::sync::Mutex;

/// How many connections there are, as those who ask look at it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    up: usize,
    why: Option<Fault>,
}

/// A connection that is there, until this is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as broken when this is dropped"]
pub(super) struct Up<'a>(&'a Standing);

impl Standing {
    /// A connection was made.
    pub(super) fn up(&self) -> Up<'_> {
        let mut state = self.state.lock();
        state.up += 1;
        state.why = None;
        Up(self)
    }

    /// An attempt to make one failed. Whether there is none now.
    pub(super) fn failed(&self, why: Fault) -> bool {
        let mut state = self.state.lock();
        state.why = Some(why);
        state.up == 0
    }

    /// What is done about the failure may help: it no longer speaks against asking.
    pub(super) fn forgive(&self) {
        self.state.lock().why = None;
    }

    /// Why there is no connection. `None` where there is one, or nobody has failed to make one yet.
    pub(super) fn fault(&self) -> Option<Fault> {
        let state = self.state.lock();
        if state.up == 0 { state.why.clone() } else { None }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.state.lock().up -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_speaks_against_asking_only_while_there_is_no_connection() {
        let standing = Standing::default();
        assert!(standing.fault().is_none(), "nobody has tried");
        assert!(standing.failed(Fault::unreachable("no")));
        assert!(standing.fault().is_some());
        let up = standing.up();
        assert!(!standing.failed(Fault::unreachable("the second one")));
        assert!(standing.fault().is_none(), "there is another one");
        drop(up);
        assert!(standing.fault().is_some());
        standing.forgive();
        assert!(standing.fault().is_none());
    }
}
