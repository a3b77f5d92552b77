//! The way to the server, and what can be wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::upstream::read_request;

/// What a connection does to the server's answer. Counts are bytes of it, its head included.
#[derive(Debug, Clone)]
pub(crate) enum Toxic {
    Clear,
    /// Everything comes so much later.
    Delay(Duration),
    /// Closes in good order after so many bytes.
    Cut(usize),
    /// Resets the connection after so many bytes.
    Reset(usize),
    /// Falls silent after so many bytes, the connection open.
    Stall(usize),
    /// One byte a tick.
    Trickle(Duration),
    /// From a byte on, so many random ones.
    Garble {
        at: usize,
        length: usize,
        seed: u64,
    },
    /// Reads and never answers.
    Mute,
    /// Ends its own side at once and reads on.
    Shut,
    /// Answers itself.
    Say(Arc<Script>),
}

/// An answer of the proxy's own: the head, a piece many times over, the tail.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) head: Vec<u8>,
    pub(crate) piece: Vec<u8>,
    pub(crate) times: u64,
    /// Between two pieces.
    pub(crate) pace: Option<Duration>,
    pub(crate) tail: Vec<u8>,
    /// Whether the connection then stays open, silent.
    pub(crate) holds: bool,
}

pub(crate) struct Proxy {
    toxic: Mutex<Toxic>,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        Self {
            toxic: Mutex::new(Toxic::Clear),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        }
    }

    /// What connections are from now on.
    pub(crate) fn poison(&self, toxic: Toxic) {
        *self.toxic.lock() = toxic;
    }

    /// Connections that the client has not closed.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections since this began.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, upstream: u16) {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            self.open.fetch_add(1, Ordering::Relaxed);
            let proxy = Arc::clone(&self);
            connections.spawn(async move {
                // What went wrong here is the client's to notice.
                let _ = proxy.connect(client, upstream).await;
                proxy.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn connect(&self, client: TcpStream, upstream: u16) -> std::io::Result<()> {
        let toxic = self.toxic.lock().clone();
        client.set_nodelay(true)?;
        match toxic {
            Toxic::Mute => swallow(client.into_split().0).await,
            Toxic::Shut => {
                let (reader, mut writer) = client.into_split();
                writer.shutdown().await?;
                swallow(reader).await
            }
            Toxic::Say(script) => say(client, &script).await,
            toxic => pass(client, TcpStream::connect(("127.0.0.1", upstream)).await?, &toxic).await,
        }
    }
}

async fn pass(client: TcpStream, server: TcpStream, toxic: &Toxic) -> std::io::Result<()> {
    let ((client_reader, mut to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let back = async {
        spoil(from_server, &mut to_client, toxic).await?;
        if matches!(toxic, Toxic::Reset(_)) {
            to_client.as_ref().set_zero_linger()?;
        } else {
            to_client.shutdown().await?;
        }
        Ok::<_, std::io::Error>(matches!(toxic, Toxic::Reset(_)))
    };
    let forth = forward(client_reader, to_server);
    tokio::pin!(forth, back);
    tokio::select! {
        // The client has closed.
        done = &mut forth => done,
        reset = &mut back => if reset? { Ok(()) } else { forth.await },
    }
}

/// Passes the answer on as far as `toxic` lets it.
async fn spoil(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    toxic: &Toxic,
) -> std::io::Result<()> {
    let (mut buffer, mut passed) = (vec![0; 1 << 16], 0);
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let bytes = &mut buffer[..length];
        match *toxic {
            Toxic::Delay(by) => sleep_until(after(now(), by)).await,
            Toxic::Garble { at, length, seed } => garble(bytes, passed, at..at + length, seed),
            Toxic::Trickle(tick) => {
                for byte in bytes.iter() {
                    to.write_all(&[*byte]).await?;
                    sleep_until(after(now(), tick)).await;
                }
                continue;
            }
            Toxic::Cut(at) | Toxic::Reset(at) | Toxic::Stall(at) if passed + length >= at => {
                to.write_all(&bytes[..at - passed]).await?;
                if matches!(toxic, Toxic::Stall(_)) {
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
            _ => {}
        }
        to.write_all(bytes).await?;
        passed += length;
    }
}

async fn say(mut client: TcpStream, script: &Script) -> std::io::Result<()> {
    if read_request(&mut client).await.is_none() {
        return Ok(());
    }
    let (reader, mut writer) = client.into_split();
    let speaking = async {
        writer.write_all(&script.head).await?;
        for _ in 0..script.times {
            writer.write_all(&script.piece).await?;
            if let Some(pace) = script.pace {
                sleep_until(after(now(), pace)).await;
            }
        }
        writer.write_all(&script.tail).await?;
        if !script.holds {
            writer.shutdown().await?;
        }
        std::future::pending().await
    };
    tokio::select! {
        failed = speaking => failed,
        gone = swallow(reader) => gone,
    }
}

/// Until the client has closed its side.
async fn swallow(mut reader: OwnedReadHalf) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        // A server that has gone says nothing of the client.
        let _ = to.write_all(&buffer[..length]).await;
    }
}

fn garble(bytes: &mut [u8], passed: usize, range: std::ops::Range<usize>, seed: u64) {
    let rng = Rng::from_seed(seed);
    for (at, byte) in bytes.iter_mut().enumerate() {
        if range.contains(&(passed + at)) {
            *byte = (rng.unit() * 256.0) as u8;
        }
    }
}
