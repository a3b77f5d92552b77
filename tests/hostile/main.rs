//! Names, numbers and code of others that mean harm: an error that names the field, or no harm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod code;
mod growth;
mod names;
mod tenants;

use std::sync::Arc;

use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Event, Observer};
use parking_lot::Mutex;

fn answers(id: &str, text: &str) -> ScriptedProvider {
    ScriptedProvider::new(id).forever(Answer::text(text))
}

/// An observer that keeps what it is told, in words.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<String>>);

impl Observer for Notebook {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().push_str(&format!("{event:?}\n"));
    }
}
