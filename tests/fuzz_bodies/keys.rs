//! The cache's keys: two requests share one exactly where they are the same in everything that can
//! change an answer.

use std::fmt::Write as _;

use evenkeel::cache::{Normalizer, Scope, door};
use evenkeel::options::TenantId;
use evenkeel::request::{MediaSource, Reasoning, Sampling};
use evenkeel::{ChatRequest, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization as _;

use crate::bytes::Bytes;

/// Texts that are the same in some way and another in others.
const TEXTS: [&str; 20] = [
    "",
    " ",
    "a",
    "A",
    "a ",
    "\u{a0}a",
    "ab",
    "caf\u{e9}",
    "cafe\u{301}",
    "CAFE\u{301}",
    "\u{3a3}",
    "\u{3c3}",
    "\u{3c2}",
    "\u{130}",
    "i\u{307}",
    "\u{1e9e}",
    "\u{212b}",
    "\u{c5}",
    "\u{1100}\u{1161}",
    "\u{ac00}",
];

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let normalizer =
        *bytes.pick(&[Normalizer::Canonical, Normalizer::CaseFold, Normalizer::Verbatim]);
    let (first, second) = (Asked::draw(&mut bytes), Asked::draw(&mut bytes));
    let third = first.changed(&mut bytes);
    for (a, b) in [(&first, &second), (&first, &third), (&second, &third)] {
        compare(a, b, normalizer);
    }
    unicode_forms(&first, normalizer);
    written_and_read(&first, normalizer);
}

/// A request, and whose it is.
#[derive(Debug, Clone)]
struct Asked {
    request: ChatRequest,
    scope: Scope,
    tenant: Option<TenantId>,
}

fn compare(a: &Asked, b: &Asked, normalizer: Normalizer) {
    let ([a_scope, a_partition, a_exact], [b_scope, b_partition, b_exact]) =
        (a.keys(normalizer), b.keys(normalizer));
    let same_scope = a.scope() == b.scope();
    let same_partition = same_scope && a.context() == b.context();
    let same = same_partition && a.question(normalizer) == b.question(normalizer);
    assert_eq!(a_scope == b_scope, same_scope, "the scopes of {a:?} and {b:?}");
    assert_eq!(a_partition == b_partition, same_partition, "the partitions of {a:?} and {b:?}");
    assert_eq!(a_exact == b_exact, same, "the keys of {a:?} and {b:?}");
    let asks = door::question(&b.request).is_some();
    assert!(!asks || a_partition != b_exact, "a key that is a partition's");
}

/// Whatever the form of its Unicode, the question is the same, unless every byte counts.
fn unicode_forms(asked: &Asked, normalizer: Normalizer) {
    let Some(text) = door::question(&asked.request) else { return };
    let (composed, decomposed): (String, String) = (text.nfc().collect(), text.nfd().collect());
    let of = |text: &str| {
        let mut asked = asked.clone();
        let last = asked.request.messages.last_mut().and_then(|last| last.content.last_mut());
        *last.expect("a question is a part") = Part::text(text);
        asked.keys(normalizer)
    };
    match normalizer {
        Normalizer::Verbatim => {
            assert_eq!(of(&composed) == of(&decomposed), composed == decomposed)
        }
        _ => {
            let keys = asked.keys(normalizer);
            assert_eq!((of(&composed), of(&decomposed)), (keys, keys), "{text:?}");
            assert_eq!(of(&format!("\t{text}\n")), keys, "{text:?}");
        }
    }
}

/// A request that went through a file or a wire asks the same.
fn written_and_read(asked: &Asked, normalizer: Normalizer) {
    let sampling = &asked.request.sampling;
    let numbers = [
        sampling.temperature,
        sampling.top_p,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    ];
    // The JSON reader may miss the last bit of a number with decimals.
    let exact = |number: f64| (number * 64.0).fract() == 0.0 && number.abs() < 4.0;
    if numbers.into_iter().flatten().any(|number| !exact(number)) {
        return;
    }
    let json = serde_json::to_string(&asked.request).expect("a request is JSON");
    let request = serde_json::from_str(&json).expect("a request is read as it was written");
    let read = Asked { request, ..asked.clone() };
    assert_eq!(read.keys(normalizer), asked.keys(normalizer), "{json}");
}

impl Asked {
    fn keys(&self, normalizer: Normalizer) -> [u128; 3] {
        door::keys(&self.request, &self.scope, self.tenant.as_ref(), normalizer)
    }

