//! Requests to one server, and what its responses come to.

use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::chunk::{ChunkStart, ChunkStream};
use crate::error::{BuildError, ErrorKind, ProviderError};
use crate::provider::CallContext;
use crate::providers::http::body::{self, Body};
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::clients::Clients;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::secrets::Secrets;
use crate::providers::http::{classify, clients, headers, pull};
use crate::rate_limits::RateLimits;
use crate::response::ChatResponse;
use crate::time;

/// How long the body of an error is waited for. What has not come by then is not worth a slot.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// How to reach a server. What is wrong with it is found by [`Transport::new`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// Such as `https://api.example.com/v1`.
    pub base_url: String,
    /// Added to every URL.
    pub query: Vec<(String, String)>,
    /// Sent with every request, never shown.
    pub headers: Vec<(String, SecretString)>,
    pub bounds: HttpBounds,
    /// Whether keys and prompts may cross a network in the clear.
    pub plain_http: bool,
}

impl Config {
    pub(crate) fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..Self::default() }
    }

    pub(crate) fn header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into().into()));
    }
}

/// Sends requests to one server with one set of headers.
///
/// No retries, no time limit on the whole: those are the caller's. Dropping a future or a stream
/// drops the connection it reads.
#[derive(Debug)]
pub(crate) struct Transport {
    clients: Clients,
    base: Url,
    headers: HeaderMap,
    secrets: Secrets,
    bounds: HttpBounds,
}

/// What an answer's headers said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    pub request_id: Option<String>,
    pub rate_limits: Option<RateLimits>,
}

impl Meta {
    pub(crate) fn note_in(self, response: &mut ChatResponse) {
        response.request_id = self.request_id;
        response.rate_limits = self.rate_limits;
    }

    pub(crate) fn note_in_error(&self, error: ProviderError) -> ProviderError {
        let error = match &self.request_id {
            Some(id) => error.with_request_id(id.clone()),
            None => error,
        };
        match self.rate_limits {
            Some(limits) => error.with_rate_limits(limits),
            None => error,
        }
    }

    pub(crate) fn note_in_start(self, start: &mut ChunkStart) {
        start.request_id = self.request_id;
        start.rate_limits = self.rate_limits.map(Box::new);
    }
}

/// What of an attempt concerns its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub connect_timeout: Duration,
    pub idempotency_key: Option<&'a str>,
}

impl<'a> From<&'a CallContext> for Attempt<'a> {
    fn from(cx: &'a CallContext) -> Self {
        Self { connect_timeout: cx.connect_timeout, idempotency_key: cx.idempotency_key.as_deref() }
    }
}

impl Default for Attempt<'_> {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(10), idempotency_key: None }
    }
}

impl Transport {
    /// Checks `config` and builds the first client, so that a broken TLS set-up shows here.
    pub(crate) fn new(config: Config) -> Result<Self, BuildError> {
        let base = base_url(&config)?;
        let mut secrets = Secrets::default();
        let mut headers = HeaderMap::new();
        for (name, value) in config.headers {
            let (name, text) = header_pair(&name, value.expose_secret())?;
            if is_secret(&name) {
                let bare = value.expose_secret().trim_start_matches("Bearer ");
                secrets.add(bare.into());
            }
            headers.insert(name, text);
        }
        let clients = Clients::new(&base);
        clients
            .get(Attempt::default().connect_timeout)
            .map_err(|error| BuildError::new("base_url", format!("no HTTP client: {error}")))?;
        Ok(Self { clients, base, headers, secrets, bounds: config.bounds })
    }

