//! What instances tell one another about the accounts they share.
//!
//! One instance that is told to stay away for a minute, or that the money is gone, can spare all
//! others the same refusal. A [`FactStore`] keeps such facts where every instance reaches them;
//! [`MemoryFactStore`] is the reference, and the suite `testing::conformance::facts` (feature
//! `test-util`) holds any other store to what it does. [`Balancer::share_facts`] makes a balancer
//! tell and listen.
//!
//! **What is shared.** Only what a provider said about an account: rate limits that say until when,
//! overload that does, money that is gone, credentials that are refused. Never what one instance
//! merely suspects: a timeout or a fault may be the instance's own network, and one sick instance
//! must not take an endpoint from all others. No message of a provider, no name of an account and
//! no key reaches the store: accounts are hashed with a secret that the instances have in common.
//!
//! **Trust.** Whoever can write to the store can keep an account from being used, five minutes at a
//! time. What is read is bounded again by each reader, a cooldown is obeyed as if it were its own,
//! and that an account is disabled is verified by one call where no other endpoint is left.
//!
//! **Failure.** A store that does not answer changes nothing: each instance goes on with what it
//! knows, and finds out the rest itself. Nothing on the path of a call waits for it.
//!
//! [`Balancer::share_facts`]: crate::Balancer::share_facts

mod accounts;
mod contract;
mod heard;
mod memory;
mod outbox;
mod sharing;

pub(crate) use accounts::Accounts;
pub use contract::{AccountFact, FactKind, FactStore, MOST_FACTS};
pub(crate) use heard::Heard;
pub use memory::MemoryFactStore;
pub(crate) use sharing::Sharing;
