//! An HTTP/1.1 server driven by hand: each test says byte for byte what a connection does.
//!
//! Nothing runs in the background. A test joins the server's side of a conversation with the
//! client's, so both end with it.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Listens on a free port of this machine.
pub(crate) struct Server(TcpListener);

impl Server {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The next connection, with its first request read.
    pub(crate) async fn accept(&self) -> Exchange {
        let (socket, _) = self.0.accept().await.unwrap();
        let mut exchange = Exchange { socket, head: String::new(), body: Vec::new() };
        exchange.read_request().await;
        exchange
    }

    /// Accepts, and answers with `response` as it stands.
    pub(crate) async fn answer(&self, response: impl AsRef<[u8]>) -> Exchange {
        let mut exchange = self.accept().await;
        exchange.write(response).await;
        exchange
    }

    /// Whether anyone has connected since the last accept. Connects itself and looks who is first.
    pub(crate) async fn was_left_alone(&self) -> bool {
        let own = TcpStream::connect(self.address()).await.unwrap();
        let (_, first) = self.0.accept().await.unwrap();
        own.local_addr().unwrap() == first
    }
}

/// A request that was read, and the connection to answer it on. Dropping it closes the connection.
pub(crate) struct Exchange {
    socket: TcpStream,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// Reads one request into `head` and `body`.
    pub(crate) async fn read_request(&mut self) {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.socket.read_buf(&mut bytes).await.unwrap() > 0, "closed in the head");
        };
        self.head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < end + length {
            assert!(self.socket.read_buf(&mut bytes).await.unwrap() > 0, "closed in the body");
        }
        self.body = bytes.split_off(end);
    }

    pub(crate) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes until the client is gone, which it has to be before 64 MiB.
    pub(crate) async fn flood(&mut self, byte: u8) {
        let piece = [byte; 4096];
        for _ in 0..16_384 {
            if self.socket.write_all(&piece).await.is_err() {
                return;
            }
        }
        panic!("the client reads on");
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset closes it as well.
        let _ = self.socket.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "the client sent more");
    }
}

/// A whole response. `headers` are lines without their ends.
pub(crate) fn response(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut response = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        response += header;
        response += "\r\n";
    }
    response += "\r\n";
    [response.into_bytes(), body.to_vec()].concat()
}

/// A JSON response.
pub(crate) fn json(status: u16, headers: &[&str], body: &serde_json::Value) -> Vec<u8> {
    response(status, &[&["content-type: application/json"], headers].concat(), body.to_string())
}

/// The head of an event stream, and `events` as its first chunk. The body goes on.
pub(crate) fn events(headers: &[&str], events: &str) -> Vec<u8> {
    let mut head = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n",
    );
    for header in headers {
        head += header;
        head += "\r\n";
    }
    [format!("{head}\r\n").into_bytes(), chunk(events)].concat()
}

/// A piece of a chunked body; the empty piece ends it.
pub(crate) fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// `body` as gzip, stored.
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let mut deflate = vec![1];
    deflate.extend(length.to_le_bytes());
    deflate.extend((!length).to_le_bytes());
    deflate.extend(body);
    gzip_of(&deflate, crc32(body), u32::from(length))
}

/// `1 + 258 * repeats` letters, packed about 160 to 1.
pub(crate) fn gzip_bomb(repeats: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with the fixed codes.
    bits.push(1, 1);
    bits.push(0b10, 2);
    bits.push(0x30 + u32::from(b'a'), 8);
    for _ in 0..repeats {
        // 258 letters again, from one letter back.
        bits.push(0b1100_0101, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    gzip_of(&bits.bytes, 0, 0)
}

fn gzip_of(deflate: &[u8], checksum: u32, length: u32) -> Vec<u8> {
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(deflate);
    gzip.extend(checksum.to_le_bytes());
    gzip.extend(length.to_le_bytes());
    gzip
}

/// Codes go in from their highest bit, bytes fill from their lowest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, code: u32, length: u32) {
        for at in (0..length).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((code >> at & 1) as u8) << (self.used % 8);
            self.used += 1;
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}
