//! A provider's work, from which no panic escapes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::error::ProviderError;
use crate::provider::panicked;

/// Work of a provider. A panic in it is its failure, whether it comes before there is a future, from
/// the future, or from what is dropped with it when nobody waits for it any more.
pub(super) struct Contained<'a, T> {
    /// `None` once it has ended. An error where not even a future came of it.
    work: Option<Result<BoxFuture<'a, Result<T, ProviderError>>, ProviderError>>,
}

impl<'a, T> Contained<'a, T> {
    pub(super) fn new(start: impl FnOnce() -> BoxFuture<'a, Result<T, ProviderError>>) -> Self {
        let started = catch_unwind(AssertUnwindSafe(start));
        Self { work: Some(started.map_err(|payload| panicked(&*payload))) }
    }

    fn end(&mut self) {
        if let Some(work) = self.work.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
    }
}

impl<T> Future for Contained<'_, T> {
    type Output = Result<T, ProviderError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.work {
            // It is dropped after a panic, so nothing sees the state it left behind.
            Some(Ok(work)) => catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)))
                .unwrap_or_else(|payload| Poll::Ready(Err(panicked(&*payload)))),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => Poll::Pending,
        };
        if polled.is_ready() {
            self.end();
        }
        polled
    }
}

impl<T> Drop for Contained<'_, T> {
    fn drop(&mut self) {
        self.end();
    }
}
