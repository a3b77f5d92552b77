//! Both wires against aimock, a model server of other people's making.
//!
//! `bash tests/run.sh` installs it. `EVENKEEL_AIMOCK` may name its `llmock` binary instead.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use evenkeel::chunk::Accumulator;
use evenkeel::provider::{CallContext, Provider};
use evenkeel::providers::{Anthropic, OpenAi};
use evenkeel::{
    ChatRequest, ChatResponse, ErrorKind, FinishReason, ProviderError, Tool, ToolCall, time,
};
use futures::StreamExt as _;
use parking_lot::Mutex;

const GREETING: &str = "Hello from the far end of the wire: ünïcödé, \"quotes\" and\nlines.";

#[tokio::test]
async fn a_whole_answer_arrives() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        let response = server.complete(wire, "greet").await.expect("an answer");
        assert_eq!(response.text(), GREETING, "{wire:?}");
        assert_eq!(response.finish, FinishReason::Stop, "{wire:?}");
        assert_eq!(response.usage.input_tokens, Some(11), "{wire:?}");
        assert_eq!(response.usage.output_tokens, Some(7), "{wire:?}");
        assert!(response.id.is_some() && response.model.is_some(), "{wire:?}");
    }
}

#[tokio::test]
async fn a_stream_adds_up_to_the_answer() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        let (response, error) = server.stream(wire, "greet").await;
        assert!(error.is_none(), "{wire:?}: {error:?}");
        assert_eq!(response.text(), GREETING, "{wire:?}");
        assert_eq!(response.finish, FinishReason::Stop, "{wire:?}");
        assert_eq!(response.usage.total_tokens(), 18, "{wire:?}");
    }
}

#[tokio::test]
async fn tool_calls_arrive_whole_and_streamed() {
    let server = Aimock::shared();
    let expected = [
        ToolCall::new("toolu_weather_1", "get_weather", r#"{"location":"Paris","days":3}"#),
        ToolCall::new("toolu_time_1", "get_time", r#"{"zone":"CET"}"#),
    ];
    for wire in Wire::BOTH {
        let whole = server.complete(wire, "weather").await.expect("an answer");
        let (streamed, error) = server.stream(wire, "weather").await;
        assert!(error.is_none(), "{wire:?}: {error:?}");
        for response in [whole, streamed] {
            assert_eq!(response.tool_calls().cloned().collect::<Vec<_>>(), expected, "{wire:?}");
            assert_eq!(response.finish, FinishReason::ToolCalls, "{wire:?}");
        }
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_it_ends() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        for error in server.both_ways(wire, "too fast", &[]).await {
            assert_eq!(error.kind(), ErrorKind::RateLimited, "{wire:?}");
            assert_eq!(error.status(), Some(429), "{wire:?}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{wire:?}");
            assert_eq!(error.message(), "slow down, please", "{wire:?}");
            let requests = error.rate_limits().and_then(|limits| limits.requests);
            assert_eq!(requests.and_then(|window| window.limit), Some(60), "{wire:?}");
        }
    }
}

#[tokio::test]
async fn a_server_error_is_the_servers() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        for error in server.both_ways(wire, "broken", &[]).await {
            assert_eq!(error.kind(), ErrorKind::Server, "{wire:?}");
            assert_eq!(error.status(), Some(500), "{wire:?}");
        }
    }
}

#[tokio::test]
async fn broken_json_is_malformed() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        let chaos = [("x-aimock-chaos-malformed", "1.0")];
        for error in server.both_ways(wire, "greet", &chaos).await {
            assert_eq!(error.kind(), ErrorKind::Malformed, "{wire:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_a_transport_failure() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        let chaos = [("x-aimock-chaos-disconnect", "1.0")];
        for error in server.both_ways(wire, "greet", &chaos).await {
            assert_eq!(error.kind(), ErrorKind::Transport, "{wire:?}");
        }
    }
}

#[tokio::test]
async fn a_cut_stream_is_interrupted_and_keeps_what_came() {
    let server = Aimock::shared();
    for wire in Wire::BOTH {
        let (partial, error) = server.stream(wire, "cut").await;
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Interrupted), "{wire:?}");
        assert!(partial.text().starts_with("This "), "{wire:?}: {:?}", partial.text());
    }
}

