use super::*;
use crate::{Checkpoint, CosignerKey, SignerKey, TreeSize, sha256, sign_note};
use std::format;

fn witness(n: u8) -> CosignerKey {
    CosignerKey::from_seed(&format!("witness.example/w{n}"), &[n; 32]).unwrap()
}

fn log() -> SignerKey {
    SignerKey::ed25519("example.com/log", &[99; 32]).unwrap()
}

/// Six witnesses in two groups, as the standard's own example.
fn example() -> String {
    let mut text = format!("log {} https://log.example\n", log().verifier());
    for n in 1..=6 {
        let group = if n <= 3 { 'X' } else { 'Y' };
        text += &format!("witness {group}{n}\t{}\n", witness(n).verifier());
    }
    text + "group X 2 X1 X2 X3\ngroup Y any Y4 Y5 Y6\n\n # both\ngroup X-and-Y all X Y\nquorum X-and-Y\n"
}

fn note(witnesses: &[u8]) -> Note {
    let checkpoint = Checkpoint {
        origin: "example.com/log".into(),
        size: TreeSize(5),
        root: sha256(&[b"root"]),
    };
    let text = checkpoint.to_text();
    let mut note = sign_note(&text, &[log()]);
    for n in witnesses {
        note += &format!("{}\n", witness(*n).cosign(&text, 1_700_000_000));
    }
    Note::parse(note.as_bytes()).unwrap()
}

