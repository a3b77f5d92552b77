//! What must not be read by whoever reads logs, metrics, files or stores: keys, passwords, the secret
//! that instances share, prompts, answers, the arguments of tools, and who the tenants are.
//!
//! Everything that could show one of them is given a canary in its place, and searched for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod configurations;
mod errors;
mod mechanisms;
mod nouns;
mod observers;
mod parts;
mod public_types;
mod snapshots;
#[path = "../source/mod.rs"]
mod source;

use std::error::Error;
use std::fmt::{Debug, Display};

/// Stands in every place that must not be shown.
const CANARY: &str = "canary-7f3a";

/// The same, where 32 bytes are asked for.
const SECRET: [u8; 32] = *b"canary-7f3a-canary-7f3a-canary-7";

/// A public type, by its module and its name, and all that its values say of themselves.
type Shown = (&'static str, String);

fn shown(name: &'static str, it: impl Debug) -> Shown {
    (name, format!("{it:?}\n{it:#?}"))
}

fn told(name: &'static str, it: impl Debug + Display) -> Shown {
    (name, format!("{it:?}\n{it:#?}\n{it}"))
}

/// An error in all its words, those of its causes included.
fn failed(name: &'static str, error: &(dyn Error + 'static)) -> Shown {
    let (mut said, mut next) = (String::new(), Some(error));
    while let Some(cause) = next {
        said.push_str(&format!("{cause:?}\n{cause:#?}\n{cause}\n"));
        next = cause.source();
    }
    (name, said)
}

/// Secrets shown as bytes are shown too.
fn is_clean(said: &str) -> bool {
    let bytes = format!("{:?}", &CANARY.as_bytes()[..4]);
    !said.contains("canary") && !said.contains(bytes.trim_matches(['[', ']']))
}

fn assert_clean(what: &str, said: &str) {
    assert!(is_clean(said), "{what} shows it: {said}");
}