#[derive(Debug, Clone, Copy)]
enum Wire {
    OpenAi,
    Anthropic,
}

impl Wire {
    const BOTH: [Self; 2] = [Self::OpenAi, Self::Anthropic];
}

/// A running server. Ends with its last user.
struct Aimock {
    child: Child,
    address: String,
}

impl Drop for Aimock {
    fn drop(&mut self) {
        // Fails only where it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Aimock {
    /// The server that the tests which are running share: it takes a second to start.
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Aimock>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock();
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *running = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        let mut child = Command::new(binary())
            .args(["--port", "0", "--host", "127.0.0.1", "--strict"])
            .args(["--fixtures", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/aimock.json")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("aimock starts; it needs node 20.15 or later on the PATH");
        let stdout = child.stdout.take().expect("its output is piped");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // To the end, so that the server never waits for a reader.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let _ = tell.send(address.trim().to_owned());
                }
            }
        });
        let mut server = Self { child, address: String::new() };
        server.address =
            told.recv_timeout(Duration::from_secs(30)).expect("aimock says where it listens");
        server
    }

    fn provider(&self, wire: Wire, headers: &[(&str, &str)]) -> Arc<dyn Provider> {
        match wire {
            Wire::OpenAi => {
                let url = format!("{}/v1", self.address);
                let builder = OpenAi::builder().base_url(url).api_key("sk-test-aimock");
                let builder =
                    headers.iter().fold(builder, |it, (name, value)| it.header(*name, *value));
                Arc::new(builder.build().expect("a provider"))
            }
            Wire::Anthropic => {
                let builder =
                    Anthropic::builder().base_url(&self.address).api_key("sk-test-aimock");
                let builder =
                    headers.iter().fold(builder, |it, (name, value)| it.header(*name, *value));
                Arc::new(builder.build().expect("a provider"))
            }
        }
    }

    async fn complete(&self, wire: Wire, text: &str) -> Result<ChatResponse, ProviderError> {
        self.provider(wire, &[]).complete(&request(wire, text), &context()).await
    }

    /// What came, and what ended it before its time.
    async fn stream(&self, wire: Wire, text: &str) -> (ChatResponse, Option<ProviderError>) {
        let provider = self.provider(wire, &[]);
        collect(&*provider, &request(wire, text)).await
    }

    /// The failures of a whole and of a streamed answer.
    async fn both_ways(
        &self,
        wire: Wire,
        text: &str,
        headers: &[(&str, &str)],
    ) -> [ProviderError; 2] {
        let (provider, request) = (self.provider(wire, headers), request(wire, text));
        let whole = provider.complete(&request, &context()).await;
        let (_, streamed) = collect(&*provider, &request).await;
        [whole.expect_err("a failure"), streamed.expect("a failure")]
    }
}

async fn collect(
    provider: &dyn Provider,
    request: &ChatRequest,
) -> (ChatResponse, Option<ProviderError>) {
    let mut accumulator = Accumulator::default();
    let mut failure = None;
    match provider.stream(request, &context()).await {
        Err(error) => failure = Some(error),
        Ok(mut stream) => {
            while let Some(item) = stream.next().await {
                match item {
                    Ok(chunk) => accumulator.push(&chunk).expect("within bounds"),
                    Err(error) => failure = Some(error),
                }
            }
        }
    }
    (accumulator.into_response(), failure)
}

fn request(wire: Wire, text: &str) -> ChatRequest {
    let model = match wire {
        Wire::OpenAi => "gpt-4o",
        Wire::Anthropic => "claude-sonnet-4-5",
    };
    let schema = serde_json::json!({"type": "object", "properties": {}});
    ChatRequest::new(model)
        .system("Be brief.")
        .user(text)
        .tool(Tool::new("get_weather", schema.clone()))
        .tool(Tool::new("get_time", schema))
}

fn context() -> CallContext {
    CallContext::new(time::now() + Duration::from_secs(30))
}

fn binary() -> PathBuf {
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools"));
    let installed = tools.join("aimock/node_modules/.bin/llmock");
    let binary = std::env::var_os("EVENKEEL_AIMOCK").map_or(installed, PathBuf::from);
    assert!(
        binary.exists(),
        "{} is not there: run `bash tests/run.sh`, which installs aimock, or set EVENKEEL_AIMOCK to its llmock binary",
        binary.display()
    );
    binary
}
