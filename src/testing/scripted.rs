//! A provider that does what it was told, one answer an attempt.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::answer::{Answer, Performance};
use super::meter::{CallCounts, Meter};
use crate::chunk::{Chunk, ChunkStream};
use crate::error::{ErrorKind, ProviderError};
use crate::provider::{CallContext, Capabilities, Provider};
use crate::request::ChatRequest;
use crate::response::ChatResponse;
use crate::time::{Instant, now};

/// How many attempts a script remembers unless it is told otherwise.
const RECORDED: usize = 1024;

/// A provider with a script: each attempt consumes its next [`Answer`], in the order in which the
/// attempts start, and every attempt is counted and recorded.
///
/// An attempt that finds the script at its end fails with [`ErrorKind::Server`] and a message that
/// says so. A clone is a handle to the same script and the same counts, so a test keeps one and
/// gives the other away. Delays run on [`crate::time`], and therefore on a test's paused clock.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use evenkeel::testing::{Answer, ScriptedProvider};
/// use evenkeel::{CallContext, ErrorKind, Provider};
///
/// let provider = ScriptedProvider::new("main")
///     .then(Answer::error(ErrorKind::Overloaded))
///     .forever(Answer::text("hello"));
///
/// let cx = CallContext::new(evenkeel::time::now());
/// assert!(provider.complete(&"hi".into(), &cx).await.is_err());
/// assert_eq!(provider.complete(&"hi".into(), &cx).await?.text(), "hello");
/// assert_eq!(provider.counts().started, 2);
/// # Ok::<_, evenkeel::ProviderError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ScriptedProvider {
    id: Arc<str>,
    capabilities: Capabilities,
    input_tokens: Option<u64>,
    meter: Meter,
    script: Arc<Mutex<Script>>,
}

/// One attempt as the provider saw it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordedAttempt {
    /// What was asked.
    pub request: ChatRequest,
    /// What the client told the provider of the attempt: model, number, deadline, idempotency key.
    pub context: CallContext,
    /// Whether the answer was asked for in pieces.
    pub streaming: bool,
    /// When the attempt started.
    pub at: Instant,
}

struct Script {
    lines: VecDeque<Line>,
    recorded: VecDeque<RecordedAttempt>,
    keep: usize,
    probe: Result<(), ProviderError>,
    probes: u64,
}

struct Line {
    answer: Arc<Answer>,
    /// How many attempts still get this answer; `None` for all that come.
    left: Option<u64>,
}

impl ScriptedProvider {
    /// An empty script: every attempt fails until answers are added. It streams.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        let script = Script {
            lines: VecDeque::new(),
            recorded: VecDeque::new(),
            keep: RECORDED,
            probe: Ok(()),
            probes: 0,
        };
        Self {
            id: id.into(),
            capabilities: Capabilities::all(),
            input_tokens: None,
            meter: Meter::default(),
            script: Arc::new(Mutex::new(script)),
        }
    }

    /// Answers one attempt with `answer`.
    #[must_use]
    pub fn then(self, answer: Answer) -> Self {
        self.repeat(1, answer)
    }

    /// Answers the next `attempts` attempts with `answer`.
    #[must_use]
    pub fn repeat(self, attempts: u64, answer: Answer) -> Self {
        self.add(answer, Some(attempts))
    }

    /// Answers every further attempt with `answer`. What is added after it is never reached.
    #[must_use]
    pub fn forever(self, answer: Answer) -> Self {
        self.add(answer, None)
    }

    fn add(self, answer: Answer, left: Option<u64>) -> Self {
        self.script.lock().lines.push_back(Line { answer: Arc::new(answer), left });
        self
    }

    /// Replaces what is left of the script: every further attempt, from all handles, gets `answer`.
    /// For a test in which the backend changes while it runs.
    pub fn become_forever(&self, answer: Answer) {
        let line = Line { answer: Arc::new(answer), left: None };
        self.script.lock().lines = VecDeque::from([line]);
    }

    /// Whether this handle streams, or answers whole and replays the answer. The default is that it
    /// streams.
    #[must_use]
    pub const fn streaming(mut self, yes: bool) -> Self {
        self.capabilities.streaming = yes;
        self
    }

    /// Replaces what this handle says it can do; streaming is part of it.
    #[must_use]
    pub const fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Counts every request as `tokens` input tokens. Otherwise the provider does not count.
    #[must_use]
    pub const fn input_tokens(mut self, tokens: u64) -> Self {
        self.input_tokens = Some(tokens);
        self
    }

    /// Remembers the last `attempts` attempts, 1024 unless set; 0 for a benchmark.
    #[must_use]
    pub fn recording(self, attempts: usize) -> Self {
        self.script.lock().keep = attempts;
        self
    }

    /// Sets what probes find from now on. They succeed by default.
    pub fn set_probe(&self, result: Result<(), ProviderError>) {
        self.script.lock().probe = result;
    }

    /// How many probes there were.
    #[must_use]
    pub fn probes(&self) -> u64 {
        self.script.lock().probes
    }

    /// What became of the attempts so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.meter.counts()
    }

    /// The latest attempts, oldest first: at most as many as [`recording`](Self::recording) says.
    #[must_use]
    pub fn recorded(&self) -> Vec<RecordedAttempt> {
        self.script.lock().recorded.iter().cloned().collect()
    }

    /// How many answers nobody has asked for yet, those for [ever](Self::forever) not counted.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.script.lock().lines.iter().filter_map(|line| line.left).sum()
    }

    /// Starts an attempt. Everything before the first wait happens at the future's first poll.
    async fn perform(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
        streaming: bool,
    ) -> Result<Performance, ProviderError> {
        let call = self.meter.start();
        let answer = {
            let mut script = self.script.lock();
            script.record(request, cx, streaming);
            script.next()
        };
        Performance::begin(answer.unwrap_or_else(|| self.exhausted()), call).await
    }

    fn exhausted(&self) -> Arc<Answer> {
        let message = format!("the script of {:?} has no answer left for this attempt", self.id);
        Arc::new(Answer::fail(ProviderError::new(ErrorKind::Server, message)))
    }
}

impl Script {
    fn next(&mut self) -> Option<Arc<Answer>> {
        while let Some(line) = self.lines.front_mut() {
            match &mut line.left {
                Some(0) => drop(self.lines.pop_front()),
                Some(left) => {
                    *left -= 1;
                    return Some(Arc::clone(&line.answer));
                }
                None => return Some(Arc::clone(&line.answer)),
            }
        }
        None
    }

    fn record(&mut self, request: &ChatRequest, cx: &CallContext, streaming: bool) {
        if self.keep == 0 {
            return;
        }
        while self.recorded.len() >= self.keep {
            self.recorded.pop_front();
        }
        let (request, context) = (request.clone(), cx.clone());
        self.recorded.push_back(RecordedAttempt { request, context, streaming, at: now() });
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        self.perform(request, cx, false).await?.whole().await
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let performance = self.perform(request, cx, true).await?;
        if self.capabilities.streaming {
            return Ok(performance.stream());
        }
        let whole = performance.whole().await?;
        Ok(Box::pin(futures::stream::iter(Chunk::from_response(whole).map(Ok))))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn count_tokens(&self, _request: &ChatRequest) -> Option<u64> {
        self.input_tokens
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        let mut script = self.script.lock();
        script.probes += 1;
        script.probe.clone()
    }
}

impl fmt::Debug for ScriptedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedProvider")
            .field("id", &self.id)
            .field("capabilities", &self.capabilities)
            .field("counts", &self.counts())
            .field("unused", &self.unused())
            .finish_non_exhaustive()
    }
}
