//! Lines into batches: the EventList that is sent, its digest, and its packed form.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use auditchain_log::json::{canonical_event, split_event_list};
use auditchain_log::{Hash, sha256};
use clap::ValueEnum;
use flate2::Compression as Level;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use zstd::stream::read::Decoder;

use super::cursor::Cursor;
use crate::ingest::{LIST_HEAD, LIST_TAIL};
use crate::limits::{LINE_BYTES_MAX, WRAPPED_BYTES_MAX};

/// zstd 3 packs audit events 20 times at 300 MB/s; more costs time and gains little.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of a batch, unpacked: one line of the largest size, or lines up to the most that
/// a batch may be told to have.
const BODY_BYTES_MAX: u64 = (LINE_BYTES_MAX + WRAPPED_BYTES_MAX) as u64;

/// How a body is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// RFC 8878
    #[default]
    Zstd,
    /// RFC 1952
    Gzip,
    /// Not at all
    None,
}

/// A batch under construction.
#[derive(Debug)]
pub(super) struct Batcher {
    events_max: u32,
    bytes_max: usize,
    linger: Duration,
    body: Vec<u8>,
    /// SHA-256 of each event's canonical bytes.
    digests: Vec<Hash>,
    started: Option<Instant>,
    canonical: Vec<u8>,
}

/// A batch as it lies in the spool: what is signed, and what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) header: Header,
    /// The body, packed.
    pub(super) packed: Vec<u8>,
}

/// The first line of a spool file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) source: String,
    /// Events; none: a mark that only moves the cursor.
    pub(super) count: u32,
    /// See [`auditchain_log::batch_digest`].
    pub(super) digest: String,
    pub(super) packing: Packing,
    /// SHA-256 of the packed body, in hex.
    pub(super) packed_sha256: String,
    /// Where reading goes on behind this batch.
    pub(super) cursor: Cursor,
}

impl Batcher {
    pub(super) fn new(events_max: u32, bytes_max: usize, linger: Duration) -> Self {
        Self {
            events_max,
            bytes_max,
            linger,
            body: Vec::new(),
            digests: Vec::new(),
            started: None,
            canonical: Vec::new(),
        }
    }

    /// Takes up a line. False: it can't stand in a list; nothing was taken.
    ///
    /// The test is that of the service: the line is one item and ends, so that it can't
    /// swallow those put after it. What the service keeps though it can't read it, it
    /// gets.
    pub(super) fn push(&mut self, line: &[u8], now: Instant) -> bool {
        if !stands_alone(line) {
            return false;
        }
        self.body.extend_from_slice(if self.digests.is_empty() {
            LIST_HEAD
        } else {
            b","
        });
        self.body.extend_from_slice(line);
        self.digests.push(event_digest(line, &mut self.canonical));
        self.started.get_or_insert(now);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.digests.len() >= self.events_max as usize || self.body.len() >= self.bytes_max
    }

    /// How long it may wait for more; none: it is empty.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.started?);
        Some(self.linger.saturating_sub(waited))
    }

    /// Ends the batch. An empty one is a mark.
    ///
    /// # Errors
    /// The compressor failed.
    pub(super) fn take(
        &mut self,
        source: &str,
        packing: Packing,
        cursor: Cursor,
    ) -> io::Result<Batch> {
        let mut body = std::mem::take(&mut self.body);
        if !self.digests.is_empty() {
            body.extend_from_slice(LIST_TAIL);
        }
        let digests = std::mem::take(&mut self.digests);
        self.started = None;
        Batch::new(source, &body, &digests, packing, cursor)
    }
}

impl Batch {
    /// Of a body and the digests of its events.
    fn new(
        source: &str,
        body: &[u8],
        digests: &[Hash],
        packing: Packing,
        cursor: Cursor,
    ) -> io::Result<Self> {
        let all: Vec<u8> = digests.iter().flat_map(|digest| digest.0).collect();
        let packed = if digests.is_empty() {
            Vec::new()
        } else {
            packing.pack(body)?
        };
        Ok(Self {
            header: Header {
                version: 1,
                source: source.into(),
                count: u32::try_from(digests.len()).unwrap_or(u32::MAX),
                digest: sha256(&[&all]).to_string(),
                packing,
                packed_sha256: sha256(&[&packed]).to_string(),
                cursor,
            },
            packed,
        })
    }

    /// Its digest, to be signed.
    pub(super) fn digest(&self) -> Option<Hash> {
        let bytes = hex::decode(&self.header.digest).ok()?;
        Hash::from_slice(&bytes).ok()
    }

    /// Two batches of half its events each; the first moves the cursor to `before`,
    /// where the whole one began. None: it has one event, or is damaged.
    pub(super) fn split(&self, before: &Cursor) -> Option<[Self; 2]> {
        let body = self.header.packing.unpack(&self.packed).ok()?;
        let items = split_event_list(&body).ok()?.items;
        if items.len() < 2 {
            return None;
        }
        let (first, second) = items.split_at(items.len() / 2);
        let half = |items: &[&[u8]], cursor: &Cursor| {
            let body = [LIST_HEAD, &items.join(&b','), LIST_TAIL].concat();
            let mut canonical = Vec::new();
            let digests: Vec<Hash> = items
                .iter()
                .map(|item| event_digest(item, &mut canonical))
                .collect();
            let Header {
                source, packing, ..
            } = &self.header;
            Self::new(source, &body, &digests, *packing, cursor.clone()).ok()
        };
        Some([half(first, before)?, half(second, &self.header.cursor)?])
    }
}