#[test]
fn a_quorum_is_met_exactly_where_the_groups_say_so() {
    let policy = WitnessPolicy::parse(example().as_bytes()).unwrap();
    assert_eq!(policy.logs()[0].url.as_deref(), Some("https://log.example"));
    for set in 0..64_u8 {
        let cosigned: Vec<u8> = (1..=6).filter(|n| set >> (n - 1) & 1 == 1).collect();
        let expected = (set & 0b111).count_ones() >= 2 && set & 0b11_1000 != 0;
        let result = policy.check(&note(&cosigned));
        assert_eq!(result.is_ok(), expected, "{cosigned:?}");
        match result {
            Ok(by) => assert_eq!(by.len(), cosigned.len()),
            Err(QuorumError::NotMet {
                cosigned: by,
                known,
            }) => {
                assert_eq!((by.len(), known), (cosigned.len(), 6));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_published_checkpoint_satisfies_the_policy_of_its_witnesses() {
    let policy = include_bytes!("../../../../tests/vectors/tlog/cosigned-checkpoint.policy");
    let policy = WitnessPolicy::parse(policy).unwrap();
    let text = include_str!("../../../../tests/vectors/tlog/cosigned-checkpoint");
    let by = |text: &str| {
        let note = Note::parse(text.as_bytes()).unwrap();
        policy.check(&note).map(|by| by.len())
    };
    assert_eq!(by(text), Ok(4));
    // Cosigners and log are bound to the text, and to each line's time.
    assert!(matches!(
        by(&text.replace("1432088532", "1432088533")),
        Err(QuorumError::Note(NoteError::InvalidSignature(_)))
    ));
    assert!(matches!(
        by(&text.replace("2net5wAAAABqEiEg", "2net5wAAAABqEiEh")),
        Err(QuorumError::Note(NoteError::InvalidSignature(name))) if name == "remora.n621.de"
    ));
    let without: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("remora"))
        .collect();
    assert!(matches!(by(&without), Err(QuorumError::NotMet { .. })));
}

#[test]
fn what_another_log_or_key_signed_satisfies_nothing() {
    let policy = WitnessPolicy::parse(example().as_bytes()).unwrap();
    let full = note(&[1, 2, 4]);
    // The log's own line is missing.
    let lines: Vec<String> = full.signatures()[1..]
        .iter()
        .map(|s| format!("{s}\n"))
        .collect();
    let unsigned = format!("{}\n{}", full.text(), lines.concat());
    assert_eq!(
        policy.check(&Note::parse(unsigned.as_bytes()).unwrap()),
        Err(QuorumError::Log)
    );
    // A listed log signs under another log's origin.
    let other = Checkpoint {
        origin: "example.com/other".into(),
        size: TreeSize(5),
        root: sha256(&[b"root"]),
    };
    let text = other.to_text();
    let mut stolen = sign_note(&text, &[log()]);
    for n in [1, 2, 4] {
        stolen += &format!("{}\n", witness(n).cosign(&text, 1));
    }
    assert_eq!(
        policy.check(&Note::parse(stolen.as_bytes()).unwrap()),
        Err(QuorumError::Log)
    );
    // The same cosignature thrice counts once.
    let line = format!("{}\n", full.signatures()[1]);
    let thrice = format!(
        "{}\n{}\n{line}{line}{line}",
        full.text(),
        full.signatures()[0]
    );
    assert!(matches!(
        policy.check(&Note::parse(thrice.as_bytes()).unwrap()),
        Err(QuorumError::NotMet { cosigned, .. }) if cosigned == ["X1"]
    ));
}

#[test]
fn quorum_none_asks_for_nothing() {
    let policy = WitnessPolicy::parse(b"quorum none").unwrap();
    assert!(!policy.asks_for_witnesses());
    assert_eq!(policy.check(&note(&[])), Ok(Vec::new()));
    let single = format!("witness w {}\nquorum w\n", witness(1).verifier());
    let single = WitnessPolicy::parse(single.as_bytes()).unwrap();
    assert!(single.check(&note(&[1])).is_ok() && single.check(&note(&[2])).is_err());
}

#[test]
fn mistakes_are_named_with_their_line() {
    let key = witness(1).verifier().clone();
    let log_key = log().verifier().clone();
    let same = SignerKey::ed25519("other.example", &[1; 32]).unwrap();
    let start = format!("witness a {key}\n");
    let line = |text: String| match WitnessPolicy::parse(text.as_bytes()) {
        Err(PolicyError::Line { line, problem }) => (line, problem),
        other => panic!("{text}: {other:?}"),
    };
    for (text, at, expected) in [
        ("quorum".into(), 1, Problem::Form),
        ("quorum none none".into(), 1, Problem::Form),
        ("\nlogs x\n".into(), 2, Problem::Form),
        (format!("witness {key}"), 1, Problem::Form),
        ("group g all".into(), 1, Problem::Form),
        ("quorum none\r\n".into(), 1, Problem::Control),
        ("# \u{7f}".into(), 1, Problem::Control),
        (format!("log {key}"), 1, Problem::KeyType("log")),
        (
            format!("witness w {log_key}"),
            1,
            Problem::KeyType("witness"),
        ),
        ("witness w a+b+c".into(), 1, Problem::Key(KeyError::Syntax)),
        (
            format!("witness none {key}"),
            1,
            Problem::NameTaken("none".into()),
        ),
        (format!("{start}witness b {key}"), 2, Problem::DuplicateKey),
        (
            format!("log {log_key}\nlog {log_key}"),
            2,
            Problem::DuplicateKey,
        ),
        (
            format!("{start}group a any a"),
            2,
            Problem::NameTaken("a".into()),
        ),
        (format!("{start}group g 0 a"), 2, Problem::Threshold),
        (format!("{start}group g 2 a"), 2, Problem::Threshold),
        (format!("{start}group g 01 a"), 2, Problem::Threshold),
        (format!("{start}group g -1 a"), 2, Problem::Threshold),
        (
            format!("{start}group g any b"),
            2,
            Problem::Undefined("b".into()),
        ),
        (
            format!("{start}group g any g"),
            2,
            Problem::Undefined("g".into()),
        ),
        (
            format!("{start}group g any none"),
            2,
            Problem::Undefined("none".into()),
        ),
        (
            format!("{start}group g any a a"),
            2,
            Problem::UsedTwice("a".into()),
        ),
        (
            format!("{start}group g any a\ngroup h any a"),
            3,
            Problem::UsedTwice("a".into()),
        ),
        ("quorum a".into(), 1, Problem::Undefined("a".into())),
        (
            format!("{start}quorum a\nquorum a"),
            3,
            Problem::SecondQuorum,
        ),
    ] {
        assert_eq!(line(text.clone()), (at, expected), "{text}");
    }
    // A log and a witness may share a key by the standard, two witnesses may not.
    let text = format!("log {}\n{start}quorum a", same.verifier());
    assert!(WitnessPolicy::parse(text.as_bytes()).is_ok());
    assert_eq!(
        WitnessPolicy::parse(b"# nothing\n"),
        Err(PolicyError::NoQuorum)
    );
}

#[test]
fn limits_hold() {
    let mut text = String::new();
    for n in 0..=MAX_POLICY_WITNESSES {
        let n = u8::try_from(n).unwrap();
        text += &format!("witness {n} {}\n", witness(n).verifier());
        let parsed = WitnessPolicy::parse(format!("{text}quorum none\n").as_bytes());
        assert_eq!(parsed.is_ok(), usize::from(n) < MAX_POLICY_WITNESSES);
    }
    let mut text = format!("witness g {}\n", witness(1).verifier());
    let mut last = String::from("g");
    for n in 0..=MAX_POLICY_GROUPS {
        let name = format!("g{n}");
        text += &format!("group {name} any {last}\n");
        let parsed = WitnessPolicy::parse(format!("{text}quorum {name}\n").as_bytes());
        assert_eq!(parsed.is_ok(), n < MAX_POLICY_GROUPS);
        last = name;
    }
    let large = [b'#'; MAX_POLICY_BYTES + 1];
    assert_eq!(WitnessPolicy::parse(&large), Err(PolicyError::TooLarge));
    // A note with a line of every witness stays below its own limits.
    let name = "w".repeat(crate::MAX_ORIGIN_BYTES);
    let checkpoint = Checkpoint {
        origin: name.clone(),
        size: TreeSize(u64::MAX),
        root: sha256(&[]),
    };
    let text = checkpoint.to_text();
    let mut note = sign_note(
        &text,
        &[
            SignerKey::ecdsa_p256(&name, &[1; 32]).unwrap(),
            SignerKey::ed25519(&name, &[1; 32]).unwrap(),
        ],
    );
    let cosigner = CosignerKey::from_seed(&name, &[1; 32]).unwrap();
    note += &format!("{}\n", cosigner.cosign(&text, 1)).repeat(MAX_POLICY_WITNESSES);
    assert!(Note::parse(note.as_bytes()).is_ok());
}