    /// Whose answers it may see, spelt out.
    fn scope(&self) -> String {
        let tenant = self.tenant.as_ref().map(TenantId::as_str);
        match &self.scope {
            Scope::Namespace(name) => format!("namespace {name:?}"),
            Scope::TenantIn(name) => format!("namespace {name:?} of {tenant:?}"),
            Scope::Tenant => format!("tenant {tenant:?}"),
            _ => "global".to_owned(),
        }
    }

    /// Everything but the question, spelt out.
    fn context(&self) -> String {
        let mut request = self.request.clone();
        let asks = door::question(&request).is_some();
        if asks && let Some(last) = request.messages.last_mut() {
            last.content.pop();
        }
        let sampling = std::mem::take(&mut request.sampling);
        let json = serde_json::to_string(&request).expect("a request is JSON");
        let bits = [
            sampling.temperature,
            sampling.top_p,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        ]
        .map(|number| number.map(f64::to_bits));
        let Sampling { max_output_tokens, top_k, stop, seed, .. } = sampling;
        let mut text = json;
        let _ = write!(text, "{asks} {bits:?} {max_output_tokens:?} {top_k:?} {stop:?} {seed:?}");
        text
    }

    fn question(&self, normalizer: Normalizer) -> Option<String> {
        let text = door::question(&self.request)?;
        Some(match normalizer {
            Normalizer::Verbatim => text.to_owned(),
            Normalizer::CaseFold => text.trim().to_lowercase().nfc().collect(),
            _ => text.trim().nfc().collect(),
        })
    }

    fn draw(bytes: &mut Bytes<'_>) -> Self {
        let mut asked = Self {
            request: ChatRequest::with_default_model(),
            scope: scope(bytes),
            tenant: bytes.flag().then(|| TenantId::new(text(bytes))),
        };
        let messages = bytes.below(4);
        for _ in 0..messages {
            let message = message(bytes);
            asked.request.messages.push(message);
        }
        for _ in 0..bytes.below(4) {
            asked.change(bytes);
        }
        asked
    }

    fn changed(&self, bytes: &mut Bytes<'_>) -> Self {
        let mut other = self.clone();
        other.change(bytes);
        other
    }

    /// One field is drawn anew.
    fn change(&mut self, bytes: &mut Bytes<'_>) {
        let request = &mut self.request;
        let sampling = &mut request.sampling;
        match bytes.below(28) {
            0 => request.model = bytes.flag().then(|| text(bytes)),
            1 => request.tools = (0..bytes.below(3)).map(|_| tool(bytes)).collect(),
            2 => request.tool_choice = choice(bytes),
            3 => request.parallel_tool_calls = *bytes.pick(&[None, Some(false), Some(true)]),
            4 => request.response_format = format(bytes),
            5 => sampling.temperature = float(bytes),
            6 => sampling.top_p = float(bytes),
            7 => sampling.frequency_penalty = float(bytes),
            8 => sampling.presence_penalty = float(bytes),
            9 => sampling.top_k = bytes.flag().then(|| bytes.number()),
            10 => sampling.max_output_tokens = bytes.flag().then(|| bytes.number()),
            11 => sampling.seed = bytes.flag().then(|| bytes.number().cast_signed()),
            12 => sampling.stop = (0..bytes.below(3)).map(|_| text(bytes)).collect(),
            13 => request.extra = object(bytes, 2),
            14 => self.scope = scope(bytes),
            15 => self.tenant = bytes.flag().then(|| TenantId::new(text(bytes))),
            16 => request.messages.push(message(bytes)),
            17 => drop(request.messages.pop()),
            18 => request.messages.reverse(),
            _ => self.change_a_message(bytes),
        }
    }

    fn change_a_message(&mut self, bytes: &mut Bytes<'_>) {
        let messages = &mut self.request.messages;
        if messages.is_empty() {
            return;
        }
        let at = bytes.below(messages.len());
        match bytes.below(8) {
            0 => messages[at].role = role(bytes),
            1 => messages[at].content.push(part(bytes, 2)),
            2 => drop(messages[at].content.pop()),
            3 => messages[at].content.reverse(),
            4 => messages[at] = message(bytes),
            _ => {
                let parts = &mut messages[at].content;
                let many = parts.len().max(1);
                if let Some(part) = parts.get_mut(bytes.below(many)) {
                    tweak(part, bytes);
                }
            }
        }
    }
}

fn text(bytes: &mut Bytes<'_>) -> String {
    if bytes.flag() { bytes.text(12) } else { (*bytes.pick(&TEXTS)).to_owned() }
}

fn scope(bytes: &mut Bytes<'_>) -> Scope {
    match bytes.below(4) {
        0 => Scope::Tenant,
        1 => Scope::namespace(text(bytes)),
        2 => Scope::tenant_in(text(bytes)),
        _ => Scope::Global,
    }
}

