//! A balancer as a configuration file describes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use crate::balance::balancer::Balancer;
use crate::balance::builder::BalancerBuilder;
use crate::balance::endpoint::Endpoint;
use crate::balance::health::HealthPolicy;
use crate::balance::limits::EndpointLimits;
use crate::balance::model_names;
use crate::balance::strategy::StrategyKind;
use crate::document;
use crate::error::BuildError;
use crate::provider::Provider;
use crate::usage::Price;

/// A balancer, its providers named: to be part of a service's own configuration, in any format
/// that serde reads.
///
/// Everything but each endpoint's provider has a default; keys that are not known are refused.
/// Durations are spelled as in [`duration`](crate::duration), prices as at [`Price`].
///
/// ```
/// use std::sync::Arc;
/// use evenkeel::balance::BalancerConfig;
/// use evenkeel::{ChatResponse, Provider, provider_fn};
///
/// let file = r#"
///     strategy = "adaptive"           # weighted, adaptive, least_busy, affinity or cheapest
///
///     [health.breaker]                # or health.any_recent_error
///     consecutive = 3
///     open_for = "5s"
///
///     [[endpoints]]
///     provider = "main"               # a name your application resolves
///     weight = 3
///     models = { smart = "vendor-large-2", cheap = "vendor-small-2" }
///     default_model = "smart"
///     price = { input_per_million = 2.5, output_per_million = 10 }
///     prices = { cheap = { input_per_million = 0.15, output_per_million = 0.6 } }
///
///     [endpoints.limits]
///     requests_per_minute = 500
///     tokens_per_minute = 200_000
///     concurrency = 64
///     burst = "5s"
///
///     [[endpoints]]
///     provider = "spare"
///     id = "spare-eu"                 # the provider's name unless given
///     tier = 1
///     models = ["smart"]
/// "#;
///
/// let config = BalancerConfig::from_deserializer(toml::Deserializer::parse(file)?)?;
/// let balancer = config.build(|name| match name {
///     "main" | "spare" => {
///         let provider = provider_fn(name.to_owned(), |_, _| async { Ok(ChatResponse::text_only("hi")) });
///         Some(Arc::new(provider) as Arc<dyn Provider>)
///     }
///     _ => None,
/// })?;
/// assert_eq!(balancer.status(evenkeel::time::now())[1].id, "spare-eu");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BalancerConfig {
    /// How an endpoint is chosen. Default by weight.
    pub strategy: StrategyName,
    /// When an endpoint counts as unhealthy. Default a breaker.
    pub health: HealthPolicy,
    /// The endpoints.
    pub endpoints: Vec<EndpointConfig>,
}

/// The strategies a configuration can name; code has [`StrategyKind`], with strategies of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StrategyName {
    /// [`StrategyKind::Weighted`].
    #[default]
    Weighted,
    /// [`StrategyKind::Adaptive`].
    Adaptive,
    /// [`StrategyKind::LeastBusy`].
    LeastBusy,
    /// [`StrategyKind::Affinity`].
    Affinity,
    /// [`StrategyKind::Cheapest`].
    Cheapest,
}

impl From<StrategyName> for StrategyKind {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::Weighted => Self::Weighted,
            StrategyName::Adaptive => Self::Adaptive,
            StrategyName::LeastBusy => Self::LeastBusy,
            StrategyName::Affinity => Self::Affinity,
            StrategyName::Cheapest => Self::Cheapest,
        }
    }
}

/// An [`Endpoint`] with its provider named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The name of its provider, which the application resolves.
    pub provider: String,
    /// Its id; `None` is the name of its provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the account it uses, as [`Endpoint::account`] has it; `None` is its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its share of the traffic, in proportion to the other weights of its tier. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Its tier; one is used only when none of a lower number is available. Default 0.
    #[serde(default)]
    pub tier: u8,
    /// The models it serves, each with the backend's own name for it; none serves any. Spelled as a
    /// map, or as a list where the names are the same.
    #[serde(default, with = "model_names", skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// The model for calls that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// What the backend allows.
    #[serde(default)]
    pub limits: EndpointLimits,
    /// What its tokens cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What the tokens of single models cost.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
}

