//! Answers that need not be asked for twice.

pub mod flight;
