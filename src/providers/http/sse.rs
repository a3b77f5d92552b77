//! An incremental, bounded reader of event streams (`text/event-stream`).
//!
//! Pure: bytes in, events out. Lines end in `\n`, `\r\n` or `\r`, and the bytes may be cut anywhere,
//! inside a character or a line end too. Every byte is looked at once and copied at most twice,
//! whatever the cuts.

use std::ops::Range;

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::bounds::HttpBounds;

/// One event. Borrowed from the reader: of the bytes just fed where the event lies in them whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The event's type; `message` where the stream names none.
    pub name: &'a str,
    /// Its data lines, joined by `\n`.
    pub data: &'a str,
}

/// What a reader yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A whole event.
    Event(Event<'a>),
    /// A comment: the server is alive and says nothing.
    Heartbeat,
}

/// Reads one event stream.
///
/// Feed it, then take items until there are none, then feed it again: feeding over items that were
/// not taken moves their bytes another time.
pub(crate) struct Reader {
    bounds: HttpBounds,
    buffer: Vec<u8>,
    /// Where the line being read starts in `buffer`.
    line: usize,
    /// Up to where `buffer` is known to hold no end of that line.
    scanned: usize,
    /// The last line ended in `\r`; a `\n` that follows belongs to it.
    after_cr: bool,
    /// Bytes fed so far.
    received: usize,
    /// No line was read yet, so a byte order mark may come.
    fresh: bool,
    ended: bool,
    name: String,
    data: Data,
    joined: Vec<u8>,
    /// The data as text, where it is not UTF-8 as it stands.
    repaired: String,
    dispatched: bool,
}

/// Where the data lines of the event being read are.
enum Data {
    None,
    /// One line, still in `buffer`.
    Line(Range<usize>),
    /// In `joined`.
    Joined,
}

enum Field {
    Ignored,
    Comment,
    /// The blank line that ends an event which has data.
    Dispatch,
}

impl Reader {
    pub(crate) fn new(bounds: HttpBounds) -> Self {
        Self {
            bounds,
            buffer: Vec::new(),
            line: 0,
            scanned: 0,
            after_cr: false,
            received: 0,
            fresh: true,
            ended: false,
            name: String::new(),
            data: Data::None,
            joined: Vec::new(),
            repaired: String::new(),
            dispatched: false,
        }
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when the stream outgrows its bound.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), ProviderError> {
        self.received = self.received.saturating_add(bytes.len());
        within(self.received, self.bounds.stream, "event stream")?;
        self.forget_dispatched();
        self.detach_data();
        self.buffer.drain(..self.line);
        self.scanned -= self.line;
        self.line = 0;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The body ended: what is left counts as a whole event.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// The next item in what was fed; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when a line or an event outgrows its bound. The reader is of no use
    /// after that.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, ProviderError> {
        self.forget_dispatched();
        while let Some(line) = self.take_line()? {
            match self.read(line)? {
                Field::Ignored => {}
                Field::Comment => return Ok(Some(Item::Heartbeat)),
                Field::Dispatch => return Ok(Some(Item::Event(self.dispatch()))),
            }
        }
        if self.ended && !matches!(self.data, Data::None) {
            return Ok(Some(Item::Event(self.dispatch())));
        }
        Ok(None)
    }