const fn one() -> u32 {
    1
}

impl BalancerConfig {
    /// No endpoints yet, and the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a configuration.
    ///
    /// What [`Deserialize`] does, with better errors: they have a path, and do not quote the document,
    /// as some formats' own do. A service that reads it as part of its own configuration can have paths
    /// too, through the `serde_path_to_error` crate.
    ///
    /// # Errors
    /// Names the field at fault by its path, such as `endpoints[2].limits.burst`. Where the document
    /// itself cannot be read, the path is where that was noticed.
    pub fn from_deserializer<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, BuildError> {
        document::read(deserializer)
    }

    /// Builds the balancer. `provider` finds each endpoint's provider by its name; endpoints may
    /// share one.
    ///
    /// # Errors
    /// Names the field at fault by its path: `endpoints[1].provider` where there is no such
    /// provider, and whatever [`BalancerBuilder::build`] refuses.
    pub fn build(
        &self,
        provider: impl FnMut(&str) -> Option<Arc<dyn Provider>>,
    ) -> Result<Balancer, BuildError> {
        self.builder(provider)?.build()
    }

    /// The same up to the building, for what only code can add: an observer, a strategy of your
    /// own, a seed.
    ///
    /// # Errors
    /// `endpoints[1].provider` where there is no such provider.
    pub fn builder(
        &self,
        mut provider: impl FnMut(&str) -> Option<Arc<dyn Provider>>,
    ) -> Result<BalancerBuilder, BuildError> {
        let Self { strategy, health, endpoints } = self;
        let builder = Balancer::builder().strategy((*strategy).into()).health(*health);
        (0..).zip(endpoints).try_fold(builder, |builder, (index, endpoint): (usize, _)| {
            let found = provider(&endpoint.provider).ok_or_else(|| endpoint.unknown(index))?;
            Ok(builder.endpoint(endpoint.endpoint(found)))
        })
    }
}

