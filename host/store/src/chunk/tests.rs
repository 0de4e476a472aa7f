use auditchain_log::json::EventView;
use auditchain_log::{EventRecord, Finding, Payload, RejectionRecord, Severity};
use proptest::prelude::*;

use super::*;
use crate::chunker::{Chunker, EventParts};
use crate::frame;

fn back(value: &[u8]) -> Result<Chunk, Damage> {
    Chunk::from_frame(frame::decode(value, Kind::Chunk, BYTES_MAX)?)
}

fn plain() -> Verdict {
    Verdict {
        findings: Vec::new(),
        valid: true,
    }
}

fn refused() -> Verdict {
    Verdict {
        findings: vec![Finding {
            policy: "rbac".into(),
            rule: "r".into(),
            severity: Severity::High,
            sig: None,
        }],
        valid: false,
    }
}

fn body(n: usize) -> Vec<u8> {
    format!(
        r#"{{"auditID":"id-{n}","level":"Metadata","stage":"ResponseComplete","stageTimestamp":"2026-11-21T06:31:02.{n:06}Z","verb":"get"}}"#
    )
    .into_bytes()
}

/// All that a chunk can hold, its entries as they were written, and its bodies.
fn sample(bodies: &[Vec<u8>]) -> (ChunkWrite<'_>, Vec<Vec<u8>>) {
    let time = Timestamp::from_micros(1_795_242_662_800_164);
    let chain = ChainHash::genesis("origin");
    let mut chunker = Chunker::new(1000, 17, time, chain, [9; 32]);
    let mut entries = vec![
        chunker
            .push(Payload::Policy {
                engine: String::new(),
                policies: vec![],
            })
            .unwrap(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let record = EventRecord::from_view(&EventView::read(body));
        let verdict = if n % 3 == 0 { refused() } else { plain() };
        let parts = EventParts {
            source: ["eu", "us"][n % 2],
            undecodable: (n % 4 == 0).then_some("syntax"),
            verdict: &verdict,
            record: &record,
        };
        entries.push(chunker.push_event(parts, body).unwrap());
    }
    let rejection = |body| Payload::Rejection {
        source: "eu".into(),
        rejection: RejectionRecord {
            reason: "no JSON".into(),
            status: 400,
        },
        body,
    };
    entries.push(chunker.push_with_body(b"not JSON", rejection).unwrap());
    let mut chunks = chunker.finish();
    assert_eq!(chunks.len(), 1);
    (chunks.remove(0), entries)
}

fn bodies() -> Vec<Vec<u8>> {
    (0..12).map(body).collect()
}

#[test]
fn entries_are_made_again_as_they_were_written() {
    let bodies = bodies();
    let (write, entries) = sample(&bodies);
    let chunk = back(&write.encode().value).unwrap();
    assert_eq!((chunk.first(), chunk.len(), chunk.end()), (1000, 14, 1014));
    for (index, entry) in (1000..).zip(&entries) {
        assert_eq!(chunk.entry(index), Some(&entry[..]), "{index}");
    }
    assert!(chunk.body(1000).is_none());
    for (index, body) in (1001..).zip(&bodies) {
        let read = chunk.body(index).unwrap();
        assert_eq!(read.bytes, body);
        assert_eq!(read.salt, body_salt(&write.seed.unwrap(), index));
    }
    assert_eq!(chunk.body(1013).unwrap().bytes, b"not JSON");
    for index in [0, 999, 1014, u64::MAX] {
        assert!(chunk.entry(index).is_none() && chunk.body(index).is_none());
    }
}

#[test]
fn an_erased_body_takes_its_salt_and_the_seed_along() {
    let bodies = bodies();
    let (write, entries) = sample(&bodies);
    let seed = write.seed.unwrap();
    let chunk = back(&write.encode().value).unwrap();
    let erased = [1003, 1005, 1013];
    let rest = chunk.without(&erased).unwrap().encode().value;
    let rest = back(&rest).unwrap();
    for (index, entry) in (1000..).zip(&entries) {
        assert_eq!(rest.entry(index), Some(&entry[..]), "{index}");
        let had = chunk.body(index).filter(|_| !erased.contains(&index));
        assert_eq!(rest.body(index), had);
    }
    // Neither the seed nor a salt that is gone is in what is stored.
    let stored = frame::decode(
        &chunk.without(&erased).unwrap().encode().value,
        Kind::Chunk,
        BYTES_MAX,
    )
    .unwrap();
    for secret in [seed, body_salt(&seed, 1003), body_salt(&seed, 1013)] {
        for section in [&stored.plain, &stored.content] {
            assert!(!section.windows(32).any(|window| window == secret));
        }
    }
    assert_eq!(
        rest.without(&[1003]).unwrap_err(),
        EraseFault::NoBody(1003),
        "erased twice"
    );
    assert_eq!(rest.without(&[1000]).unwrap_err(), EraseFault::NoBody(1000));
    let none: Vec<u64> = (1001..1014).filter(|i| !erased.contains(i)).collect();
    let none = back(&rest.without(&none).unwrap().encode().value).unwrap();
    assert!(
        (1000..)
            .zip(&entries)
            .all(|(i, e)| none.entry(i) == Some(e))
    );
}

#[test]
fn contents_that_lie_are_damage() {
    let bodies = bodies();
    let (write, _) = sample(&bodies);
    let value = write.encode().value;
    let good = || frame::decode(&value, Kind::Chunk, BYTES_MAX).unwrap();
    // Cut anywhere, or with a byte more.
    for bytes in 0..good().content.len() {
        let mut cut = good();
        cut.content.truncate(bytes);
        Chunk::from_frame(cut).expect_err("a cut chunk was accepted");
    }
    for bytes in 0..good().plain.len() {
        let mut cut = good();
        cut.plain.truncate(bytes);
        Chunk::from_frame(cut).expect_err("cut salts were accepted");
    }
    let mut long = good();
    long.content.push(b'x');
    assert_eq!(Chunk::from_frame(long).unwrap_err(), Damage::Inconsistent);
    let mut long = good();
    long.plain.push(0);
    assert_eq!(Chunk::from_frame(long).unwrap_err(), Damage::Inconsistent);
    for count in [0, 65, u32::MAX] {
        let frame = Frame { count, ..good() };
        assert_eq!(Chunk::from_frame(frame).unwrap_err(), Damage::OverLimit);
    }
    let last = Frame {
        id: u64::MAX - 3,
        ..good()
    };
    assert_eq!(Chunk::from_frame(last).unwrap_err(), Damage::Inconsistent);
    let mut other = good();
    other.content[0] = 9;
    assert_eq!(
        Chunk::from_frame(other).unwrap_err(),
        Damage::UnknownFormat(9)
    );
}

#[test]
fn the_largest_chunk_fits_the_limit() {
    let large = vec![b'x'; ENTRY_BYTES_MAX];
    let time = Timestamp::from_micros(0);
    let mut chunker = Chunker::new(0, 0, time, ChainHash::genesis("o"), [0; 32]);
    for _ in 0..64 {
        chunker.push_bytes(&large, None).unwrap();
    }
    let chunks = chunker.finish();
    assert_eq!(chunks.len(), 32);
    for chunk in &chunks {
        assert_eq!(back(&chunk.encode().value).unwrap().len(), 2);
    }
}

#[test]
fn numbers_round_trip() {
    for value in [0, 1, 127, 128, 300, u64::MAX >> 1, u64::MAX] {
        let mut bytes = Vec::new();
        number(&mut bytes, value);
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        assert_eq!((reader.number(), reader.at), (Ok(value), bytes.len()));
    }
    for bytes in [&[0xff; 10][..], &[0x80; 11], &[0x80]] {
        Reader { bytes, at: 0 }.number().unwrap_err();
    }
    for value in [0, -1, 1, i64::MIN, i64::MAX] {
        assert_eq!(from_zigzag(zigzag(value)), value);
    }
}

proptest! {
    #[test]
    fn arbitrary_contents_never_panic(
        count in 0..70_u32,
        plain in prop::collection::vec(any::<u8>(), 0..200),
        mut content in prop::collection::vec(0..20_u8, 0..200),
    ) {
        if let Some(first) = content.first_mut() {
            *first = RECIPE_VERSION;
        }
        let frame = Frame { kind: Kind::Chunk, id: 5, count, plain, content };
        if let Ok(chunk) = Chunk::from_frame(frame) {
            for index in 5..chunk.end() {
                let _ = (chunk.entry(index), chunk.body(index));
            }
            let _ = chunk.without(&[5]).map(|rest| rest.encode());
        }
    }

    #[test]
    fn entries_and_bodies_as_they_are_round_trip(
        items in prop::collection::vec(
            (
                prop::collection::vec(any::<u8>(), 1..50),
                prop::option::of((any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..50))),
            ),
            1..=64,
        ),
    ) {
        let time = Timestamp::from_micros(-5);
        let mut chunker = Chunker::new(64, 0, time, ChainHash::genesis("o"), [0; 32]);
        for (entry, body) in &items {
            let body = body.as_ref().map(|(salt, bytes)| Body { salt: *salt, bytes });
            chunker.push_bytes(entry, body).unwrap();
        }
        let chunks = chunker.finish();
        prop_assert_eq!(chunks.len(), 1);
        let chunk = back(&chunks[0].encode().value).unwrap();
        for (index, (entry, body)) in (64..).zip(&items) {
            prop_assert_eq!(chunk.entry(index), Some(&entry[..]));
            let body = body.as_ref().map(|(salt, bytes)| Body { salt: *salt, bytes });
            prop_assert_eq!(chunk.body(index), body);
        }
    }
}
