//! From a request's bytes to a batch of canonical events.
//!
//! Hostile bytes never cost the neighbours: an event that has no canonical form is
//! kept as the bytes that arrived and marked with the reason; only a body that is no
//! EventList at all is refused.

use auditchain_log::json::{EventList, SplitError, canonical_event, split_event_list};
use auditchain_log::{BatchRecord, Hash, batch_digest, sha256};
use auditchain_sandbox::SignatureAlgorithm;

/// A request's events.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Who sent it.
    pub(crate) source: String,
    /// The sender's signature over it, and what it is over; hashed here, on the
    /// request's thread, so that the sequencer doesn't have to.
    pub(crate) signed: Option<(BatchSignature, Hash)>,
    /// The events' bytes, one after the other.
    bytes: Vec<u8>,
    events: Vec<Slot>,
}

/// What the sender says of the batch in the request's headers.
#[derive(Debug, Clone)]
pub(crate) struct BatchSignature {
    /// The sender's number of this batch.
    pub(crate) sequence: u64,
    /// How it is signed.
    pub(crate) algorithm: SignatureAlgorithm,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
    /// DER.
    pub(crate) signature: Vec<u8>,
}

#[derive(Debug)]
struct Slot {
    end: usize,
    tag: u64,
    undecodable: Option<&'static str>,
}

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    /// Canonical JSON, or for an undecodable event what arrived.
    pub(crate) bytes: &'a [u8],
    /// Why there is no canonical form.
    pub(crate) undecodable: Option<&'static str>,
    /// See [`TagKey`].
    pub(crate) tag: u64,
}

/// Makes the tags by which duplicates are looked for: 64 bits of a keyed hash over
/// source and bytes. The key is the store's secret, so nobody can aim at another's
/// tag, and a tag left behind by an erased body tells nothing to who hasn't the key.
/// A match is confirmed against the log before it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagKey(pub(crate) [u8; 32]);

impl TagKey {
    /// The tag of an event, or with another `kind` of other bytes that were kept.
    #[must_use]
    pub(crate) fn tag(&self, kind: Kind, source: &str, bytes: &[u8]) -> u64 {
        let hash = sha256(&[&self.0, &[kind as u8], source.as_bytes(), &[0], bytes]);
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash.0[..8]);
        u64::from_be_bytes(tag)
    }
}

/// What is tagged.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An event.
    Event = 1,
    /// The body of a refused request.
    Rejection = 2,
}

impl Batch {
    /// Splits and canonicalises the body of a request.
    ///
    /// # Errors
    /// The body is no EventList.
    pub(crate) fn decode(
        source: &str,
        body: &[u8],
        signature: Option<BatchSignature>,
        tags: &TagKey,
    ) -> Result<Self, SplitError> {
        let EventList { items, .. } = split_event_list(body)?;
        let mut bytes = Vec::with_capacity(body.len());
        let mut events = Vec::with_capacity(items.len());
        for item in items {
            let start = bytes.len();
            let undecodable = canonical_event(item, &mut bytes).err();
            if undecodable.is_some() {
                bytes.extend_from_slice(item);
            }
            let tag = tags.tag(Kind::Event, source, &bytes[start..]);
            events.push(Slot {
                end: bytes.len(),
                tag,
                undecodable,
            });
        }
        let mut batch = Self {
            source: source.into(),
            signed: None,
            bytes,
            events,
        };
        batch.signed = signature.map(|signature| {
            let digest = batch_digest(batch.events().map(|event| event.bytes));
            (signature, digest)
        });
        Ok(batch)
    }

    /// How many events.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes of all events.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The events in their order.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().scan(0, |start, slot| {
            let bytes = &self.bytes[*start..slot.end];
            *start = slot.end;
            Some(Event {
                bytes,
                undecodable: slot.undecodable,
                tag: slot.tag,
            })
        })
    }

    /// What goes into the log of a signed batch of which `events` are new.
    #[must_use]
    pub(crate) fn record(&self, events: usize) -> Option<BatchRecord> {
        use base64::Engine as _;
        let base64 = &base64::engine::general_purpose::STANDARD;
        self.signed.as_ref().map(|(signature, digest)| BatchRecord {
            algorithm: signature.algorithm.name().into(),
            count: count(self.len()),
            digest: *digest,
            events: count(events),
            key: base64.encode(&signature.public_key),
            sequence: signature.sequence,
            signature: base64.encode(&signature.signature),
        })
    }
}

/// A number of events, of a request or of a block: bounded by the splitter's limit on
/// items and by the store's on a block, far below 2^32.
pub(crate) fn count(events: usize) -> u32 {
    u32::try_from(events).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::json::CANONICAL_BYTES_MAX;

    #[test]
    fn an_event_too_large_for_its_canonical_form_is_kept_as_it_arrived() {
        let small = r#"{"a" : 1}"#;
        let grows = format!("[{}0]", "1e20,".repeat(100));
        let large = format!("\"{}\"", "x".repeat(CANONICAL_BYTES_MAX));
        let list = format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{small},{grows},{large}]}}"#
        );
        let tags = TagKey([1; 32]);
        let batch = Batch::decode("eu", list.as_bytes(), None, &tags).unwrap();
        let events: Vec<Event<'_>> = batch.events().collect();
        let reasons: Vec<_> = events.iter().map(|event| event.undecodable).collect();
        assert_eq!(reasons, [None, Some("too-large"), Some("too-large")]);
        assert_eq!(events[0].bytes, br#"{"a":1}"#);
        assert_eq!(events[1].bytes, grows.as_bytes());
        assert_eq!(events[2].bytes, large.as_bytes());
    }

    #[test]
    fn tags_tell_sources_kinds_and_keys_apart() {
        let tag = |key, kind, source, bytes| TagKey([key; 32]).tag(kind, source, bytes);
        let one = tag(1, Kind::Event, "eu", b"x");
        assert_eq!(one, tag(1, Kind::Event, "eu", b"x"));
        let others = [
            tag(2, Kind::Event, "eu", b"x"),
            tag(1, Kind::Rejection, "eu", b"x"),
            tag(1, Kind::Event, "us", b"x"),
            tag(1, Kind::Event, "eu", b"y"),
        ];
        assert!(!others.contains(&one));
    }
}
