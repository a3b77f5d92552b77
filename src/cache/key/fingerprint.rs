//! A request in three hashes.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::feed::Feed;
use super::normalizer::Normalizer;
use super::scope::{Scope, ScopeKey};
use crate::options::TenantId;
use crate::request::{
    ChatRequest, MediaSource, Message, Part, ResponseFormat, Role, Sampling, Tool, ToolChoice,
};
use crate::rng::Rng;

/// Scope, everything else of a request, and its last user text, in its normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExactKey(pub(crate) u128);

/// Scope, and everything of a request but its last user text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionKey(pub(crate) u128);

/// They are hashes already.
impl Hash for ExactKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

impl Hash for PartitionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// What identifies a request within one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) scope: ScopeKey,
    pub(crate) partition: PartitionKey,
    pub(crate) exact: ExactKey,
}

/// What entries can be invalidated by.
#[derive(Clone, Copy)]
pub(crate) enum Label<'a> {
    All,
    /// Advanced in shared stores together with every other label.
    Generation,
    Tag(&'a str),
    Namespace(&'a str),
    Tenant(&'a str),
}

/// Changes whenever keys are made in another way. Instances of different versions then share nothing,
/// instead of finding what was stored under another request's key.
const FORMAT: u64 = 1;

/// The key of the hash function. Whoever knows it could search for collisions.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret([u64; 4]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    pub(crate) fn random() -> Self {
        // Two generators, each from the system's randomness: 128 bits that cannot be guessed.
        let (a, b) = (Rng::from_entropy(), Rng::from_entropy());
        Self([a.next_u64(), b.next_u64(), a.next_u64(), b.next_u64()])
    }

    /// The key of all caches that are given the same secret, as long as they make keys alike.
    pub(crate) fn given(secret: &[u8; 32]) -> Self {
        let word = |at: usize| {
            let bytes = secret[at * 8..][..8].try_into().expect("8 bytes are 8 bytes");
            u64::from_le_bytes(bytes)
        };
        let half = |half: u8| {
            let mut feed = Feed::new([word(0), word(1), word(2), word(3)]);
            feed.word(FORMAT);
            feed.raw(&[half]);
            feed.finish()
        };
        let (a, b) = (half(0), half(1));
        Self([a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64])
    }

    /// What a secret is recognised by where it must not be written down.
    pub(crate) fn mark(&self) -> u128 {
        let mut feed = Feed::new(self.0);
        feed.raw(b"s");
        feed.finish()
    }

    /// Where a shared index keeps a partition: the vectors of other embedders are elsewhere.
    pub(crate) fn shared_partition(&self, partition: PartitionKey, embedder: &str) -> u128 {
        let mut feed = Feed::new(self.0);
        feed.raw(b"v");
        feed.raw(&partition.0.to_le_bytes());
        feed.text(embedder);
        feed.finish()
    }

    /// What a copy of another request's answer is kept under: no request's key, so that it is found
    /// by its vector only, whatever the key said that came with it.
    pub(crate) fn copy(&self, partition: PartitionKey, exact: u128) -> ExactKey {
        let mut feed = Feed::new(self.0);
        feed.raw(b"w");
        feed.raw(&partition.0.to_le_bytes());
        feed.raw(&exact.to_le_bytes());
        ExactKey(feed.finish())
    }

    pub(crate) fn scope(&self, scope: &Scope, tenant: Option<&TenantId>) -> ScopeKey {
        let (kind, namespace, tenant) = scope.names(tenant);
        let mut feed = Feed::new(self.0);
        feed.raw(&[kind]);
        feed.maybe(namespace, Feed::text);
        feed.maybe(tenant, Feed::text);
        ScopeKey(feed.finish())
    }

    /// The hash of a label that entries are found by when they are invalidated.
    pub(crate) fn label(&self, label: Label<'_>) -> u128 {
        let (kind, name) = match label {
            Label::All => (b"*", ""),
            Label::Generation => (b"g", ""),
            Label::Tag(name) => (b"t", name),
            Label::Namespace(name) => (b"n", name),
            Label::Tenant(name) => (b"c", name),
        };
        let mut feed = Feed::new(self.0);
        feed.raw(kind);
        feed.text(name);
        feed.finish()
    }

    /// The labels of an entry: the one of all, those of its scope, and those of the call.
    pub(crate) fn labels<'a>(
        &self,
        scope: &'a Scope,
        tenant: Option<&'a TenantId>,
        tags: impl Iterator<Item = &'a str>,
    ) -> Box<[u128]> {
        let (_, namespace, tenant) = scope.names(tenant);
        let scope = namespace.map(Label::Namespace).into_iter().chain(tenant.map(Label::Tenant));
        let labels = [Label::All].into_iter().chain(scope).chain(tags.map(Label::Tag));
        labels.map(|label| self.label(label)).collect()
    }

    /// One pass over the request gives the last two hashes: the text comes last, and the partition
    /// is the state before it.
    pub(crate) fn fingerprint(
        &self,
        request: &ChatRequest,
        scope: ScopeKey,
        normalizer: Normalizer,
    ) -> Fingerprint {
        let mut feed = Feed::new(self.0);
        feed.raw(&scope.0.to_le_bytes());
        feed.raw(&[normalizer.tag()]);
        let text = all_but_the_question(request, &mut feed);
        let partition = PartitionKey(feed.clone().finish());
        if let Some(text) = text {
            // Another byte than none: a partition's hash is no exact key's.
            feed.raw(b"?");
            normalizer.feed(text, &mut feed);
        }
        Fingerprint { scope, partition, exact: ExactKey(feed.finish()) }
    }
}

