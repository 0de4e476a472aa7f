//! Lines of a file, gzipped or not, each bounded and told apart by what it holds.
//!
//! Lines are forwarded as they are: events hold whatever a user sent, invalid UTF-8
//! and worse, so nothing here reads further into them than it must.

use std::io::{self, BufRead, BufReader, Read};

use auditchain_log::json::{EventView, split_event_list};
use flate2::bufread::MultiGzDecoder;

use crate::limits::LINE_BYTES_MAX;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Where the apiserver writes `kind`: its first member.
const KIND_WITHIN_BYTES: usize = 256;

/// What wraps events of a log file into a list.
pub(crate) const LIST_HEAD: &[u8] =
    br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
/// See [`LIST_HEAD`].
pub(crate) const LIST_TAIL: &[u8] = b"]}";

/// A file, unpacked.
pub struct Input {
    reader: Box<dyn BufRead>,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the newline.
    Whole(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]; passed over.
    TooLong,
}

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Blank,
    /// A request body.
    List,
    /// One event.
    Event,
    /// Neither.
    Unknown,
}

impl Input {
    /// Takes a reader; gzip is told by the first bytes, not by a name.
    ///
    /// # Errors
    /// The first read fails.
    pub fn new(reader: impl Read + 'static) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let is_gzip = peek_two(&mut reader)? == GZIP_MAGIC;
        let reader: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(
                1 << 16,
                MultiGzDecoder::new(reader),
            ))
        } else {
            Box::new(reader)
        };
        Ok(Self { reader })
    }

    pub(super) fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self
            .reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > LINE_BYTES_MAX {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line)))
    }

    /// Adds all that is left to `start`; false if that is more than a request may have.
    pub(super) fn rest(&mut self, start: &mut Vec<u8>) -> io::Result<bool> {
        let room = LINE_BYTES_MAX.saturating_sub(start.len());
        self.reader
            .by_ref()
            .take(room as u64 + 1)
            .read_to_end(start)?;
        Ok(start.len() <= LINE_BYTES_MAX)
    }
}

/// The first two bytes, left in the reader; zeros where there are none. A pipe may
/// hand over one byte first, which is no gzip then and is forwarded as it is.
fn peek_two(reader: &mut BufReader<impl Read>) -> io::Result<[u8; 2]> {
    let bytes = reader.fill_buf()?;
    Ok(bytes.first_chunk().copied().unwrap_or_default())
}

/// Tells what a line holds.
pub(super) fn content(line: &[u8]) -> Content {
    let line = line.trim_ascii();
    if line.is_empty() {
        Content::Blank
    } else if line[0] != b'{' {
        Content::Unknown
    } else if says_event_list(line) {
        // Even if it is cut off: the service seals what it refuses.
        Content::List
    } else if is_event(line) {
        Content::Event
    } else if split_event_list(line).is_ok() {
        Content::List
    } else {
        Content::Unknown
    }
}

/// `"kind":"EventList"` near the beginning.
fn says_event_list(line: &[u8]) -> bool {
    let start = &line[..line.len().min(KIND_WITHIN_BYTES)];
    let Some(at) = start.windows(6).position(|window| window == b"\"kind\"") else {
        return false;
    };
    let value = start[at + 6..].trim_ascii_start();
    value
        .strip_prefix(b":")
        .is_some_and(|value| value.trim_ascii_start().starts_with(b"\"EventList\""))
}

/// It has what every event has, and it ends: it can't swallow those put after it.
fn is_event(line: &[u8]) -> bool {
    let view = EventView::read(line);
    (view.stage.is_some() || view.audit_id.is_some())
        && split_event_list(&[LIST_HEAD, line, LIST_TAIL].concat())
            .is_ok_and(|list| list.items == [line])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"RequestReceived"}"#;

    #[test]
    fn lines_are_told_apart_by_their_content() {
        let list = format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{EVENT}]}}"
        );
        let late = format!(
            "{{\"items\":[{EVENT}],\"apiVersion\":\"audit.k8s.io/v1\",\"kind\":\"EventList\"}}"
        );
        for (line, expected) in [
            (EVENT.to_string(), Content::Event),
            (format!("  {EVENT}\r"), Content::Event),
            (list.clone(), Content::List),
            (
                list.replace("\":\"EventList", "\" : \"EventList"),
                Content::List,
            ),
            (list[..list.len() - 9].to_string(), Content::List),
            (late, Content::List),
            (String::new(), Content::Blank),
            (" \r".into(), Content::Blank),
            (EVENT[..EVENT.len() - 1].to_string(), Content::Unknown),
            (format!("{EVENT},{EVENT}"), Content::Unknown),
            (format!("{EVENT}]}}"), Content::Unknown),
            ("{\"kind\":\"Pod\"}".into(), Content::Unknown),
            ("[1]".into(), Content::Unknown),
            ("I0101 some log".into(), Content::Unknown),
        ] {
            assert_eq!(content(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn hostile_bytes_inside_an_event_do_not_matter() {
        for inside in [&b"\xff\xfe"[..], br"\ud800", br#"","a":1e999,"a":""#] {
            let line = [
                &EVENT.as_bytes()[..EVENT.len() - 1],
                b",\"requestObject\":\"",
                inside,
                b"\"}",
            ]
            .concat();
            assert_eq!(
                content(&line),
                Content::Event,
                "{}",
                String::from_utf8_lossy(&line)
            );
        }
        let deep =
            EVENT.replace("}", ",\"requestObject\":") + &"[".repeat(9000) + &"]".repeat(9000) + "}";
        assert_eq!(content(deep.as_bytes()), Content::Event);
    }

    fn lines(bytes: Vec<u8>) -> Vec<Line> {
        let mut input = Input::new(io::Cursor::new(bytes)).unwrap();
        std::iter::from_fn(|| input.line().unwrap()).collect()
    }

    #[test]
    fn gzip_is_told_by_content() {
        let text = b"a\nb\n\nc".to_vec();
        let expected = [b"a".to_vec(), b"b".to_vec(), vec![], b"c".to_vec()].map(Line::Whole);
        assert_eq!(lines(text.clone()), expected);
        // Two members, as log rotation concatenates them.
        let mut packed = Vec::new();
        for part in text.chunks(3) {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            packed.extend(encoder.finish().unwrap());
        }
        assert_eq!(lines(packed.clone()), expected);
        packed.truncate(packed.len() - 4);
        let mut input = Input::new(io::Cursor::new(packed)).unwrap();
        assert!(
            (0..9).any(|_| input.line().is_err()),
            "a cut off file must not look whole"
        );
        assert_eq!(lines(Vec::new()), []);
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory_and_no_neighbour() {
        let long = io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 1);
        let mut input = Input::new(long.chain(&b"\nnext\n"[..])).unwrap();
        assert_eq!(input.line().unwrap(), Some(Line::TooLong));
        assert_eq!(input.line().unwrap(), Some(Line::Whole(b"next".to_vec())));
        assert_eq!(input.line().unwrap(), None);
    }
}