fn role(bytes: &mut Bytes<'_>) -> Role {
    *bytes.pick(&[Role::User, Role::System, Role::Assistant, Role::Tool])
}

fn message(bytes: &mut Bytes<'_>) -> Message {
    let role = role(bytes);
    let parts: Vec<Part> = (0..bytes.below(4)).map(|_| part(bytes, 2)).collect();
    Message::new(role, parts)
}

fn part(bytes: &mut Bytes<'_>, depth: usize) -> Part {
    match bytes.below(9) {
        0 => Part::Image { source: media(bytes), detail: bytes.flag().then(|| text(bytes)) },
        1 => Part::File { source: media(bytes), name: bytes.flag().then(|| text(bytes)) },
        2 => Part::ToolCall(ToolCall::new(text(bytes), text(bytes), text(bytes))),
        3 if depth > 0 => {
            let content = (0..bytes.below(3)).map(|_| part(bytes, depth - 1)).collect();
            Part::ToolResult { call_id: text(bytes), content, is_error: bytes.flag() }
        }
        4 => {
            let mut reasoning = Reasoning::new(text(bytes));
            reasoning.signature = bytes.flag().then(|| text(bytes));
            reasoning.encrypted = bytes.flag().then(|| text(bytes));
            Part::Reasoning(reasoning)
        }
        5 => Part::Opaque { provider: text(bytes), value: value(bytes, depth) },
        _ => Part::text(text(bytes)),
    }
}

/// One field of a part is another.
fn tweak(part: &mut Part, bytes: &mut Bytes<'_>) {
    match part {
        Part::Text { text: said } => *said = text(bytes),
        Part::Image { detail: name, .. } | Part::File { name, .. } => {
            *name = bytes.flag().then(|| text(bytes));
        }
        Part::ToolCall(call) => std::mem::swap(&mut call.id, &mut call.name),
        Part::Reasoning(reasoning) => {
            std::mem::swap(&mut reasoning.signature, &mut reasoning.encrypted);
        }
        Part::ToolResult { call_id, content, is_error } => match bytes.below(3) {
            0 => *is_error = !*is_error,
            1 => *call_id = text(bytes),
            _ => content.push(Part::text(text(bytes))),
        },
        Part::Opaque { value: held, .. } => *held = value(bytes, 2),
        _ => {}
    }
}

fn media(bytes: &mut Bytes<'_>) -> MediaSource {
    match bytes.below(3) {
        0 => MediaSource::Url(text(bytes)),
        1 => MediaSource::Id(text(bytes)),
        _ => MediaSource::Base64 { media_type: text(bytes), data: text(bytes) },
    }
}

fn tool(bytes: &mut Bytes<'_>) -> Tool {
    let mut tool = Tool::new(text(bytes), value(bytes, 2)).with_description(text(bytes));
    tool.strict = *bytes.pick(&[None, Some(false), Some(true)]);
    tool
}

fn choice(bytes: &mut Bytes<'_>) -> Option<ToolChoice> {
    Some(match bytes.below(5) {
        0 => return None,
        1 => ToolChoice::Auto,
        2 => ToolChoice::None,
        3 => ToolChoice::Required,
        _ => ToolChoice::Tool(text(bytes)),
    })
}

fn format(bytes: &mut Bytes<'_>) -> Option<ResponseFormat> {
    Some(match bytes.below(3) {
        0 => return None,
        1 => ResponseFormat::JsonObject,
        _ => ResponseFormat::JsonSchema {
            name: text(bytes),
            schema: value(bytes, 2),
            strict: bytes.flag(),
        },
    })
}

fn float(bytes: &mut Bytes<'_>) -> Option<f64> {
    Some(match bytes.below(5) {
        0 => return None,
        1 => 0.0,
        2 => -0.0,
        3 => f64::from(bytes.byte()) / 64.0,
        _ => f64::from_bits(bytes.word()),
    })
}

fn value(bytes: &mut Bytes<'_>, depth: usize) -> Value {
    match bytes.below(8) {
        0 => Value::Null,
        1 => json!(bytes.flag()),
        2 => json!(bytes.number()),
        3 => json!(bytes.number().cast_signed()),
        4 => json!(f64::from(bytes.short()) / 64.0),
        5 if depth > 0 => (0..bytes.below(4)).map(|_| value(bytes, depth - 1)).collect(),
        6 if depth > 0 => Value::Object(object(bytes, depth)),
        _ => json!(text(bytes)),
    }
}

fn object(bytes: &mut Bytes<'_>, depth: usize) -> Map<String, Value> {
    (0..bytes.below(4)).map(|_| (text(bytes), value(bytes, depth - 1))).collect()
}
