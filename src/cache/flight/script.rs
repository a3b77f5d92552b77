//! What the tests of flights are made of: items, wakers that count, and work driven by hand.

#![cfg_attr(evenkeel_loom, allow(dead_code, reason = "the models use a part of it"))]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use futures::stream::Stream;

use crate::cache::flight::{Failure, Piece, Upstream};
use crate::sync::Mutex;

/// An item that knows its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) number: u32,
    weight: usize,
    last: bool,
}

impl Note {
    pub(super) const fn new(number: u32) -> Self {
        Self { number, weight: 0, last: false }
    }

    pub(super) const fn last(number: u32) -> Self {
        Self { number, weight: 0, last: true }
    }

    pub(super) const fn weighing(self, weight: usize) -> Self {
        Self { weight, ..self }
    }
}

impl Piece for Note {
    type Error = &'static str;

    fn bytes(&self) -> usize {
        self.weight
    }

    fn is_last(&self) -> bool {
        self.last
    }
}

/// A waker that counts how often it was woken.
#[derive(Debug, Clone, Default)]
pub(super) struct Bell {
    rings: Arc<Rings>,
}

#[derive(Debug, Default)]
struct Rings(AtomicUsize);

impl Bell {
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.rings))
    }

    pub(super) fn rings(&self) -> usize {
        self.rings.0.load(Ordering::Relaxed)
    }

    /// Whether it was woken since it was last asked.
    pub(super) fn has_rung(&self) -> bool {
        self.rings.0.swap(0, Ordering::Relaxed) > 0
    }
}

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What work does when it is polled.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Give(Note),
    Fail(Failure<&'static str>),
    Panic,
    /// Wakes its waker and has nothing: it gives others their turn.
    Yield,
    End,
}

/// Work that does what the test tells it, when the test tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tap {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    acts: VecDeque<Act>,
    waker: Option<Waker>,
    polls: usize,
    running: usize,
}

impl Tap {
    pub(super) fn with(acts: impl IntoIterator<Item = Act>) -> Self {
        let tap = Self::default();
        tap.inside.lock().acts.extend(acts);
        tap
    }

    /// One more act, and the work is woken.
    pub(super) fn then(&self, act: Act) {
        let waker = {
            let mut inside = self.inside.lock();
            inside.acts.push_back(act);
            inside.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn give(&self, number: u32) {
        self.then(Act::Give(Note::new(number)));
    }

    /// Wakes the work for nothing.
    pub(super) fn disturb(&self) {
        let waker = self.inside.lock().waker.clone();
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn work(&self) -> Upstream<Note> {
        self.inside.lock().running += 1;
        Flow(self.clone()).boxed()
    }

    pub(super) fn polls(&self) -> usize {
        self.inside.lock().polls
    }

    /// How much of its work was not dropped yet.
    pub(super) fn running(&self) -> usize {
        self.inside.lock().running
    }
}

struct Flow(Tap);

impl Stream for Flow {
    type Item = Result<Note, Failure<&'static str>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let act = {
            let mut inside = self.0.inside.lock();
            inside.polls += 1;
            inside.waker = Some(cx.waker().clone());
            inside.acts.pop_front()
        };
        match act {
            None => Poll::Pending,
            Some(Act::Give(note)) => Poll::Ready(Some(Ok(note))),
            Some(Act::Fail(failure)) => Poll::Ready(Some(Err(failure))),
            Some(Act::End) => Poll::Ready(None),
            Some(Act::Panic) => std::panic::resume_unwind(Box::new("told to")),
            Some(Act::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.0.inside.lock().running -= 1;
    }
}