    /// The server's address, without query and key.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().split('?').next().unwrap_or_default()
    }

    /// The server's name or address, on which OpenAI's dialects depend.
    #[cfg(feature = "openai")]
    pub(crate) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Posts JSON and returns what `decode` makes of the whole answer. Failures, those of `decode`
    /// included, carry what the headers said and no key.
    pub(crate) async fn whole<T>(
        &self,
        path: &str,
        json: Vec<u8>,
        attempt: Attempt<'_>,
        decode: impl FnOnce(&[u8]) -> Result<T, ProviderError>,
    ) -> Result<(T, Meta), ProviderError> {
        let sent = self.post(path, json, "application/json", attempt);
        let read = async {
            let (response, meta) = sent.await?;
            let body = body::read(response, self.bounds.body).await;
            let decoded = body.and_then(|body| decode(&body));
            Ok((decoded.map_err(|error| meta.note_in_error(error))?, meta))
        };
        read.await.map_err(|error| self.secrets.scrub(error))
    }

    /// Posts JSON and returns the stream of what `decoder` makes of the events that come back.
    pub(crate) async fn stream(
        &self,
        path: &str,
        json: Vec<u8>,
        attempt: Attempt<'_>,
        decoder: impl StreamDecoder,
    ) -> Result<ChunkStream, ProviderError> {
        let opened = self.open(path, json, attempt, decoder).await;
        let stream = opened.map_err(|error| self.secrets.scrub(error))?;
        let secrets = self.secrets.clone();
        Ok(stream.map(move |item| item.map_err(|error| secrets.scrub(error))).boxed())
    }

    /// Asks with GET and reports whether anything but a refusal or a failure came back. The body is
    /// not read.
    pub(crate) async fn probe(&self, path: &str) -> Result<(), ProviderError> {
        let request = self.request(Method::GET, path, "application/json", Attempt::default());
        let answered = async {
            match self.send(request?).await {
                // A server without this path is nevertheless there.
                Err(error) if matches!(error.status(), Some(400 | 404 | 405)) => Ok(()),
                answer => answer.map(|_| ()),
            }
        };
        answered.await.map_err(|error| self.secrets.scrub(error))
    }

    async fn open(
        &self,
        path: &str,
        json: Vec<u8>,
        attempt: Attempt<'_>,
        mut decoder: impl StreamDecoder,
    ) -> Result<ChunkStream, ProviderError> {
        let (response, meta) = self.post(path, json, "text/event-stream", attempt).await?;
        match Body::of(response.headers()) {
            Body::Events => Ok(pull::events(response, meta, self.bounds, decoder)),
            Body::Json => {
                let read = body::read(response, self.bounds.body).await;
                let bytes = read.map_err(|error| meta.note_in_error(error))?;
                let chunks = pull::whole(&bytes, &meta, &mut decoder);
                chunks.map_err(|error| meta.note_in_error(error))
            }
            Body::Other => {
                let message = "an event stream was asked for, and something else came back";
                Err(meta.note_in_error(ProviderError::new(ErrorKind::Malformed, message)))
            }
        }
    }

    async fn post(
        &self,
        path: &str,
        json: Vec<u8>,
        accept: &'static str,
        attempt: Attempt<'_>,
    ) -> Result<(Response, Meta), ProviderError> {
        let request = self.request(Method::POST, path, accept, attempt)?;
        let request = request.header(header::CONTENT_TYPE, "application/json").body(json);
        self.send(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        attempt: Attempt<'_>,
    ) -> Result<reqwest::RequestBuilder, ProviderError> {
        let client = self.clients.get(attempt.connect_timeout).map_err(body::transport_error)?;
        let mut request = client
            .request(method, joined(&self.base, path))
            .header(header::ACCEPT, accept)
            .headers(self.headers.clone());
        if let Some(key) = attempt.idempotency_key {
            let key = header_value(key).ok_or_else(|| {
                let message = "the idempotency key does not fit a header";
                ProviderError::new(ErrorKind::InvalidRequest, message)
            })?;
            request = request.header("idempotency-key", key);
        }
        Ok(request)
    }

    /// Sends, and turns every status but success into its error.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(Response, Meta), ProviderError> {
        let response = request.send().await.map_err(body::transport_error)?;
        let now = time::wall_clock();
        let meta = meta_of(response.headers(), now);
        if response.status() == StatusCode::OK {
            return Ok((response, meta));
        }
        let retry_after = headers::retry_after(getter(response.headers()), now);
        let error = meta.note_in_error(self.error_of(response).await);
        Err(match retry_after {
            Some(after) => error.with_retry_after(after),
            None => error,
        })
    }

    async fn error_of(&self, response: Response) -> ProviderError {
        let status = response.status().as_u16();
        if (200..400).contains(&status) {
            // A redirect that was not followed, or a success without an answer.
            let message = "the server neither answered nor refused; is the base URL right?";
            return ProviderError::new(ErrorKind::Malformed, message).with_status(status);
        }
        let wait = time::after(time::now(), ERROR_BODY_WAIT);
        let body = body::read_some(response, self.bounds.error_body, wait).await;
        classify::error_response(status, &body)
    }
}