impl EndpointConfig {
    /// An endpoint of the provider of that name, and the defaults.
    pub fn new(provider: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            id: None,
            account: None,
            weight: one(),
            tier: 0,
            models: BTreeMap::new(),
            default_model: None,
            limits: EndpointLimits::default(),
            price: None,
            prices: BTreeMap::new(),
        }
    }

    /// The endpoint over its provider: to be [added](Balancer::add) to a running balancer or
    /// [replace](Balancer::replace) one of it, when a configuration is loaded anew.
    pub fn endpoint(&self, provider: Arc<dyn Provider>) -> Endpoint {
        let id = self.id.as_deref().unwrap_or(&self.provider);
        let endpoint = Endpoint::shared(provider)
            .with_id(id)
            .weight(self.weight)
            .tier(self.tier)
            .limits(self.limits);
        let account = self.account.as_deref().into_iter();
        let endpoint = account.fold(endpoint, Endpoint::account);
        let models = self.models.iter();
        let endpoint = models.fold(endpoint, |endpoint, (model, upstream)| {
            endpoint.map_model(model.as_str(), upstream.as_str())
        });
        let prices = self.prices.iter();
        let endpoint = prices.fold(endpoint, |endpoint, (model, price)| {
            endpoint.model_price(model.as_str(), *price)
        });
        let endpoint = self.price.into_iter().fold(endpoint, Endpoint::price);
        self.default_model.iter().fold(endpoint, Endpoint::default_model)
    }

    fn unknown(&self, index: usize) -> BuildError {
        let reason = format!("there is no provider {:?}", self.provider);
        BuildError::new(format!("endpoints[{index}].provider"), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::provider_fn;
    use crate::response::ChatResponse;
    use crate::time::now;
    use std::time::Duration;

    fn known(name: &str) -> Option<Arc<dyn Provider>> {
        let answer = |_, _| async { Ok(ChatResponse::text_only("hi")) };
        (name != "unknown")
            .then(|| Arc::new(provider_fn(name.to_owned(), answer)) as Arc<dyn Provider>)
    }

    fn read(text: &str) -> Result<BalancerConfig, BuildError> {
        let deserializer = toml::Deserializer::parse(text);
        let deserializer = deserializer.map_err(|error| BuildError::new("", error.to_string()))?;
        BalancerConfig::from_deserializer(deserializer)
    }

    /// What is wrong with a file, whether it shows when it is read or when it is built.
    fn fault(text: &str) -> (String, String) {
        let error = read(text).and_then(|config| config.build(known).map(drop)).unwrap_err();
        (error.field().to_owned(), error.reason().to_owned())
    }

    /// A file with a valid endpoint, and another one with `lines`.
    fn second(lines: &str) -> String {
        format!("[[endpoints]]\nprovider = \"a\"\n[[endpoints]]\nprovider = \"b\"\n{lines}")
    }

    fn everything() -> BalancerConfig {
        let mut full = EndpointConfig::new("main");
        full.id = Some("main-eu".into());
        full.account = Some("main/2".into());
        (full.weight, full.tier) = (3, 2);
        full.models = [("smart", "vendor-large-2"), ("cheap", "cheap")]
            .map(|(model, upstream)| (model.into(), upstream.into()))
            .into();
        full.default_model = Some("cheap".into());
        full.limits = EndpointLimits::new()
            .requests_per_minute(500)
            .tokens_per_minute(200_000)
            .input_tokens_per_minute(150_000)
            .output_tokens_per_minute(50_000)
            .concurrency(64)
            .burst(Duration::from_millis(5_500));
        full.price = Some(Price::per_million(2.5, 10.0).with_cached_input(1_250));
        full.prices = [("cheap".to_owned(), Price::new(150, 600))].into();
        let mut list = EndpointConfig::new("spare");
        list.models = [("smart".to_owned(), "smart".to_owned())].into();
        BalancerConfig {
            strategy: StrategyName::LeastBusy,
            health: HealthPolicy::AnyRecentError { recovery: Duration::from_secs(90) },
            endpoints: vec![full, list, EndpointConfig::new("any")],
        }
    }

    #[test]
    fn an_endpoint_needs_no_more_than_a_provider() {
        let config = read("[[endpoints]]\nprovider = \"a\"").unwrap();
        assert_eq!(config.endpoints, [EndpointConfig::new("a")]);
        assert_eq!((config.strategy, config.health), Default::default());
        let status = &config.build(known).unwrap().status(now())[0];
        assert_eq!((status.id.as_str(), status.weight, status.tier), ("a", 1, 0));
    }

    #[test]
    fn what_is_written_is_read_back_in_either_format() {
        for health in [everything().health, HealthPolicy::default()] {
            let config = BalancerConfig { health, ..everything() };
            let json = serde_json::to_string(&config).unwrap();
            let mut deserializer = serde_json::Deserializer::from_str(&json);
            assert_eq!(BalancerConfig::from_deserializer(&mut deserializer).unwrap(), config);
            let toml = toml::Value::try_from(&config).unwrap();
            assert_eq!(BalancerConfig::from_deserializer(toml).unwrap(), config);
        }
        let json = serde_json::to_value(everything()).unwrap();
        assert_eq!(json["endpoints"][1]["models"], serde_json::json!(["smart"]));
        assert_eq!(json["health"], serde_json::json!({"any_recent_error": {"recovery": "1m30s"}}));
    }

    #[test]
    fn every_setting_reaches_the_endpoint() {
        let config = &everything().endpoints[0];
        let endpoint = config.endpoint(known("main").unwrap());
        let models: Vec<_> =
            endpoint.models().map(|(model, name)| (model.to_owned(), name.to_string())).collect();
        assert_eq!(models, config.models.clone().into_iter().collect::<Vec<_>>());
        assert_eq!((endpoint.id().as_str(), endpoint.account_name()), ("main-eu", "main/2"));
        assert_eq!((endpoint.share(), endpoint.tier_number()), (3, 2));
        assert_eq!(*endpoint.declared(), config.limits);
        assert_eq!(endpoint.default_slot(), Some(0));
        assert_eq!(endpoint.price_of(Some("smart")), config.price);
        assert_eq!(endpoint.price_of(Some("cheap")), Some(Price::new(150, 600)));
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named_by_its_path() {
        for (lines, path, reason) in [
            ("weigth = 1", "endpoints[1].weigth", "unknown field"),
            ("weight = -1", "endpoints[1].weight", "-1"),
            ("weight = 5_000_000_000", "endpoints[1].weight", "5000000000"),
            ("tier = 256", "endpoints[1].tier", "256"),
            ("models = 3", "endpoints[1].models", "a list of model names"),
            ("models = [\"m\", 3]", "endpoints[1].models[1]", "expected a string"),
            ("models = [\"m\", \"m\"]", "endpoints[1].models", "\"m\" is named twice"),
            ("models = { m = 3 }", "endpoints[1].models.m", "expected a string"),
            ("limits.burst = \"soon\"", "endpoints[1].limits.burst", "no duration"),
            ("limits.rpm = 3", "endpoints[1].limits.rpm", "unknown field"),
            ("price.input = 3", "endpoints[1].price", "output is missing"),
            ("price.input_per_million = nan", "endpoints[1].price.input_per_million", "from 0"),
            ("prices.m.output = \"3\"", "endpoints[1].prices.m.output", "expected u64"),
        ] {
            let (at, why) = fault(&second(lines));
            assert!(at == path && why.contains(reason), "{lines}: {at}: {why}");
        }
        for (file, path, reason) in [
            ("[[endpoints]]\nid = \"a\"", "endpoints[0]", "missing field `provider`"),
            ("strategy = \"fastest\"", "strategy", "unknown variant `fastest`"),
            ("health.breaker.window = -1", "health.breaker.window", "negative"),
            ("health.breaker.probe = 1", "health.breaker.probe", "unknown field"),
            (
                "health.any_recent_error.recovery = \"\"",
                "health.any_recent_error.recovery",
                "empty",
            ),
            ("health = { breaker = {}, any_recent_error = {} }", "health", "exclude each other"),
            ("endpoint = []", "endpoint", "unknown field"),
        ] {
            let (at, why) = fault(file);
            assert!(at == path && why.contains(reason), "{file}: {at}: {why}");
        }
    }

    #[test]
    fn a_field_that_makes_no_sense_is_named_by_the_same_path() {
        for (lines, path) in [
            ("provider = \"unknown\"", "endpoints[1].provider"),
            ("id = \"\"", "endpoints[1].id"),
            ("id = \"a\"", "endpoints[1].id"),
            ("models = [\"\"]", "endpoints[1].models"),
            ("models = { m = \"\" }", "endpoints[1].models.m"),
            ("models = [\"m\"]\ndefault_model = \"n\"", "endpoints[1].default_model"),
            ("prices.n = { input = 1, output = 1 }", "endpoints[1].prices"),
            ("limits.burst = 61", "endpoints[1].limits.burst"),
            ("limits.concurrency = 0", "endpoints[1].limits.concurrency"),
            ("limits.tokens_per_minute = 0", "endpoints[1].limits.tokens_per_minute"),
            ("tier = 1\nweight = 0", "endpoints.weight"),
        ] {
            let lines = match lines.strip_prefix("provider") {
                Some(_) => second("").replace("provider = \"b\"", lines),
                None => second(lines),
            };
            assert_eq!(fault(&lines).0, path, "{lines}");
        }
        for (line, path) in [
            ("health.breaker.consecutive = 0", "health.breaker.consecutive"),
            ("health.breaker.fault_share = 1.5", "health.breaker.fault_share"),
            ("health.breaker.fault_share = nan", "health.breaker.fault_share"),
            ("health.breaker.max_ejected = -0.5", "health.breaker.max_ejected"),
            ("health.any_recent_error.recovery = 0", "health.any_recent_error.recovery"),
        ] {
            assert_eq!(fault(&format!("{line}\n{}", second(""))).0, path);
        }
        assert_eq!(fault("").0, "endpoints");
    }

    #[test]
    fn code_adds_what_a_file_cannot_hold() {
        let config = read(&second("")).unwrap();
        let builder = config.builder(known).unwrap().strategy(StrategyKind::Adaptive).seed(1);
        assert_eq!(builder.build().unwrap().status(now()).len(), 2);
        let shared = known("one").unwrap();
        let both = config.build(|_| Some(Arc::clone(&shared))).unwrap();
        assert_eq!(both.status(now()).len(), 2, "endpoints may share a provider");
    }
}
