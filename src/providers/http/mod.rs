//! What the wire providers share.
//!
//! | module | what |
//! |---|---|
//! | `transport` | requests to one server, and what its responses come to |
//! | `clients` | the HTTP clients and the redirects they may follow |
//! | `body`, `pull` | bodies within bounds: whole, and as streams of chunks |
//! | `sse`, `decoder` | event streams, and what a wire makes of their events |
//! | `headers`, `classify` | pure readings of headers and of error bodies |
//! | `lenient` | JSON read into what is wanted of it |
//! | `secrets` | keeping keys out of errors |

pub(crate) mod body;
pub(crate) mod bounds;
pub(crate) mod classify;
pub(crate) mod clients;
pub(crate) mod decoder;
pub(crate) mod headers;
pub(crate) mod lenient;
pub(crate) mod pull;
pub(crate) mod secrets;
pub(crate) mod sse;
pub(crate) mod transport;
