//! Pages that explain one subject each, from end to end.

#[doc = include_str!("guide/balancing.md")]
pub mod balancing {}
