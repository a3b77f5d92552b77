//! What the wire providers share: the transport, the event-stream reader, and the pure readings of
//! headers and error bodies.

pub(crate) mod bounds;
pub(crate) mod decoder;
pub(crate) mod sse;