impl Packing {
    /// As `Content-Encoding` names it.
    pub(super) const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::Zstd => Some("zstd"),
            Self::Gzip => Some("gzip"),
            Self::None => None,
        }
    }

    fn pack(self, body: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Level::default());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::None => Ok(body.to_vec()),
        }
    }

    fn unpack(self, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match self {
            Self::Zstd => Decoder::new(packed)?
                .take(BODY_BYTES_MAX)
                .read_to_end(&mut body)?,
            Self::Gzip => MultiGzDecoder::new(packed)
                .take(BODY_BYTES_MAX)
                .read_to_end(&mut body)?,
            Self::None => return Ok(packed.to_vec()),
        };
        Ok(body)
    }
}

/// Over what the service keeps of the event: its canonical bytes, or the line.
fn event_digest(line: &[u8], canonical: &mut Vec<u8>) -> Hash {
    canonical.clear();
    match canonical_event(line, canonical) {
        Ok(()) => sha256(&[canonical]),
        Err(_) => sha256(&[line]),
    }
}

/// It is one item of a list and ends.
fn stands_alone(line: &[u8]) -> bool {
    line.first() == Some(&b'{')
        && split_event_list(&[LIST_HEAD, line, LIST_TAIL].concat())
            .is_ok_and(|list| list.items == [line])
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::batch_digest;

    fn event(n: u32) -> String {
        format!("{{\"kind\":\"Event\", \"auditID\":\"{n}\",\"stage\":\"Panic\"}}")
    }

    fn batcher() -> Batcher {
        Batcher::new(3, 10_000, Duration::from_secs(1))
    }

    #[test]
    fn a_batch_is_what_the_service_will_sign_for() {
        for packing in [Packing::Zstd, Packing::Gzip, Packing::None] {
            let (mut batcher, now) = (batcher(), Instant::now());
            assert!(batcher.is_empty() && batcher.due_in(now).is_none());
            for n in 0..3 {
                assert!(!batcher.is_full());
                assert!(batcher.push(event(n).as_bytes(), now));
            }
            assert!(batcher.is_full());
            assert_eq!(batcher.due_in(now), Some(Duration::from_secs(1)));
            let batch = batcher.take("eu", packing, Cursor::default()).unwrap();
            assert!(batcher.is_empty());
            let body = packing.unpack(&batch.packed).unwrap();
            let items = split_event_list(&body).unwrap().items;
            assert_eq!(items.len(), 3);
            // As the service computes it.
            let canonical: Vec<Vec<u8>> = items
                .iter()
                .map(|item| {
                    let mut out = Vec::new();
                    canonical_event(item, &mut out).unwrap();
                    out
                })
                .collect();
            let digest = batch_digest(canonical.iter().map(Vec::as_slice));
            assert_eq!(batch.digest(), Some(digest));
        }
    }

    #[test]
    fn lines_that_would_cost_their_neighbours_are_left_out() {
        let (mut batcher, now) = (batcher(), Instant::now());
        for bad in [
            "",
            "noise",
            "[1]",
            "1",
            "{\"a\":1},{\"b\":2}",
            "{\"a\":1}]}",
            "{\"a\":",
            "{\"a\":\"x}",
        ] {
            assert!(!batcher.push(bad.as_bytes(), now), "{bad}");
        }
        assert!(batcher.is_empty());
        // The service keeps these and says what is wrong.
        for kept in [
            &b"{\"a\":\"\xff\"}"[..],
            br#"{"a":"\ud800"}"#,
            b"{\"kind\":\"Pod\"}",
        ] {
            assert!(batcher.push(kept, now));
        }
        let batch = batcher
            .take("eu", Packing::None, Cursor::default())
            .unwrap();
        assert_eq!(batch.header.count, 3);
        assert!(batch.digest().is_some());
    }

    #[test]
    fn halves_hold_the_whole_and_a_single_event_has_none() {
        let (mut batcher, now) = (batcher(), Instant::now());
        for n in 0..3 {
            batcher.push(event(n).as_bytes(), now);
        }
        let end = Cursor {
            file: None,
            finished: vec![],
        };
        let batch = batcher.take("eu", Packing::Zstd, end.clone()).unwrap();
        let [first, second] = batch.split(&Cursor::default()).unwrap();
        assert_eq!((first.header.count, second.header.count), (1, 2));
        assert_eq!(second.header.cursor, end);
        assert!(first.split(&end).is_none());
        batcher.push(event(0).as_bytes(), now);
        let alone = batcher
            .take("eu", Packing::Zstd, Cursor::default())
            .unwrap();
        assert_eq!(alone.header.digest, first.header.digest);
    }

    #[test]
    fn an_empty_batch_is_a_mark() {
        let mark = batcher()
            .take("eu", Packing::Zstd, Cursor::default())
            .unwrap();
        assert_eq!((mark.header.count, mark.packed.len()), (0, 0));
    }
}
