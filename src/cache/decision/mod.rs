//! Whether the answer to one question may serve for another.
//!
//! Three rules, from the plainest to the one that promises. [`Decision::Threshold`] looks at the
//! similarity alone. [`Decision::Tiered`] looks at the words as well: what differs in a number, a name
//! or a negation is never served, and the more the words differ the nearer the vectors must be.
//! [`Decision::Calibrated`] starts with the same words and learns how near is near enough, from answers
//! that were fetched anyway; until it can promise, it serves nothing.

mod calibrated;
mod judge;
mod labellers;
mod rule;
mod verifier;

pub(crate) use calibrated::Calibration;
pub use judge::{AnswerJudge, SameText};
pub use rule::Decision;
pub(crate) use rule::Rule;
pub use verifier::{Grey, Verification, Verifier, VerifyWhen};
