//! The messages API of Anthropic, and of the servers that speak it.

mod decode;
mod encode;
#[cfg(test)]
mod laws;
mod stream;

/// The wire's name in [`Part::Opaque`](crate::request::Part::Opaque).
const WIRE: &str = "anthropic";
/// Placeholder.
#[derive(Debug)]
#[non_exhaustive]
pub struct Anthropic;
