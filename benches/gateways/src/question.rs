//! What is asked: a kilobyte, and something new each time, so that no cache answers.

use std::sync::atomic::{AtomicU64, Ordering};

/// The model that is asked for.
pub const MODEL: &str = "gpt-4o-mini";

/// The key that calls carry. Nobody checks it but our own gateway, which is told to.
pub const KEY: &str = "sk-test-gateways";

const PROMPT: usize = 1_000;

/// Questions of one caller, told apart by a number in front.
#[derive(Debug)]
pub struct Questions {
    caller: u64,
    number: u64,
}

impl Questions {
    /// Of a caller who has asked nothing before.
    pub fn new() -> Self {
        static CALLERS: AtomicU64 = AtomicU64::new(0);
        Self { caller: CALLERS.fetch_add(1, Ordering::Relaxed), number: 0 }
    }

    /// The next prompt.
    pub fn prompt(&mut self) -> String {
        self.number += 1;
        let mut prompt = format!("{:08x} {:016x} ", self.caller, self.number);
        prompt.extend(std::iter::repeat_n("why is the sky blue? ", PROMPT / 21));
        prompt
    }

    /// The next prompt in a request's body. Nothing in it needs escaping.
    pub fn body(&mut self) -> String {
        format!(
            r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"{}"}}]}}"#,
            self.prompt()
        )
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_json_and_new() {
        let (mut one, mut other) = (Questions::new(), Questions::new());
        let bodies = [one.body(), one.body(), other.body()];
        assert!(bodies[0] != bodies[1] && bodies[0] != bodies[2] && bodies[1] != bodies[2]);
        for body in bodies {
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert!(json["messages"][0]["content"].as_str().unwrap().len() > 900);
        }
    }
}