    fn take_line(&mut self) -> Result<Option<Range<usize>>, ProviderError> {
        self.skip_line_feed();
        let unscanned = &self.buffer[self.scanned..];
        let Some(length) = unscanned.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return self.take_rest();
        };
        let line = self.line..self.scanned + length;
        within(line.len(), self.bounds.line, "line of the event stream")?;
        self.after_cr = self.buffer[line.end] == b'\r';
        self.line = line.end + 1;
        self.scanned = self.line;
        Ok(Some(line))
    }

    fn skip_line_feed(&mut self) {
        if self.after_cr && self.line < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.line] == b'\n' {
                self.line += 1;
                self.scanned = self.line;
            }
        }
    }

    /// An unfinished line is a line once the body has ended.
    fn take_rest(&mut self) -> Result<Option<Range<usize>>, ProviderError> {
        let line = self.line..self.buffer.len();
        self.scanned = line.end;
        within(line.len(), self.bounds.line, "line of the event stream")?;
        if !self.ended || line.is_empty() {
            return Ok(None);
        }
        self.line = line.end;
        Ok(Some(line))
    }

    fn read(&mut self, mut line: Range<usize>) -> Result<Field, ProviderError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        if std::mem::take(&mut self.fresh) && self.buffer[line.clone()].starts_with(BYTE_ORDER_MARK)
        {
            line.start += BYTE_ORDER_MARK.len();
        }
        let bytes = &self.buffer[line.clone()];
        let (field, value) = match bytes.iter().position(|&byte| byte == b':') {
            Some(colon) => (&bytes[..colon], line.start + colon + 1..line.end),
            None => (bytes, line.end..line.end),
        };
        match field {
            b"" if line.is_empty() => Ok(self.read_blank()),
            b"" => Ok(Field::Comment),
            b"data" => self.read_data(value).map(|()| Field::Ignored),
            b"event" => self.read_name(value).map(|()| Field::Ignored),
            // `id` and `retry` serve reconnection, which a generation does not survive.
            _ => Ok(Field::Ignored),
        }
    }

    fn read_blank(&mut self) -> Field {
        if matches!(self.data, Data::None) {
            self.name.clear();
            return Field::Ignored;
        }
        Field::Dispatch
    }

    fn read_name(&mut self, value: Range<usize>) -> Result<(), ProviderError> {
        let value = self.without_space(value);
        self.name.clear();
        self.name.push_str(&String::from_utf8_lossy(&self.buffer[value]));
        self.check_event(0)
    }

    fn read_data(&mut self, value: Range<usize>) -> Result<(), ProviderError> {
        let value = self.without_space(value);
        self.check_event(value.len())?;
        if matches!(self.data, Data::None) {
            self.data = Data::Line(value);
            return Ok(());
        }
        self.detach_data();
        self.joined.push(b'\n');
        self.joined.extend_from_slice(&self.buffer[value]);
        Ok(())
    }

    fn without_space(&self, value: Range<usize>) -> Range<usize> {
        let space = usize::from(self.buffer[value.clone()].first() == Some(&b' '));
        value.start + space..value.end
    }

    fn check_event(&self, more: usize) -> Result<(), ProviderError> {
        let data = match &self.data {
            Data::None => 0,
            Data::Line(line) => line.len() + 1,
            Data::Joined => self.joined.len() + 1,
        };
        within(self.name.len() + data + more, self.bounds.event, "event of the stream")
    }

    /// Moves a line that is still in the buffer to where it survives the next feed.
    fn detach_data(&mut self) {
        if let Data::Line(line) = &self.data {
            self.joined.extend_from_slice(&self.buffer[line.clone()]);
            self.data = Data::Joined;
        }
    }

    fn dispatch(&mut self) -> Event<'_> {
        self.dispatched = true;
        let data = match &self.data {
            Data::None => &[],
            Data::Line(line) => &self.buffer[line.clone()],
            Data::Joined => &self.joined[..],
        };
        let name = if self.name.is_empty() { "message" } else { &self.name };
        match std::str::from_utf8(data) {
            Ok(data) => Event { name, data },
            Err(_) => {
                self.repaired.push_str(&String::from_utf8_lossy(data));
                Event { name, data: &self.repaired }
            }
        }
    }

    fn forget_dispatched(&mut self) {
        if std::mem::take(&mut self.dispatched) {
            self.data = Data::None;
            self.joined.clear();
            self.name.clear();
            self.repaired.clear();
        }
    }
}

