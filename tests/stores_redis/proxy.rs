//! A way to a server that can be made slow or cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::server::pause;

/// Between a client and a server, until it is dropped.
pub(crate) struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Faults {
    delay_ms: AtomicU64,
    cut: AtomicBool,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::<Faults>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, server, Arc::clone(&faults)));
        Self { port, faults, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Every answer takes so much longer.
    pub(crate) fn delay(&self, by: Duration) {
        self.faults.delay_ms.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Breaks every connection, and each new one at once.
    pub(crate) fn cut(&self, cut: bool) {
        self.faults.cut.store(cut, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, server: u16, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(connect(client, server, Arc::clone(&faults)));
    }
}

async fn connect(client: TcpStream, server: u16, faults: Arc<Faults>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, &faults, false) => {}
        () = copy(from_server, to_client, &faults, true) => {}
        () = until_cut(&faults) => {}
    }
}

async fn until_cut(faults: &Faults) {
    while !faults.cut.load(Ordering::Relaxed) {
        pause(Duration::from_millis(1)).await;
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    faults: &Faults,
    delayed: bool,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = faults.delay_ms.load(Ordering::Relaxed);
        if delayed && delay > 0 {
            pause(Duration::from_millis(delay)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