/// The text that similarity may replace: the last part of the last message, where a user said it.
pub(crate) fn question(request: &ChatRequest) -> Option<&str> {
    let last = request.messages.last().filter(|message| message.role == Role::User)?;
    last.content.last().and_then(Part::as_text)
}

/// Feeds the request without its [`question`], and returns that. Every struct is taken apart field by
/// field, so that a field that is added does not compile until it is in the key.
fn all_but_the_question<'r>(request: &'r ChatRequest, feed: &mut Feed) -> Option<&'r str> {
    let ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling,
        extra,
    } = request;
    feed.maybe(model.as_deref(), Feed::text);
    feed.each(tools, tool);
    feed.maybe(tool_choice.as_ref(), choice);
    feed.maybe(*parallel_tool_calls, Feed::flag);
    feed.maybe(response_format.as_ref(), format);
    sample(feed, sampling);
    feed.map(extra);
    let question = question(request);
    conversation(feed, messages, question.is_some());
    question
}

fn conversation(feed: &mut Feed, messages: &[Message], without_last_part: bool) {
    feed.len(messages.len());
    let Some((last, earlier)) = messages.split_last() else { return };
    earlier.iter().for_each(|message| turn(feed, message, message.content.len()));
    turn(feed, last, last.content.len() - usize::from(without_last_part));
}

fn turn(feed: &mut Feed, message: &Message, parts: usize) {
    let Message { role, content } = message;
    feed.raw(&[match role {
        Role::System => 0,
        Role::User => 1,
        Role::Assistant => 2,
        Role::Tool => 3,
    }]);
    feed.len(content.len());
    content[..parts].iter().for_each(|content| part(feed, content));
}

fn part(feed: &mut Feed, part_of: &Part) {
    match part_of {
        Part::Text { text } => {
            feed.raw(b"t");
            feed.text(text);
        }
        Part::Image { source, detail } => {
            feed.raw(b"i");
            media(feed, source);
            feed.maybe(detail.as_deref(), Feed::text);
        }
        Part::File { source, name } => {
            feed.raw(b"f");
            media(feed, source);
            feed.maybe(name.as_deref(), Feed::text);
        }
        Part::ToolCall(call) => {
            feed.raw(b"c");
            [&call.id, &call.name, &call.arguments].into_iter().for_each(|text| feed.text(text));
        }
        Part::ToolResult { call_id, content, is_error } => {
            feed.raw(b"r");
            feed.text(call_id);
            feed.flag(*is_error);
            feed.each(content, part);
        }
        Part::Reasoning(reasoning) => {
            feed.raw(b"h");
            feed.text(&reasoning.text);
            feed.maybe(reasoning.signature.as_deref(), Feed::text);
            feed.maybe(reasoning.encrypted.as_deref(), Feed::text);
        }
        Part::Opaque { provider, value } => {
            feed.raw(b"o");
            feed.text(provider);
            feed.json(value);
        }
    }
}

fn media(feed: &mut Feed, source: &MediaSource) {
    match source {
        MediaSource::Url(url) => {
            feed.raw(b"u");
            feed.text(url);
        }
        MediaSource::Base64 { media_type, data } => {
            feed.raw(b"d");
            feed.text(media_type);
            feed.text(data);
        }
        MediaSource::Id(id) => {
            feed.raw(b"#");
            feed.text(id);
        }
    }
}

