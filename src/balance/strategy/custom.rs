//! Strategies of users.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::balance::strategy::candidate::Candidates;

/// A strategy of your own.
///
/// It is asked on the path of every attempt, so it should be quick, and it must not block. What it
/// returns is a wish: a position that does not exist or is not open to the call, `None`, and a panic
/// all leave the choice to the weights, so that a mistake in it never loses a call.
///
/// ```
/// use evenkeel::balance::{Balancer, Candidates, Strategy, StrategyKind};
/// use evenkeel::{ChatResponse, Endpoint, provider_fn};
///
/// /// Everything goes to the endpoint in our own building while it can take it.
/// struct HomeFirst;
///
/// impl Strategy for HomeFirst {
///     fn choose(&self, candidates: &Candidates<'_>) -> Option<usize> {
///         candidates.iter().position(|candidate| {
///             candidate.is_open() && candidate.id() == "home" && candidate.in_flight() < 4
///         })
///     }
/// }
///
/// # let provider = || provider_fn("p", |_, _| async { Ok(ChatResponse::text_only("hi")) });
/// let balancer = Balancer::builder()
///     .endpoint(Endpoint::new(provider()).with_id("home"))
///     .endpoint(Endpoint::new(provider()).with_id("away"))
///     .strategy(StrategyKind::custom(HomeFirst))
///     .build()?;
/// # Ok::<(), evenkeel::BuildError>(())
/// ```
pub trait Strategy: Send + Sync + 'static {
    /// The position of the endpoint to use.
    fn choose(&self, candidates: &Candidates<'_>) -> Option<usize>;
}

pub(super) fn choose(strategy: &dyn Strategy, candidates: &Candidates<'_>) -> Option<usize> {
    let choice = catch_unwind(AssertUnwindSafe(|| strategy.choose(candidates))).ok().flatten()?;
    candidates.get(choice).filter(|candidate| candidate.is_open()).map(|_| choice)
}