/// Sizes only: the buffers hold answers.
impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("received", &self.received)
            .field("buffered", &(self.buffer.len() - self.line))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn within(bytes: usize, bound: usize, what: &str) -> Result<(), ProviderError> {
    if bytes <= bound {
        return Ok(());
    }
    Err(ProviderError::new(ErrorKind::Malformed, format!("the {what} has more than {bound} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<Option<(String, String)>>;

    fn drain(reader: &mut Reader, seen: &mut Seen) -> Result<(), ProviderError> {
        while let Some(item) = reader.next()? {
            seen.push(match item {
                Item::Event(event) => Some((event.name.to_owned(), event.data.to_owned())),
                Item::Heartbeat => None,
            });
        }
        Ok(())
    }

    fn read<'a>(
        bounds: HttpBounds,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Seen, ProviderError> {
        let (mut reader, mut seen) = (Reader::new(bounds), Seen::new());
        for piece in pieces {
            reader.feed(piece)?;
            drain(&mut reader, &mut seen)?;
        }
        reader.end();
        drain(&mut reader, &mut seen)?;
        Ok(seen)
    }

    fn message(data: &str) -> Option<(String, String)> {
        named("message", data)
    }

    fn named(name: &str, data: &str) -> Option<(String, String)> {
        Some((name.to_owned(), data.to_owned()))
    }

    fn whole(text: &str) -> Seen {
        read(HttpBounds::new(), [text.as_bytes()]).unwrap()
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["event: ping", "data: a", "data:b", "", "data: c", "", ""].join(end);
            assert_eq!(whole(&text), [named("ping", "a\nb"), message("c")], "{end:?}");
        }
    }

    #[test]
    fn comments_are_heartbeats_and_blank_events_are_nothing() {
        assert_eq!(whole(": keep-alive\n\nevent: x\n\ndata: a\n\n"), [None, message("a")]);
    }

    #[test]
    fn the_byte_order_mark_goes_and_only_one_space_goes() {
        assert_eq!(whole("\u{feff}data:  a\n\n"), [message(" a")]);
        assert_eq!(whole("data\n\n"), [message("")]);
        assert_eq!(whole("id: 7\nretry: 9\nnonsense\ndata: a\n\n"), [message("a")]);
    }

    #[test]
    fn what_the_body_ends_in_is_an_event() {
        assert_eq!(whole("data: [DONE]"), [message("[DONE]")]);
        assert_eq!(whole("data: [DONE]\n"), [message("[DONE]")]);
        assert_eq!(whole("event: lonely"), []);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let seen = read(HttpBounds::new(), [&b"data: a\xff\n\n"[..]]).unwrap();
        assert_eq!(seen, [message("a\u{fffd}")]);
    }

    #[test]
    fn every_bound_is_kept_to_the_byte() {
        let line = HttpBounds::new().line(8);
        assert_eq!(read(line, [&b"data: ab\n\n"[..]]).unwrap(), [message("ab")]);
        assert!(read(line, [&b"data: abc\n\n"[..]]).is_err(), "a finished line");
        assert!(read(line, [&b"data: "[..], b"abc"]).is_err(), "an unfinished line");

        let event = HttpBounds::new().event(5);
        assert_eq!(read(event, [&b"data:ab\ndata:cd\n\n"[..]]).unwrap(), [message("ab\ncd")]);
        let error = read(event, [&b"data:ab\ndata:cde\n\n"[..]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);

        let stream = HttpBounds::new().stream(4);
        assert!(read(stream, [&b"\n\n"[..], b"\n\n"]).is_ok());
        assert!(read(stream, [&b"\n\n"[..], b"\n\n\n"]).is_err());
    }

    #[test]
    fn an_event_that_arrives_whole_is_not_copied() {
        let mut reader = Reader::new(HttpBounds::new());
        reader.feed(b"data: whole\n\n").unwrap();
        let inside = reader.buffer.as_ptr_range();
        let Some(Item::Event(event)) = reader.next().unwrap() else { panic!("no event") };
        assert!(inside.contains(&event.data.as_ptr()));
    }

    #[test]
    fn a_long_line_in_single_bytes_is_scanned_once() {
        let mut reader = Reader::new(HttpBounds::new());
        for _ in 0..200_000 {
            reader.feed(b"x").unwrap();
            assert!(reader.next().unwrap().is_none());
            assert_eq!(reader.scanned, reader.buffer.len());
        }
    }

    #[test]
    fn endless_comments_inside_an_event_hold_no_memory() {
        let mut reader = Reader::new(HttpBounds::new());
        reader.feed(b"data: a\n").unwrap();
        for _ in 0..10_000 {
            while reader.next().unwrap().is_some() {}
            reader.feed(b": still here\nunknown: field\n").unwrap();
            assert!(reader.buffer.len() < 64);
        }
    }

    /// Deals `bytes` out in pieces of the given lengths, the rest as one.
    fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for &length in lengths {
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces.push(bytes);
        pieces
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_is_read(
            text in "((data: ?|event: ?|: ?|id:|x)[a-zé€\u{1f600}]{0,6}|)((\r\n|\n|\r)((data: ?|event: ?|: ?|)[a-zé€\u{1f600}]{0,6})){0,12}",
            lengths in prop::collection::vec(0usize..6, 0..40),
        ) {
            let expected = whole(&text);
            let pieces = cut(text.as_bytes(), &lengths);
            prop_assert_eq!(read(HttpBounds::new(), pieces).unwrap(), expected);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), lengths in prop::collection::vec(0usize..9, 0..40)) {
            let bounds = HttpBounds::new().line(30).event(50);
            if let Ok(seen) = read(bounds, cut(&bytes, &lengths)) {
                // Replacing a byte that is no text by U+FFFD makes three of one.
                prop_assert!(seen.iter().flatten().all(|(name, data)| name.len() + data.len() <= 3 * 50 + 7));
            }
        }
    }
}
