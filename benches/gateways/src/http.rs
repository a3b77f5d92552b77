//! As much of HTTP/1.1 as it takes to ask and to know where the answer ends.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection, opened when it is needed.
#[derive(Debug)]
pub struct Connection {
    port: u16,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl Connection {
    /// To a port of this machine.
    pub const fn to(port: u16) -> Self {
        Self { port, stream: None, received: Vec::new() }
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// When the connection fails, and when the status is not 200.
    pub async fn ask(&mut self, request: &[u8]) -> Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.port).await?,
        };
        stream.write_all(request).await?;
        self.received.clear();
        let answer = loop {
            if let Some(answer) = Answer::read(&self.received)? {
                break answer;
            }
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        self.stream = (!answer.closes).then_some(stream);
        match answer.status {
            200 => Ok(()),
            _ => Err(Error::other(String::from_utf8_lossy(&self.received).into_owned())),
        }
    }
}

async fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request that posts `body` as JSON.
pub fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    closes: bool,
}

impl Answer {
    /// The answer in `received`, if it is there as a whole.
    fn read(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
        let head = std::str::from_utf8(&received[..end]).map_err(|_| wrong("a head"))?;
        let head = head.to_ascii_lowercase();
        let body = &received[end + 4..];
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let answer = Self {
            status: status.ok_or_else(|| wrong("a status"))?,
            closes: header(&head, "connection") == Some("close"),
        };
        let whole = match header(&head, "content-length") {
            Some(length) => body.len() >= length.parse().map_err(|_| wrong("a length"))?,
            None => last_chunk_is_in(body).ok_or_else(|| wrong("a chunk"))?,
        };
        Ok(whole.then_some(answer))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let mut values = lines.filter_map(|line| line.split_once(':'));
    values.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

/// Whether a chunked body is there up to its end; `None` where it is not chunked at all.
fn last_chunk_is_in(mut body: &[u8]) -> Option<bool> {
    loop {
        let Some(end) = body.windows(2).position(|two| two == b"\r\n") else { return Some(false) };
        let size = std::str::from_utf8(&body[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let chunk = end + 2 + size + 2;
        if body.len() < chunk {
            return Some(false);
        }
        if size == 0 {
            return Some(true);
        }
        body = &body[chunk..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Answer> {
        Answer::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ] {
            assert_eq!(read(whole), Some(Answer { status: 200, closes: false }));
            for cut in 0..whole.len() {
                assert_eq!(read(&whole[..cut]), None, "{}", &whole[..cut]);
            }
        }
    }

    #[test]
    fn who_closes_is_not_asked_again() {
        let answer = read("HTTP/1.1 503 No\r\nConnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(answer, Some(Answer { status: 503, closes: true }));
    }
}
