//! A server on loopback that answers a little at a time, and knows whom it works for.
#![expect(
    clippy::disallowed_methods,
    reason = "a server is somebody else, who has tasks of its own"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::testing::drop_after_polls;
use evenkeel::time::{now, sleep_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PAUSE: Duration = Duration::from_millis(3);

pub(crate) struct Server {
    port: u16,
    books: Arc<Books>,
}

/// Of connections and answers, how many are open.
#[derive(Default)]
struct Books {
    connections: AtomicUsize,
    answers: AtomicUsize,
    asked: AtomicUsize,
}

/// One more of these, until it is dropped.
struct One<'a>(&'a AtomicUsize);

impl<'a> One<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// One that answers every request with these pieces.
    pub(crate) async fn start(pieces: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (books, pieces) = (Arc::<Books>::default(), Arc::new(pieces));
        let kept = Arc::clone(&books);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (books, pieces) = (Arc::clone(&kept), Arc::clone(&pieces));
                tokio::spawn(async move {
                    let _connection = One::of(&books.connections);
                    serve(socket, &books, &pieces).await;
                });
            }
        });
        Self { port, books }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Drops what `make` makes after every number of polls: the server hears of it each time.
    pub(crate) async fn sweep<F: Future>(&self, make: impl Fn() -> F) -> F::Output {
        for polls in 0.. {
            let output = drop_after_polls(make(), polls).await;
            self.soon(&self.books.answers, &format!("it answers after {polls} polls")).await;
            if let Some(output) = output {
                assert!(polls > 2, "it was not dropped half-way");
                return output;
            }
        }
        unreachable!("it ends")
    }

    /// Who asked is gone, and has left no connection behind.
    pub(crate) async fn is_left(&self) {
        assert!(self.books.asked.load(Ordering::SeqCst) > 1, "it was asked");
        self.soon(&self.books.connections, "a connection is open").await;
    }

    /// News takes its time over a socket.
    async fn soon(&self, open: &AtomicUsize, otherwise: &str) {
        for _ in 0..2_000 {
            sleep_until(now() + PAUSE).await;
            if open.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
        panic!("{otherwise}");
    }
}

/// Answers one request after the other, until the client closes.
async fn serve(mut socket: TcpStream, books: &Books, pieces: &[Vec<u8>]) {
    while read_request(&mut socket).await.is_some() {
        books.asked.fetch_add(1, Ordering::SeqCst);
        let _answer = One::of(&books.answers);
        for piece in pieces {
            let mut none = [0];
            let closed = tokio::time::timeout(PAUSE, socket.read(&mut none)).await;
            if closed.is_ok() || socket.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

/// Reads one request to its end.
async fn read_request(socket: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            return Some(());
        }
    }
}

/// A whole answer in so many pieces.
pub(crate) fn json(body: &serde_json::Value) -> Vec<Vec<u8>> {
    let body = body.to_string();
    let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: ";
    let bytes = format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes();
    bytes.chunks(bytes.len().div_ceil(4)).map(<[u8]>::to_vec).collect()
}

/// An event stream, an event a piece.
pub(crate) fn events(events: &[String]) -> Vec<Vec<u8>> {
    let head =
        "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |event: &String| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
    let end = b"0\r\n\r\n".to_vec();
    let head = head.as_bytes().to_vec();
    [head].into_iter().chain(events.iter().map(chunk)).chain([end]).collect()
}

/// Reads a stream to its end, and must be told all of it.
pub(crate) async fn text(stream: Result<evenkeel::ChunkStream, evenkeel::ProviderError>) -> String {
    use futures::StreamExt as _;
    let mut stream = stream.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().as_text().unwrap_or_default());
    }
    text
}
