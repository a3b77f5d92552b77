//! An endpoint as its operator configures it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::balance::limits::EndpointLimits;
use crate::error::BuildError;
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::usage::Price;

/// A provider with its place in the balancer: id, weight, tier and the models it serves.
///
/// ```
/// use evenkeel::{ChatResponse, Endpoint, provider_fn};
///
/// let provider = provider_fn("eu", |_, _| async { Ok(ChatResponse::text_only("hi")) });
/// let endpoint = Endpoint::new(provider)
///     .weight(3)
///     .model("smart")
///     .map_model("cheap", "vendor-small-2");
/// assert_eq!(endpoint.id().as_str(), "eu");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Endpoint {
    provider: Arc<dyn Provider>,
    /// The provider's own id, asked once: it is the application's code.
    provider_id: Arc<str>,
    id: EndpointId,
    account: Option<Arc<str>>,
    weight: u32,
    tier: u8,
    models: BTreeMap<String, Option<Arc<str>>>,
    default_model: Option<String>,
    limits: EndpointLimits,
    price: Option<Price>,
    prices: BTreeMap<String, Price>,
}

impl Endpoint {
    /// An endpoint with the provider's id, weight 1 and tier 0 that serves any model.
    pub fn new(provider: impl Provider) -> Self {
        Self::shared(Arc::new(provider))
    }

    /// The same for a provider that others hold too. [Replacing](super::Balancer::replace) an
    /// endpoint recognises a provider that stays the same.
    pub fn shared(provider: Arc<dyn Provider>) -> Self {
        let provider_id: Arc<str> = provider.id().into();
        Self {
            id: EndpointId::new(Arc::clone(&provider_id)),
            provider,
            provider_id,
            account: None,
            weight: 1,
            tier: 0,
            models: BTreeMap::new(),
            default_model: None,
            limits: EndpointLimits::default(),
            price: None,
            prices: BTreeMap::new(),
        }
    }

    /// Names it; needed where one provider type serves several endpoints.
    pub fn with_id(mut self, id: impl Into<EndpointId>) -> Self {
        self.id = id.into();
        self
    }

    /// Names the account it uses at the provider, for what instances
    /// [tell one another](super::Balancer::share_facts): endpoints of one name, in this balancer and
    /// in those of all other instances, get each other's rate limits and refused credentials. The
    /// endpoint's id, unless set.
    ///
    /// A new key deserves a new name: instances that still have the old one would go on reporting it
    /// as refused. The name leaves the process as a hash.
    pub fn account(mut self, name: impl Into<Arc<str>>) -> Self {
        self.account = Some(name.into());
        self
    }

    /// Sets its share of the traffic, in proportion to the other weights of its tier. An endpoint
    /// of weight 0 gets none, like one that drains, until it is
    /// [reweighted](super::Balancer::reweight).
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets its tier. A tier is used only when no endpoint of a lower number is available.
    pub fn tier(mut self, tier: u8) -> Self {
        self.tier = tier;
        self
    }

    /// Serves `model` under its own name. An endpoint that names no model serves any.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.models.insert(model.into(), None);
        self
    }

    /// Serves the logical `model` as `upstream`, the backend's own name for it.
    pub fn map_model(mut self, model: impl Into<String>, upstream: impl Into<Arc<str>>) -> Self {
        self.models.insert(model.into(), Some(upstream.into()));
        self
    }

    /// Sets the model for calls that name none. Where the endpoint names one model and no default,
    /// that one is it; where it names none or several, the provider decides, and such calls have
    /// their limits and rests apart from those of the named models.
    pub fn default_model(mut self, model: impl Into<String>) -> Self {
        self.default_model = Some(model.into());
        self
    }

    /// Declares what the backend allows.
    pub fn limits(mut self, limits: EndpointLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what its tokens cost.
    pub fn price(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// Sets what the tokens of one of its models cost.
    pub fn model_price(mut self, model: impl Into<String>, price: Price) -> Self {
        self.prices.insert(model.into(), price);
        self
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &EndpointId {
        &self.id
    }

    pub(crate) fn validate(&self, path: &str) -> Result<(), BuildError> {
        if self.id.as_str().is_empty() {
            return Err(BuildError::new(format!("{path}.id"), "must not be empty"));
        }
        if self.id.as_str().contains(char::is_control) {
            // It is in logs and errors as it is.
            return Err(BuildError::new(format!("{path}.id"), "has control characters"));
        }
        if self.account_name().is_empty() {
            return Err(BuildError::new(format!("{path}.account"), "must not be empty"));
        }
        if self.models.keys().any(String::is_empty) {
            return Err(BuildError::new(format!("{path}.models"), "a model's name is empty"));
        }
        let nameless = |(_, upstream): &(_, &Option<Arc<str>>)| upstream.as_deref() == Some("");
        if let Some((model, _)) = self.models.iter().find(nameless) {
            let field = format!("{path}.models.{model}");
            return Err(BuildError::new(field, "the backend's name for it is empty"));
        }
        let unknown = |field, model: &str| {
            let reason = format!("unknown model {model:?}: it is not among the endpoint's models");
            BuildError::new(format!("{path}.{field}"), reason)
        };
        if let Some(model) = self.default_model.as_deref().filter(|model| !self.serves(model)) {
            return Err(unknown("default_model", model));
        }
        if let Some(model) = self.prices.keys().find(|model| !self.models.contains_key(*model)) {
            return Err(unknown("prices", model));
        }
        self.limits.validate(&format!("{path}.limits"))
    }

    pub(crate) fn serves(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.contains_key(model)
    }

    pub(crate) fn account_name(&self) -> &str {
        self.account.as_deref().unwrap_or_else(|| self.id.as_str())
    }

    pub(crate) fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    pub(crate) const fn provider_id(&self) -> &Arc<str> {
        &self.provider_id
    }

    pub(crate) const fn declared(&self) -> &EndpointLimits {
        &self.limits
    }

    /// The price of a model it names, or of the rest.
    pub(crate) fn price_of(&self, model: Option<&str>) -> Option<Price> {
        model.and_then(|model| self.prices.get(model).copied()).or(self.price)
    }

    pub(crate) const fn share(&self) -> u32 {
        self.weight
    }

    pub(crate) const fn tier_number(&self) -> u8 {
        self.tier
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    /// The models it names, in order, each with the backend's name for it. The position of a model
    /// is its slot; a model that is not named has none.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, Arc<str>)> {
        self.models.iter().map(|(model, upstream)| {
            (model.as_str(), upstream.clone().unwrap_or_else(|| model.as_str().into()))
        })
    }

    /// The slot of the model for calls that name none.
    pub(crate) fn default_slot(&self) -> Option<usize> {
        match &self.default_model {
            Some(default) => self.models.keys().position(|model| model == default),
            None => (self.models.len() == 1).then_some(0),
        }
    }

    /// The default model's name where it is none of the named ones.
    pub(crate) fn unnamed_default(&self) -> Option<Arc<str>> {
        self.default_model.as_deref().filter(|_| self.models.is_empty()).map(Arc::from)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider: _, provider_id: _, id, account, weight, tier, models, .. } = self;
        let Self { default_model, limits, price, prices, .. } = self;
        f.debug_struct("Endpoint")
            .field("id", id)
            .field("account", account)
            .field("weight", weight)
            .field("tier", tier)
            .field("models", models)
            .field("default_model", default_model)
            .field("limits", limits)
            .field("price", price)
            .field("prices", prices)
            .finish_non_exhaustive()
    }
}
