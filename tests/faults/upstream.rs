//! A plain server that speaks both wires and means well.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::wire::{Framing, Wire, answer};

/// What it saw, and how it frames its answers.
pub(crate) struct Upstream {
    framing: Mutex<Framing>,
    seen: Mutex<Vec<Request>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self { framing: Mutex::new(Framing::Chunked), seen: Mutex::default() }
    }

    pub(crate) fn frame(&self, framing: Framing) {
        *self.framing.lock() = framing;
    }

    /// The requests since this was last asked.
    pub(crate) fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock())
    }

    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            connections.spawn(Arc::clone(&self).converse(socket));
        }
    }

    async fn converse(self: Arc<Self>, mut socket: TcpStream) {
        while let Some(request) = read_request(&mut socket).await {
            let (wire, framing) = (request.wire(), *self.framing.lock());
            let bytes = answer(wire, request.streams(), framing);
            self.seen.lock().push(request);
            if socket.write_all(&bytes).await.is_err() || framing == Framing::Close {
                return;
            }
        }
    }
}

impl Request {
    fn wire(&self) -> Wire {
        if self.head.starts_with("POST /v1/messages") { Wire::Anthropic } else { Wire::OpenAi }
    }

    fn streams(&self) -> bool {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["stream"] == true
    }
}

/// One request; `None` when the client has gone.
pub(crate) async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap_or(0));
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { head, body: bytes.split_off(end) })
}
