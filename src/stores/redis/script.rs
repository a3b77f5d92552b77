//! Scripts, called by their hash.

use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind};

use super::link::Link;
use crate::remote::StoreError;

/// A script that runs at once or not at all.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs it with `keys`, which lie in one slot, and the arguments that `arguments` adds: one round
    /// trip, and a second one where the server does not know it yet.
    ///
    /// The whole text is then called, not loaded first: in a cluster that reaches the right server, and
    /// what is called once is known by its hash.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        link: &Link,
        keys: &[String],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, StoreError> {
        let call = |how: &str, which: &str| {
            let mut call = redis::cmd(how);
            call.arg(which).arg(keys.len()).arg(keys);
            arguments(&mut call);
            call
        };
        let known = link.ask(&call("EVALSHA", &self.hash)).await;
        match known {
            Err(error) if is_unknown(&error) => link.read(link.ask(&call("EVAL", self.text)).await),
            answer => link.read(answer),
        }
    }
}

fn is_unknown(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
