//! The vocabulary: requests, answers, reports, errors.

use std::io;
use std::time::Duration;

use evenkeel::admission::{NotQueued, OverQuota, QueueRefusal};
use evenkeel::chunk::{Accumulator, ChunkStart, ResponseBounds};
use evenkeel::error::{Interrupted, InvalidField, NoEndpoint, Unavailable};
use evenkeel::event::Emitter;
use evenkeel::remote::StoreError;
use evenkeel::report::{AttemptReport, Trail};
use evenkeel::request::{MediaSource, Reasoning, Sampling};
use evenkeel::response::FinishReason;
use evenkeel::{
    BuildError, Call, CallContext, CallReport, ChatRequest, ChatResponse, Chunk, Completion,
    Embedding, EndpointId, Error, ErrorKind, Message, Part, ProviderError, ResponseFormat, Role,
    ServedBy, TenantId, Tool, ToolCall, ToolChoice, provider_fn, time,
};
use serde_json::json;

use crate::{CANARY, Shown, failed, shown, told};

pub(crate) fn all() -> Vec<Shown> {
    [requests(), answers(), reports(), errors()].concat()
}

/// A request whose every part of content is a canary.
pub(crate) fn request() -> ChatRequest {
    let mut sampling = Sampling::new();
    sampling.stop = vec![CANARY.into()];
    let format = ResponseFormat::JsonSchema {
        name: "answer".into(),
        schema: json!({ CANARY: CANARY }),
        strict: true,
    };
    ChatRequest::new("m")
        .system(CANARY)
        .message(parts().into_iter().fold(Message::user(CANARY), Message::part))
        .assistant(CANARY)
        .message(Message::tool_result("c", CANARY))
        .tool(tool())
        .tool_choice(ToolChoice::Tool("find".into()))
        .response_format(format)
        .sampling(sampling)
        .extra("metadata", json!({ "user": CANARY }))
        .extra(CANARY, true)
}

pub(crate) fn call() -> Call {
    request()
        .tenant(CANARY)
        .session(CANARY)
        .tag(CANARY)
        .idempotency_key(CANARY)
        .quota_key("project", CANARY)
}

fn tool() -> Tool {
    Tool::new("find", json!({ "title": CANARY })).with_description(CANARY)
}

fn tool_call() -> ToolCall {
    ToolCall::new("c", "find", format!("{{\"q\":\"{CANARY}\"}}"))
}

fn reasoning() -> Reasoning {
    let mut reasoning = Reasoning::new(CANARY).with_signature(CANARY);
    reasoning.encrypted = Some(CANARY.into());
    reasoning
}

fn sources() -> [MediaSource; 3] {
    let data = MediaSource::Base64 { media_type: "image/png".into(), data: CANARY.into() };
    [MediaSource::Url(CANARY.into()), data, MediaSource::Id(CANARY.into())]
}

fn parts() -> Vec<Part> {
    let [url, data, id] = sources();
    vec![
        Part::text(CANARY),
        Part::Image { source: url, detail: None },
        Part::File { source: data, name: Some(CANARY.into()) },
        Part::File { source: id, name: None },
        Part::ToolCall(tool_call()),
        Part::tool_result("c", CANARY),
        Part::Reasoning(reasoning()),
        Part::Opaque { provider: "p".into(), value: json!({ CANARY: CANARY }) },
    ]
}

pub(crate) fn answer() -> ChatResponse {
    let mut answer = ChatResponse::new(parts(), FinishReason::Stop).with_model("m");
    answer.raw = Some(json!({ CANARY: CANARY }));
    answer
}

/// A failure in a server's words, which quote the request.
pub(crate) fn echo() -> ProviderError {
    ProviderError::new(ErrorKind::Server, format!("you sent {CANARY}")).with_status(500)
}

