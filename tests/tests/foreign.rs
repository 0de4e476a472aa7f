//! A real log against implementations that we did not write: tlog_tiles and
//! signed_note read its checkpoint, tiles and entries and check its proofs.

#![allow(clippy::unwrap_used, reason = "test code")]

use auditchain_tests::{Programs, Service, bodies, programs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Hash, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash, tree_hash,
};

const PROGRAMS: Programs = programs!();

/// Fetches tiles for tlog_tiles.
struct Fetch<'a>(&'a Service);

impl TileReader for Fetch<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles
            .iter()
            .map(|tile| {
                // tlog_tiles says tile/8/0/000, the served path has no height.
                let path = tile.path().replacen("tile/8/", "/tile/", 1);
                let answer = self.0.get(&path);
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                answer.bytes
            })
            .collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn the_log_verifies_with_tlog_tiles_and_signed_note() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(
        &dir.path().join("log"),
        &["--origin", "example.com/foreign"],
    );
    let mut checkpoints = vec![];
    for body in bodies("bodies").iter().take(6) {
        assert_eq!(service.send("eu", body).status, 200);
        checkpoints.push(service.get("/checkpoint").bytes);
    }
    // signed_note knows Ed25519 keys.
    let vkey = service
        .keys
        .iter()
        .find(|key| StandardVerifier::new(key).is_ok())
        .unwrap();
    let verifiers = || VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
    let heads: Vec<Checkpoint> = checkpoints
        .iter()
        .map(|bytes| {
            let note = Note::from_bytes(bytes).unwrap();
            let (good, unknown) = note.verify(&verifiers()).unwrap();
            assert_eq!(
                (good.len(), unknown.len()),
                (1, 1),
                "Ed25519 is known, P-256 is not"
            );
            Checkpoint::from_bytes(note.text()).unwrap()
        })
        .collect();
    let newest = heads.last().unwrap();
    assert_eq!(newest.origin(), "example.com/foreign");
    let (size, root) = (newest.size(), *newest.hash());
    assert!(size > 2000, "several tiles: {size}");
    let fetch = Fetch(&service);
    let reader = TileHashReader::new(size, root, &fetch);
    assert_eq!(tree_hash(size, &reader).unwrap(), root);

    // Every head is a prefix of the newest.
    for head in &heads {
        let proof = prove_tree(size, head.size(), &reader).unwrap();
        check_tree(&proof, size, root, head.size(), *head.hash()).unwrap();
        let ours = service
            .get(&format!(
                "/api/v1/proof/consistency?from={}&to={size}",
                head.size()
            ))
            .json();
        check_tree(&hashes(&ours), size, root, head.size(), *head.hash()).unwrap();
    }
    // Entries are in the tree, by their proof and by ours.
    for index in [0, 1, 255, 256, 1023, size - 1] {
        let entry = service.get(&format!("/api/v1/entries/{index}")).json();
        let text = entry["entry"].to_string();
        let leaf = record_hash(text.as_bytes());
        assert_eq!(entry["leafHash"], STANDARD.encode(leaf.0));
        let proof = prove_record(size, index, &reader).unwrap();
        check_record(&proof, size, root, index, leaf).unwrap();
        let ours = service
            .get(&format!(
                "/api/v1/proof/inclusion?index={index}&size={size}"
            ))
            .json();
        check_record(&hashes(&ours), size, root, index, leaf).unwrap();
    }
}

#[test]
fn the_static_paths_are_served_as_tlog_tiles_says() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(&dir.path().join("log"), &[]);
    let all = bodies("bodies");
    let mut n = 0;
    while service.size() < 256 {
        assert_eq!(service.send("eu", &all[n]).status, 200);
        n += 1;
    }
    let head = |path: &str| {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let answer = agent.get(format!("{}{path}", service.url)).call().unwrap();
        let header = |name| {
            let value = answer.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_string())
        };
        (
            answer.status().as_u16(),
            header("content-type").unwrap_or_default(),
            header("cache-control").unwrap_or_default(),
        )
    };
    let (status, kind, cached) = head("/checkpoint");
    assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert_eq!(cached, "no-cache");
    // Full tiles, and partial ones also where the full one is there.
    for path in [
        "/tile/0/000",
        "/tile/0/000.p/7",
        "/tile/1/000.p/1",
        "/tile/entries/000",
        "/tile/entries/000.p/255",
    ] {
        let (status, kind, cached) = head(path);
        assert_eq!(
            (status, kind.as_str()),
            (200, "application/octet-stream"),
            "{path}"
        );
        assert!(cached.contains("immutable"), "{path}: {cached}");
    }
    for (path, expected) in [
        ("/tile/0/999", 404),
        ("/tile/2/000.p/1", 404),
        ("/tile/entries/x001/000", 404),
        ("/tile/0/000.p/0", 400),
        ("/tile/0/000.p/256", 400),
        ("/tile/64/000", 400),
        ("/tile/0/0", 400),
    ] {
        let (status, _, cached) = head(path);
        assert_eq!(status, expected, "{path}");
        assert!(!cached.contains("immutable"));
    }
    // An empty tile is none.
    let size = service.size();
    let last = size / 256;
    assert_eq!(head(&format!("/tile/0/{:03}", last + 1)).0, 404);
}

fn hashes(answer: &serde_json::Value) -> Vec<Hash> {
    let list = answer["hashes"].as_array().unwrap();
    list.iter()
        .map(|hash| {
            Hash(
                STANDARD
                    .decode(hash.as_str().unwrap())
                    .unwrap()
                    .try_into()
                    .unwrap(),
            )
        })
        .collect()
}