fn meta_of(headers: &HeaderMap, now: SystemTime) -> Meta {
    // There are eighteen names to ask for, and most servers send none of them.
    let limited = headers.keys().any(|name| name.as_str().contains(headers::RATE_LIMITED));
    Meta {
        request_id: headers::request_id(getter(headers)),
        rate_limits: limited.then(|| headers::rate_limits(getter(headers), now)).flatten(),
    }
}

fn getter<'a>(headers: &'a HeaderMap) -> impl Fn(&str) -> Option<&'a str> {
    move |name| headers.get(name)?.to_str().ok()
}

fn base_url(config: &Config) -> Result<Url, BuildError> {
    let wrong = |reason: &str| BuildError::new("base_url", reason.to_owned());
    let mut url = Url::parse(&config.base_url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if url.scheme() == "http" && !config.plain_http && !clients::is_loopback(&url) {
        return Err(wrong("is http, which shows the key to the network; use https or allow_http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("contains credentials; give them as a key or a header"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment; give the query apart"));
    }
    if !config.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&config.query);
    }
    Ok(url)
}

/// `path` below `base`, whose query stays.
fn joined(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// A header that is well formed. Every value is marked sensitive: it is neither printed nor
/// remembered by HTTP/2's header compression.
fn header_pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), BuildError> {
    let wrong = |reason| BuildError::new(format!("headers[{name:?}]"), reason);
    let parsed = name.parse().map_err(|_| wrong("is no header name"))?;
    let mut value =
        header_value(value).ok_or_else(|| wrong("its value has characters no header may"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// ASCII alone: what other bytes mean in a header is anybody's guess.
fn header_value(text: &str) -> Option<HeaderValue> {
    text.is_ascii().then(|| HeaderValue::from_str(text).ok()).flatten()
}

fn is_secret(name: &HeaderName) -> bool {
    ["auth", "key", "token", "secret", "cookie"].iter().any(|part| name.as_str().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> BuildError {
        let mut config = Config::new("https://api.example.com/v1");
        change(&mut config);
        Transport::new(config).unwrap_err()
    }

    #[test]
    fn a_wrong_configuration_names_its_field() {
        let url = |url: &str| refused(|config| config.base_url = url.to_owned());
        for wrong in
            ["", "api.example.com", "ftp://x/", "https://u:p@x/", "https://x/?a=b", "https://x/#a"]
        {
            assert_eq!(url(wrong).field(), "base_url", "{wrong}");
        }
        for plain in ["http://x/", "http://10.0.0.7/", "http://127.0.0.1.example.com/"] {
            assert_eq!(url(plain).field(), "base_url", "{plain}");
            let mut allowed = Config::new(plain);
            allowed.plain_http = true;
            assert!(Transport::new(allowed).is_ok(), "{plain}");
        }
        let header = |name: &str, value: &str| refused(|config| config.header(name, value));
        assert_eq!(header("x y", "v").field(), "headers[\"x y\"]");
        let injected = header("x-key", "v\r\nx-evil: 1");
        assert_eq!(injected.field(), "headers[\"x-key\"]");
        assert!(!injected.to_string().contains("evil"), "{injected}");
    }

    #[test]
    fn paths_go_below_the_base_and_the_query_stays() {
        let mut config = Config::new("https://x.example.com/openai/deployments/d/");
        config.query.push(("api-version".into(), "2024-10-21".into()));
        let transport = Transport::new(config).unwrap();
        assert_eq!(
            joined(&transport.base, "chat/completions").as_str(),
            "https://x.example.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(transport.base(), "https://x.example.com/openai/deployments/d/");
    }

    #[test]
    fn debug_shows_no_key() {
        let mut config = Config::new("https://api.example.com/v1");
        config.header("authorization", "Bearer sk-test-0123456789abcdef");
        let shown = format!("{config:?} {:?}", Transport::new(config.clone()).unwrap());
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