fn requests() -> Vec<Shown> {
    let Call { request, options, .. } = call();
    let format = request.response_format.clone();
    let mut context = CallContext::new(time::now());
    context.idempotency_key = Some(CANARY.into());
    vec![
        shown("request::ChatRequest", &request),
        shown("request::Message", &request.messages),
        shown("request::Part", parts()),
        shown("request::ToolCall", tool_call()),
        shown("request::Reasoning", reasoning()),
        shown("request::MediaSource", sources()),
        shown("request::Tool", tool()),
        shown("request::ToolChoice", &request.tool_choice),
        shown("request::ResponseFormat", format),
        shown("request::Sampling", &request.sampling),
        shown("options::Call", call()),
        shown("options::CallOptions", options),
        shown("options::TenantId", TenantId::from(CANARY)),
        shown("provider::CallContext", context),
        shown("provider::FnProvider", provider_fn("p", |_, _| async { Ok(answer()) })),
        shown("embed::Embedding", Embedding::new(vec![1.0, 2.0]).unwrap()),
        shown("event::Emitter", Emitter::to(crate::observers::Notebook::default())),
    ]
}

fn answers() -> Vec<Shown> {
    let chunks: Vec<_> = Chunk::from_response(answer()).collect();
    let mut gathered = Accumulator::new(ResponseBounds::default());
    chunks.iter().for_each(|chunk| gathered.push(chunk).unwrap());
    let report = CallReport::new(ServedBy::ExactHit, Duration::ZERO);
    vec![
        shown("chunk::Chunk", chunks),
        shown("chunk::ChunkStart", ChunkStart::new()),
        shown("chunk::Accumulator", gathered),
        shown("response::ChatResponse", answer()),
        shown("response::Completion", Completion::new(answer(), report)),
        shown("response::FinishReason", answer().finish),
    ]
}

fn reports() -> Vec<Shown> {
    let id = EndpointId::from("e");
    let attempt = AttemptReport::new(id.clone(), Duration::ZERO, Duration::ZERO);
    let mut trail = Trail::default();
    trail.push(attempt.clone());
    trail.push(attempt.clone());
    let served = ServedBy::Endpoint(id.clone());
    vec![
        told("report::EndpointId", id),
        shown("report::AttemptReport", attempt),
        shown("report::Trail", trail),
        shown("report::ServedBy", &served),
        shown("report::CallReport", CallReport::new(served, Duration::ZERO)),
    ]
}

/// One of each, whatever can be inside.
fn errors() -> Vec<Shown> {
    let trail = Trail::default;
    let refused =
        NotQueued::new(QueueRefusal::Full { depth: 1, of_tenant: true }, Some("m".into()), trail());
    let unavailable = Unavailable::new(Some("m".into()), None).after(trail(), Some(echo()));
    let over = OverQuota::new("tenant", "tokens", StoreError::Late(Duration::ZERO));
    let over = over.of(Some(CANARY.into()));
    let broken = Interrupted::new("e".into(), echo(), answer(), trail());
    let none = NoEndpoint::UnknownModel { model: "m".into() };
    let field = InvalidField::new("messages[0]", "is empty");
    let elapsed = Duration::ZERO;
    let mut all: Vec<_> = [
        Error::NoEndpoint(none.clone()),
        Error::Unavailable(Box::new(unavailable.clone())),
        Error::Quota(Box::new(over.clone())),
        Error::LargerThanQuota(Box::new(over.clone())),
        Error::Queue(Box::new(refused.clone())),
        Error::Refused { endpoint: "e".into(), error: echo(), trail: Box::default() },
        Error::Exhausted { endpoint: "e".into(), error: echo(), trail: Box::default() },
        Error::Interrupted(Box::new(broken.clone())),
        Error::Deadline {
            phase: evenkeel::report::Phase::Streaming,
            elapsed,
            partial: Some(Box::new(answer())),
            trail: Box::default(),
        },
        Error::Closed { trail: Box::default() },
        Error::SharedCall { why: "broke off" },
        Error::InvalidCall(field.clone()),
    ]
    .iter()
    .map(|error| failed("error::Error", error))
    .collect();
    let broke = || io::Error::other("the connection broke");
    all.extend([
        failed("error::ProviderError", &echo().with_source(broke())),
        failed("error::NoEndpoint", &none),
        failed("error::InvalidField", &field),
        failed("error::BuildError", &BuildError::new("weight", "is zero")),
        shown("error::Unavailable", unavailable),
        shown("error::Interrupted", broken),
        told("admission::NotQueued", refused),
        told("admission::OverQuota", over),
        failed("remote::StoreError", &StoreError::Unreachable(Box::new(broke()))),
        failed("remote::StoreError", &StoreError::Garbled(Box::new(broke()))),
    ]);
    all.push(shown("request::Role", Role::User));
    all
}
