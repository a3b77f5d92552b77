//! Redis and Valkey, one server or a cluster.
//!
//! [`RedisShared`] is how one service reaches them; what it keeps there are parts of it, such as
//! [`RedisQuotaStore`].
//!
//! **One round trip.** Every operation is one script that runs at once or not at all, called by its
//! hash; a server that does not know the script is sent it once. Times are the server's. In a cluster a
//! script reaches one slot only, see [`RedisQuotaStore`].
//!
//! **Failure.** Nothing here waits longer than [`response_timeout`](RedisSharedBuilder::response_timeout);
//! the mechanisms that use the stores have deadlines of their own that are shorter, and a breaker
//! ([`Guarded`](crate::remote::Guarded)). A connection that broke is made anew in the background, and
//! what was asked of it is asked once more: every operation may be asked twice. Starting without a
//! server works; each operation fails until there is one.
//!
//! **What the server sees.** Names of tenants and keys are hashed with the secret, answers are sealed
//! with it, and the secret itself stays here. Whoever can write to the server can still delete what it
//! holds, and so forget what was used.
//!
//! **Which server.** Redis from 5 and Valkey, with its Lua. Use one that evicts nothing for quotas
//! (`maxmemory-policy noeviction`): what is evicted was not used. Answers may live beside, or on another
//! server that evicts ([`answers_at`](RedisSharedBuilder::answers_at)). When a server fails over to a
//! replica, what it admitted and had not replicated yet is forgotten.

mod builder;
mod cache;
mod facts;
mod fault;
mod kept;
mod keys;
mod link;
mod quota;
mod script;
mod shared;

pub use builder::RedisSharedBuilder;
pub use cache::RedisCacheStore;
pub use facts::RedisFactStore;
pub use quota::RedisQuotaStore;
pub use shared::RedisShared;
