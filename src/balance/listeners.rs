//! Who is told that a lease may be had which could not be had before.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::sync::{AtomicBool, Ordering};

type Listener = dyn Fn() + Send + Sync;

/// Keeps a listener of [`Balancer::subscribe`](super::Balancer::subscribe); dropping it ends the
/// subscription. A call of the listener that is running on another thread then still ends.
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription {
    listener: Arc<Listener>,
    /// Gone with the balancer, after which nobody is told anything.
    listeners: Weak<List>,
}

/// The listeners of a balancer.
#[derive(Default)]
pub(crate) struct Listeners {
    list: Arc<List>,
}

#[derive(Default)]
struct List {
    /// Whether there has ever been one: what a lease's end asks first.
    any: AtomicBool,
    all: ArcSwap<Vec<Weak<Listener>>>,
}

impl Listeners {
    pub(crate) fn add(&self, listener: impl Fn() + Send + Sync + 'static) -> Subscription {
        let listener: Arc<Listener> = Arc::new(listener);
        self.list.all.rcu(|all| {
            let mut all = alive(all);
            all.push(Arc::downgrade(&listener));
            all
        });
        // Relaxed: only what happens after the subscription is promised to be told.
        self.list.any.store(true, Ordering::Relaxed);
        Subscription { listener, listeners: Arc::downgrade(&self.list) }
    }

    /// Tells them, unless there are none. Must not be called under a lock of the balancer's: they
    /// may ask for a lease. A panic in one of them is its own affair, for the others have to be told
    /// all the same, and a lease may end while its caller unwinds.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.list.any.load(Ordering::Relaxed) {
            self.list.tell();
        }
    }
}

impl List {
    #[cold]
    fn tell(&self) {
        for listener in self.all.load().iter().filter_map(Weak::upgrade) {
            let _ = catch_unwind(AssertUnwindSafe(|| listener()));
        }
    }
}

fn alive(all: &[Weak<Listener>]) -> Vec<Weak<Listener>> {
    all.iter().filter(|listener| listener.strong_count() > 0).cloned().collect()
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(list) = self.listeners.upgrade() {
            let own = Arc::downgrade(&self.listener);
            let others = |all: &Arc<Vec<_>>| {
                alive(all)
                    .into_iter()
                    .filter(|other| !Weak::ptr_eq(other, &own))
                    .collect::<Vec<_>>()
            };
            list.all.rcu(others);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("count", &self.list.all.load().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;

    fn counting() -> (Arc<AtomicU32>, impl Fn() + Send + Sync + 'static) {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        (told, move || {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_subscription_ends_with_its_drop_and_leaves_nothing_behind() {
        let listeners = Listeners::default();
        let (told, listener) = counting();
        let (others, other) = counting();
        let subscription = listeners.add(listener);
        let _other = listeners.add(other);
        listeners.tell();
        drop(subscription);
        listeners.tell();
        assert_eq!((told.load(Ordering::Relaxed), others.load(Ordering::Relaxed)), (1, 2));
        assert_eq!(listeners.list.all.load().len(), 1);
        assert_eq!(Arc::strong_count(&told), 1, "the listener is dropped");
    }

    #[test]
    fn a_listener_that_panics_keeps_nobody_else_from_being_told() {
        let listeners = Listeners::default();
        let (told, listener) = counting();
        let _faulty = listeners.add(|| panic!("a listener's own bug"));
        let _sound = listeners.add(listener);
        listeners.tell();
        listeners.tell();
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_listener_may_subscribe_and_end_its_own_subscription() {
        let listeners = Arc::new(Listeners::default());
        let own = Arc::new(crate::sync::Mutex::new(None));
        let inner = (Arc::clone(&listeners), Arc::clone(&own));
        *own.lock() = Some(listeners.add(move || {
            let (listeners, own) = &inner;
            let next = listeners.add(|| {});
            let before = own.lock().replace(next);
            drop(before);
        }));
        listeners.tell();
        listeners.tell();
        assert_eq!(listeners.list.all.load().len(), 1);
    }
}
