//! Which model takes over where another one cannot serve a call.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::balance::Balancer;
use crate::error::{BuildError, ErrorKind};

/// The models that take over, in order, when calls for one model cannot be served with it.
///
/// A call follows the chain of the model it names, and of no other: a fallback's own chain is not
/// its business. Each model of the chain is tried once, with all its endpoints and as many attempts
/// as a call may make; the deadline is one for all. Content commits a call to its model as it does
/// to its endpoint. Calls that name no model have no chain.
///
/// ```
/// use evenkeel::client::{Fallback, FallbackOn};
/// # use evenkeel::{ChatResponse, Endpoint, LlmClient, provider_fn};
/// # let provider = provider_fn("eu", |_, _| async { Ok(ChatResponse::text_only("hi")) });
///
/// let client = LlmClient::builder()
///     .endpoint(Endpoint::new(provider).model("quick").model("long").model("spare"))
///     .fallback(Fallback::new("quick").to("long").to("spare"))
///     .fallback(Fallback::new("spare").to("long").on(FallbackOn::ContextLength))
///     .build()?;
/// # Ok::<(), evenkeel::BuildError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Fallback {
    model: String,
    to: Vec<String>,
    /// Empty is all of them.
    #[serde(default)]
    on: Vec<FallbackOn>,
}

/// What a fallback model takes over for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FallbackOn {
    /// The request does not fit the model's context window.
    ContextLength,
    /// The backend's content filter refused the request.
    ContentFilter,
    /// No endpoint serves the model, or none is available, or every attempt that was allowed
    /// failed.
    Unavailable,
}

impl Fallback {
    /// A chain for calls that name `model`, without fallbacks yet, for every reason.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), to: Vec::new(), on: Vec::new() }
    }

    /// Adds the model that takes over after those before it.
    pub fn to(mut self, model: impl Into<String>) -> Self {
        self.to.push(model.into());
        self
    }

    /// Follows the chain for this reason. The first use switches off the reasons it does not name;
    /// further ones add to it.
    pub fn on(mut self, reason: FallbackOn) -> Self {
        self.on.push(reason);
        self
    }
}

impl FallbackOn {
    /// The reason a failure of this kind is, if it is one.
    pub(super) const fn of(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::ContextLength => Some(Self::ContextLength),
            ErrorKind::ContentFilter => Some(Self::ContentFilter),
            _ => None,
        }
    }

    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A client's chains, by the model they start from.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    chains: BTreeMap<Arc<str>, Chain>,
}

#[derive(Debug)]
struct Chain {
    to: Vec<Arc<str>>,
    on: Vec<FallbackOn>,
}

impl Fallbacks {
    /// # Errors
    /// Names the chain at fault: one without fallbacks, a model twice in a chain, two chains for a
    /// model, a model that no endpoint serves.
    pub(super) fn new(chains: Vec<Fallback>, balancer: &Balancer) -> Result<Self, BuildError> {
        let mut by_model = BTreeMap::new();
        for (index, chain) in chains.into_iter().enumerate() {
            let path = format!("fallbacks[{index}]");
            validate(&chain, &path, balancer)?;
            let Fallback { model, to, on } = chain;
            let reason = format!("{model:?} has a chain already");
            let chain = Chain { to: to.into_iter().map(Arc::from).collect(), on };
            if by_model.insert(model.into(), chain).is_some() {
                return Err(BuildError::new(format!("{path}.model"), reason));
            }
        }
        Ok(Self { chains: by_model })
    }

    /// The models that may take over in a call for `model`.
    pub(super) fn of(&self, model: Option<&str>) -> &[Arc<str>] {
        model.and_then(|model| self.chains.get(model)).map_or(&[], |chain| &chain.to)
    }

    /// The model that takes over for `reason` in a call for `model`, after `left` fallbacks were
    /// left as well.
    pub(super) fn next(
        &self,
        model: Option<&str>,
        left: usize,
        reason: FallbackOn,
    ) -> Option<&Arc<str>> {
        let chain = self.chains.get(model?)?;
        let follows = chain.on.is_empty() || chain.on.contains(&reason);
        chain.to.get(left).filter(|_| follows)
    }
}

fn validate(chain: &Fallback, path: &str, balancer: &Balancer) -> Result<(), BuildError> {
    if chain.to.is_empty() {
        return Err(BuildError::new(format!("{path}.to"), "must name at least one model"));
    }
    let mut seen = HashSet::new();
    for (field, model) in fields(chain, path) {
        if !seen.insert(model) {
            return Err(BuildError::new(field, format!("{model:?} is in the chain already")));
        }
        if !balancer.serves(model) {
            let reason = format!("unknown model {model:?}: no endpoint serves it");
            return Err(BuildError::new(field, reason));
        }
    }
    Ok(())
}

/// Every model of a chain with the path of its field.
fn fields<'a>(chain: &'a Fallback, path: &str) -> impl Iterator<Item = (String, &'a str)> {
    let start = (format!("{path}.model"), chain.model.as_str());
    let to = chain.to.iter().enumerate();
    let to = to.map(move |(index, model)| (format!("{path}.to[{index}]"), model.as_str()));
    std::iter::once(start).chain(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Retry;

    #[test]
    fn a_chain_is_configured_as_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Fallback>(text);
        let chain = read(r#"{"model":"a","to":["b","c"],"on":["content_filter"]}"#).unwrap();
        assert_eq!(chain, Fallback::new("a").to("b").to("c").on(FallbackOn::ContentFilter));
        assert_eq!(read(r#"{"model":"a","to":["b"]}"#).unwrap(), Fallback::new("a").to("b"));
        assert!(read(r#"{"model":"a","to":["b"],"no":[]}"#).is_err());
    }

    #[test]
    fn what_only_another_model_can_serve_is_a_reason_to_fall_back() {
        for kind in ErrorKind::ALL {
            let verdict = kind.row().retry == Retry::FallbackModel;
            assert_eq!(FallbackOn::of(kind).is_some(), verdict, "{kind}");
        }
    }
}
