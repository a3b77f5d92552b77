//! How much a server may send.

/// How much of a server's response is read before it is called malformed.
///
/// All counts are bytes after decompression. The number and size of response headers are bounded
/// by hyper (100 headers, about 400 KiB on HTTP/1.1; 16 KiB on HTTP/2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpBounds {
    /// A whole, unstreamed body. Default 16 MiB.
    pub body: usize,
    /// The body of an error; the rest is cut off, not refused. Default 64 KiB.
    pub error_body: usize,
    /// One line of an event stream. Default 256 KiB.
    pub line: usize,
    /// One event of a stream. Default 1 MiB.
    pub event: usize,
    /// A whole event stream. Default 32 MiB.
    pub stream: usize,
}

impl Default for HttpBounds {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            error_body: 64 << 10,
            line: 256 << 10,
            event: 1 << 20,
            stream: 32 << 20,
        }
    }
}

impl HttpBounds {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the bound of a whole, unstreamed body.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }

    /// With the part of an error body that is read.
    #[must_use]
    pub const fn error_body(mut self, bytes: usize) -> Self {
        self.error_body = bytes;
        self
    }

    /// With the bound of one line of an event stream.
    #[must_use]
    pub const fn line(mut self, bytes: usize) -> Self {
        self.line = bytes;
        self
    }

    /// With the bound of one event of a stream.
    #[must_use]
    pub const fn event(mut self, bytes: usize) -> Self {
        self.event = bytes;
        self
    }

    /// With the bound of a whole event stream.
    #[must_use]
    pub const fn stream(mut self, bytes: usize) -> Self {
        self.stream = bytes;
        self
    }
}
