//! The seam between the transport and a wire: what a wire makes of the events it receives.

use std::collections::VecDeque;

use crate::chunk::Chunk;
use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::sse;

/// Turns one response's events into chunks. Pure: no clock, no waiting, no socket.
///
/// An error ends the stream, after the chunks pushed before it. Nothing is yielded after
/// [`Chunk::Done`], and a body that ends without it is [`ErrorKind::Interrupted`].
///
/// A decoder that learns the response's id and model pushes one [`Chunk::Start`] with them; the
/// transport adds what the headers said, or makes the whole chunk where the decoder pushes none.
pub(crate) trait StreamDecoder: Send + 'static {
    /// Takes one event. Comments never get here.
    fn event(
        &mut self,
        event: &sse::Event<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError>;

    /// The body ended cleanly without a terminal event. A wire whose servers omit it may push
    /// [`Chunk::Done`] here when it knows that the response is complete.
    fn end(&mut self, _chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        Ok(())
    }

    /// The server answered with a whole JSON body although a stream was asked for. Pushes the
    /// chunks of that answer, its `Done` included, or returns the error that the body holds.
    fn whole(&mut self, _body: &[u8], _chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        Err(ProviderError::new(ErrorKind::Malformed, "an event stream was asked for"))
    }
}
