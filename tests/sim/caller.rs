//! One call: made, read or left, and held against what it must be.

use std::time::Duration;

use evenkeel::rng::Rng;
use evenkeel::testing::drop_after_polls;
use evenkeel::time::{Instant, after, now, sleep_until};
use evenkeel::{
    CacheControl, Call, ChatRequest, ChatResponse, CompletionStream, Error, LlmClient, Priority,
    ServedBy,
};
use futures::StreamExt;

use crate::world::{Mood, World};

/// Timers fire on whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// How a call ended, as its caller saw it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) tenant: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// The answer came, from where, and what its usage says.
    Answered {
        upstream: bool,
        tokens: u64,
    },
    /// The caller left before.
    Left,
    Failed(Box<Error>),
    /// It was dropped before it was ever asked for anything.
    NeverBegun,
}

pub(crate) struct Caller<'a> {
    world: &'a World,
    client: &'a LlmClient,
    rng: &'a Rng,
    tenant: u64,
    /// The words of the question: the answer repeats them, and nobody else's.
    words: [String; 2],
    deadline: Duration,
    began: Instant,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(world: &'a World, rng: &'a Rng) -> Self {
        let tenant = rng.below(world.tenants);
        let question = rng.below(6);
        let deadline = match world.mood {
            Mood::Calm | Mood::Fleet => Duration::from_secs(3_600),
            Mood::Tight | Mood::Wild => Duration::from_millis(500 + rng.below(40_000)),
        };
        Self {
            world,
            client: &world.clients[rng.below(world.clients.len() as u64) as usize],
            rng,
            tenant,
            words: [format!("t{tenant}"), format!("q{question}")],
            deadline,
            began: now(),
        }
    }

    pub(crate) async fn call(self) -> Told {
        let leaves = self.world.leave && self.rng.below(3) == 0;
        let polls = if leaves { self.rng.below(12) as usize } else { usize::MAX };
        let end = if self.rng.below(2) == 0 {
            drop_after_polls(self.whole(), polls).await
        } else {
            drop_after_polls(self.streamed(), polls).await
        };
        let ended = now();
        let late = ended.saturating_duration_since(self.began + self.deadline);
        assert!(late <= TICK, "{late:?} past the deadline of {:?}", self.deadline);
        let never = if polls == 0 { End::NeverBegun } else { End::Left };
        Told { tenant: self.tenant, began: self.began, ended, end: end.unwrap_or(never) }
    }

    fn asked(&self) -> Call {
        let classes = [Priority::Interactive, Priority::Normal, Priority::Batch];
        let [tenant, question] = &self.words;
        let request =
            ChatRequest::new("m").user(format!("{tenant} {question}")).max_output_tokens(64);
        let call = request
            .tenant(tenant.as_str())
            .priority(classes[self.rng.below(3) as usize])
            .deadline_in(self.deadline);
        match self.rng.below(6) {
            0 => call.cache(CacheControl::Bypass),
            1 => call.cache(CacheControl::Refresh),
            2 => call.cache(CacheControl::ExactOnly),
            _ => call,
        }
    }

    async fn whole(&self) -> End {
        match self.client.complete(self.asked()).await {
            Ok(done) => {
                self.must_be_mine(&done.text(), true);
                answered(&done.report.served_by, &done.response)
            }
            Err(error) => self.failed(error),
        }
    }

    async fn streamed(&self) -> End {
        match self.client.stream(self.asked()).await {
            Ok(stream) => self.read(stream).await,
            Err(error) => self.failed(error),
        }
    }

    /// Reads chunk by chunk, some callers slowly, some not to the end.
    async fn read(&self, mut stream: CompletionStream) -> End {
        let slow = self.rng.below(4) == 0 && !self.world.mood.is_patient();
        let leaves = self.world.leave && self.rng.below(4) == 0;
        let most = if leaves { self.rng.below(10) } else { u64::MAX };
        // A caller that is asleep at its deadline hears of it later, which is its own affair.
        let deadline = after(self.began, self.deadline);
        let (mut heard, mut chunks) = (String::new(), 0);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return self.failed(error),
            };
            assert!(stream.report().is_none() || chunk.is_done(), "a chunk after the end");
            heard.push_str(chunk.as_text().unwrap_or_default());
            self.must_be_mine(&heard, false);
            chunks += 1;
            if chunks > most {
                return End::Left;
            }
            if slow {
                let pause = after(now(), self.rng.jitter(Duration::from_millis(300)));
                sleep_until(pause.min(deadline)).await;
            }
        }
        let upstream = stream.report().map(|report| report.served_by.endpoint().is_some());
        let done = stream.into_completion().await.expect("it ended well");
        assert_eq!(done.text(), heard, "what was read is what the account says");
        assert_eq!(upstream, Some(done.report.served_by.endpoint().is_some()));
        answered(&done.report.served_by, &done.response)
    }

    /// The answer is the question's words again and again, each with the mark of its place, once and
    /// in order, from the first word on: no chunk of another call, none twice, none missing.
    fn must_be_mine(&self, text: &str, whole: bool) {
        let [tenant, question] = &self.words;
        let round = format!("{tenant} {question} ");
        let all = Marks::default().mark(&round.repeat(text.len() / round.len() + 1));
        assert!(all.starts_with(text), "asked {tenant} {question}, heard {text}");
        assert!(!whole || !text.is_empty());
    }

    fn failed(&self, error: Error) -> End {
        if let Some(partial) = error.partial() {
            self.must_be_mine(&partial.text(), false);
        }
        assert!(!self.world.mood.is_patient(), "nothing fails in calm: {error}");
        End::Failed(Box::new(error))
    }
}

/// Numbers the spaces of an answer, so that no two words of it are the same.
#[derive(Default)]
pub(crate) struct Marks(usize);

impl Marks {
    /// As many as an answer of the simulation has words at the most.
    const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(crate) fn mark(&mut self, text: &str) -> String {
        let mark = |letter| {
            if letter != ' ' {
                return letter;
            }
            self.0 += 1;
            char::from(Self::ALL[self.0 % Self::ALL.len()])
        };
        text.chars().map(mark).collect()
    }
}

fn answered(by: &ServedBy, response: &ChatResponse) -> End {
    let tokens = response.usage.total_tokens();
    End::Answered { upstream: by.endpoint().is_some(), tokens }
}