fn tool(feed: &mut Feed, tool: &Tool) {
    let Tool { name, description, parameters, strict } = tool;
    feed.text(name);
    feed.text(description);
    feed.json(parameters);
    feed.maybe(*strict, Feed::flag);
}

fn choice(feed: &mut Feed, choice: &ToolChoice) {
    match choice {
        ToolChoice::Auto => feed.raw(b"a"),
        ToolChoice::None => feed.raw(b"n"),
        ToolChoice::Required => feed.raw(b"r"),
        ToolChoice::Tool(name) => {
            feed.raw(b"t");
            feed.text(name);
        }
    }
}

fn format(feed: &mut Feed, format: &ResponseFormat) {
    match format {
        ResponseFormat::JsonObject => feed.raw(b"o"),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            feed.raw(b"s");
            feed.text(name);
            feed.json(schema);
            feed.flag(*strict);
        }
    }
}

fn sample(feed: &mut Feed, sampling: &Sampling) {
    let Sampling {
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        stop,
        seed,
        frequency_penalty,
        presence_penalty,
    } = sampling;
    feed.maybe(*max_output_tokens, Feed::word);
    for number in [temperature, top_p, frequency_penalty, presence_penalty] {
        feed.maybe(*number, |feed, number| feed.word(number.to_bits()));
    }
    feed.maybe(*top_k, Feed::word);
    feed.each(stop, |feed, text| feed.text(text));
    feed.maybe(*seed, |feed, seed| feed.word(seed.cast_unsigned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Reasoning, ToolCall};
    use serde_json::json;

    fn secret() -> Secret {
        Secret([1, 2, 3, 4])
    }

    fn print(request: &ChatRequest) -> Fingerprint {
        let scope = secret().scope(&Scope::Tenant, Some(&"acme".into()));
        secret().fingerprint(request, scope, Normalizer::Canonical)
    }

    fn base() -> ChatRequest {
        ChatRequest::new("m").system("s").user("first").assistant("then").user("what now?")
    }

    /// One change to each field that can change an answer.
    fn changed() -> Vec<ChatRequest> {
        let sampling = |sampling| base().sampling(sampling);
        let of = Sampling::new;
        let mut turns = vec![base(); 5];
        turns[0].messages[0] = Message::system("s2");
        turns[1].messages[1] = Message::user("other");
        turns[2].messages[2].role = Role::User;
        turns[3].messages.remove(1);
        turns[4].messages[3].content.insert(0, Part::image_base64("image/png", "AAAA"));
        turns.extend([
            ChatRequest { model: Some("n".into()), ..base() },
            ChatRequest { model: None, ..base() },
            ChatRequest { parallel_tool_calls: Some(true), ..base() },
            base().tool(Tool::new("find", json!({"type": "object"}))),
            base().tool(Tool::new("find", json!({"type": "object"})).with_description("d")),
            base().tool_choice(ToolChoice::Auto),
            base().tool_choice(ToolChoice::Tool("find".into())),
            base().response_format(ResponseFormat::JsonObject),
            base().extra("top", 1),
            base().extra("top", "1"),
            sampling(Sampling { max_output_tokens: Some(9), ..of() }),
            sampling(Sampling { temperature: Some(0.0), ..of() }),
            sampling(Sampling { top_p: Some(0.0), ..of() }),
            sampling(Sampling { top_k: Some(9), ..of() }),
            sampling(Sampling { stop: vec!["x".into()], ..of() }),
            sampling(Sampling { seed: Some(9), ..of() }),
            sampling(Sampling { frequency_penalty: Some(0.0), ..of() }),
            sampling(Sampling { presence_penalty: Some(0.0), ..of() }),
        ]);
        turns
    }

    #[test]
    fn everything_but_the_last_user_text_makes_another_partition() {
        let mut seen = vec![print(&base())];
        for request in changed() {
            let found = print(&request);
            assert!(
                seen.iter().all(|s| s.partition != found.partition && s.exact != found.exact),
                "{request:?}"
            );
            seen.push(found);
        }
    }

    #[test]
    fn the_last_user_text_makes_another_key_in_the_same_partition() {
        let mut other = base();
        other.messages[3] = Message::user("what else?");
        let (a, b) = (print(&base()), print(&other));
        assert_eq!(a.partition, b.partition);
        assert_ne!(a.exact, b.exact);
        other.messages[3] = Message::user(" what now? ");
        assert_eq!(print(&other), a);
    }

    #[test]
    fn kinds_of_parts_are_told_apart() {
        let text = || "x".to_owned();
        let source = |kind: fn(String) -> MediaSource| kind(text());
        let parts = [
            Part::text("x"),
            Part::Image { source: source(MediaSource::Url), detail: None },
            Part::Image { source: source(MediaSource::Id), detail: None },
            Part::Image { source: source(MediaSource::Url), detail: Some("x".into()) },
            Part::File { source: source(MediaSource::Url), name: None },
            Part::ToolCall(ToolCall::new("x", "", "")),
            Part::ToolCall(ToolCall::new("", "x", "")),
            Part::tool_result("x", "x"),
            Part::Reasoning(Reasoning::new("x")),
            Part::Reasoning(Reasoning::encrypted("x")),
            Part::Opaque { provider: "x".into(), value: json!(1) },
        ];
        let of =
            |part: &Part| print(&base().message(Message::new(Role::Assistant, [part.clone()])));
        let keys: std::collections::HashSet<_> = parts.iter().map(|part| of(part).exact).collect();
        assert_eq!(keys.len(), parts.len());
    }

    #[test]
    fn scopes_with_the_same_name_are_different() {
        let acme = "acme".into();
        let scopes = [
            secret().scope(&Scope::Tenant, Some(&acme)),
            secret().scope(&Scope::Tenant, None),
            secret().scope(&Scope::namespace("acme"), None),
            secret().scope(&Scope::tenant_in("acme"), None),
            secret().scope(&Scope::tenant_in("acme"), Some(&acme)),
            secret().scope(&Scope::Global, Some(&acme)),
        ];
        let distinct: std::collections::HashSet<_> = scopes.iter().collect();
        assert_eq!(distinct.len(), scopes.len());
        let shared = Scope::namespace("acme");
        assert_eq!(secret().scope(&shared, None), secret().scope(&shared, Some(&acme)));
    }

    #[test]
    fn only_the_end_of_what_a_user_said_is_the_question() {
        assert_eq!(question(&base()), Some("what now?"));
        assert_eq!(question(&base().assistant("I")), None);
        let image = Message::user("see").part(Part::image_url("u"));
        assert_eq!(question(&base().message(image)), None);
        assert_eq!(question(&ChatRequest::with_default_model()), None);
    }

    #[test]
    fn one_secret_gives_the_same_keys_everywhere_and_one_that_differs_in_a_bit_others() {
        let given = |secret: &[u8; 32]| Secret::given(secret).label(Label::All);
        let secret: [u8; 32] = std::array::from_fn(|at| at as u8);
        assert_eq!(given(&secret), given(&secret.clone()));
        for at in 0..32 {
            let mut other = secret;
            other[at] ^= 1;
            assert_ne!(given(&secret), given(&other), "byte {at}");
        }
    }

    #[test]
    fn keys_are_those_that_instances_of_this_format_make() {
        let secret = Secret::given(&std::array::from_fn(|at| at as u8));
        let scope = secret.scope(&Scope::Tenant, Some(&"acme".into()));
        let Fingerprint { partition, exact, .. } =
            secret.fingerprint(&base(), scope, Normalizer::Canonical);
        let keys = [
            scope.0,
            partition.0,
            exact.0,
            secret.shared_partition(partition, "embedder"),
            secret.label(Label::Tag("tag")),
        ];
        // What changes one of these has to change the format as well.
        assert_eq!(FORMAT, 1);
        assert_eq!(
            keys,
            [
                0xdfbd9a70754d6a64abe873c7545a7101,
                0x0421458902eaf60814b47188882a23f3,
                0x8f19e5a3c9541cc40afee416ff36e53f,
                0x64b370adeaab3b296402d6bf132935ec,
                0x8179d7d1642cc88e99f1d621fc11eed9
            ]
        );
    }

    #[test]
    fn shared_partitions_are_apart_for_each_embedder() {
        let of = |partition, embedder| secret().shared_partition(PartitionKey(partition), embedder);
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
    }

    #[test]
    fn another_secret_gives_other_keys() {
        let (a, b) = (Secret::random(), Secret::random());
        assert_ne!(a.label(Label::Tag("x")), b.label(Label::Tag("x")));
        assert_ne!(a.label(Label::Tag("x")), a.label(Label::Tenant("x")));
    }
}
