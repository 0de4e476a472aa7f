//! A log over HTTP: the static surface of tlog-tiles, and for what that doesn't carry
//! (bodies, values by digest) the service's own paths.

use std::ops::Range;

use auditchain_log::{EntryBundle, Hash, TILE_WIDTH, TileId, TileRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{BodyRef, HeadClaim, LogSource, Run, SourceError};
use crate::connect::TOKEN_VARIABLE;
use crate::http::{Answer, Client};
use crate::limits::{
    BLOB_BYTES_MAX, BODIES_ANSWER_BYTES_MAX, BUNDLE_BYTES_MAX, JSON_ANSWER_BYTES_MAX,
    KEYS_BYTES_MAX, RUN_BODY_BYTES_MAX,
};

const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const UNAVAILABLE: u16 = 503;

/// A log behind a URL.
#[derive(Debug)]
pub struct HttpLog {
    client: Client,
}

/// Bodies of consecutive entries as `/api/v1/bodies` gives them.
struct Bodies {
    data: Vec<u8>,
    found: Vec<(u64, [u8; 32], Range<usize>)>,
    next: u64,
}

/// A line of `/api/v1/bodies`: a body, or where to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyLine<'a> {
    index: Option<u64>,
    salt: Option<&'a str>,
    body: Option<&'a str>,
    next: Option<u64>,
}

impl HttpLog {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The body of a 200; `None` for a 404. Any other answer says that the server has
    /// it and can't give it, except for 503, which says nothing, and a missing permission,
    /// which says nothing about the log.
    fn get(&self, path: &str, limit: usize, next: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let answer = self.client.get(path, limit.max(JSON_ANSWER_BYTES_MAX))?;
        match answer.status {
            200 if answer.body.len() <= limit => Ok(Some(answer.body)),
            NOT_FOUND => Ok(None),
            UNAVAILABLE => Err(SourceError::Unavailable(format!(
                "{}{path}: {}",
                self.client.url(),
                answer.problem()
            ))),
            UNAUTHORIZED | FORBIDDEN => Err(SourceError::Unavailable(format!(
                "{}{path}: {}; a reader's bearer token is taken from --token-file or the environment variable {TOKEN_VARIABLE}",
                self.client.url(),
                answer.problem()
            ))),
            _ => Err(damaged(path, answer_reason(&answer, limit), next)),
        }
    }

    /// A bundle of at least `width` entries, and how many it has. A log may have removed
    /// a partial one once the full one is there.
    fn bundle(&self, index: u64, width: usize, next: u64) -> Result<(Vec<u8>, usize), SourceError> {
        let get = |width| {
            let path = format!("/tile/{}", TileRef::Entries { index, width });
            self.get(&path, BUNDLE_BYTES_MAX, next)
        };
        if let Some(bytes) = get(width)? {
            return Ok((bytes, width));
        }
        let full = if width < TILE_WIDTH {
            get(TILE_WIDTH)?
        } else {
            None
        };
        full.map(|bytes| (bytes, TILE_WIDTH)).ok_or_else(|| {
            let path = format!("/tile/{}", TileRef::Entries { index, width });
            let reason = "not found, though the checkpoint covers it";
            damaged(&path, reason.into(), next)
        })
    }

    /// Entries of one bundle, with or without their bodies.
    fn read(&self, from: u64, to: u64, with_bodies: bool) -> Result<Run, SourceError> {
        let index = from / TILE_WIDTH as u64;
        let first = index * TILE_WIDTH as u64;
        let end = to.min(first.saturating_add(TILE_WIDTH as u64));
        // At most 256.
        let width = usize::try_from(end - first).unwrap_or(TILE_WIDTH);
        let (bytes, held) = self.bundle(index, width, end)?;
        let entries = EntryBundle::split(&bytes, held)
            .map_err(|error| damaged(&format!("entry bundle {index}"), error.to_string(), end))?;
        let none = Bodies {
            data: Vec::new(),
            found: Vec::new(),
            next: end,
        };
        let bodies = with_bodies.then(|| self.bodies(from, end)).transpose();
        let (bodies, bodies_damage) = match bodies {
            Ok(bodies) => (bodies.unwrap_or(none), None),
            Err(SourceError::Damaged { what, reason, .. }) => {
                (none, Some(format!("{what}: {reason}")))
            }
            Err(error) => return Err(error),
        };
        let mut run = Run::new(from);
        run.bodies_damage = bodies_damage;
        let mut found = bodies.found.iter().peekable();
        for (index, entry) in (first..bodies.next).zip(entries) {
            if index < from {
                continue;
            }
            let body = found.next_if(|(at, ..)| *at == index);
            let body = body.map(|(_, salt, range)| BodyRef {
                salt,
                bytes: &bodies.data[range.clone()],
            });
            run.push(entry, body);
        }
        Ok(run)
    }

    fn bodies(&self, from: u64, to: u64) -> Result<Bodies, SourceError> {
        let mut bodies = Bodies {
            data: Vec::new(),
            found: Vec::new(),
            next: from,
        };
        while bodies.next < to && bodies.data.len() < RUN_BODY_BYTES_MAX {
            let (from, path) = (
                bodies.next,
                format!("/api/v1/bodies?from={}&to={to}", bodies.next),
            );
            let text = self
                .get(&path, BODIES_ANSWER_BYTES_MAX, to)?
                .unwrap_or_default();
            if !bodies.read(&text, to) || bodies.next <= from {
                return Err(damaged(
                    &path,
                    "no list of bodies that ends in where to go on".into(),
                    to,
                ));
            }
        }
        Ok(bodies)
    }
}

impl Bodies {
    /// Takes up an answer; false if it is none.
    fn read(&mut self, text: &[u8], to: u64) -> bool {
        let mut ended = false;
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let Ok(line) = serde_json::from_slice::<BodyLine<'_>>(line) else {
                return false;
            };
            match (line.index, line.salt, line.body, line.next) {
                (Some(index), Some(salt), Some(body), None) if !ended && index < to => {
                    let start = self.data.len();
                    let mut bytes = [0; 32];
                    let in_order = self.found.last().is_none_or(|(last, ..)| *last < index);
                    if !in_order
                        || hex::decode_to_slice(salt, &mut bytes).is_err()
                        || STANDARD.decode_vec(body, &mut self.data).is_err()
                    {
                        return false;
                    }
                    self.found.push((index, bytes, start..self.data.len()));
                }
                (None, None, None, Some(next)) if !ended => {
                    self.next = next.min(to);
                    ended = true;
                }
                _ => return false,
            }
        }
        ended
    }
}

impl LogSource for HttpLog {
    fn name(&self) -> &str {
        self.client.url()
    }

    fn note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        self.get("/checkpoint", auditchain_log::MAX_NOTE_BYTES, 0)
    }

    fn vkeys(&self) -> Result<Option<String>, SourceError> {
        let keys = self.get("/keys", KEYS_BYTES_MAX, 0)?;
        let text =
            |keys| String::from_utf8(keys).map_err(|_| damaged("/keys", "no text".into(), 0));
        keys.map(text).transpose()
    }

    fn head(&self) -> Result<Option<HeadClaim>, SourceError> {
        Ok(None)
    }

    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        self.read(from, to, true)
    }

    fn entries(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        self.read(from, to, false)
    }

    fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let get = |width| {
            let path = format!("/tile/{}", TileRef::Hashes { id, width });
            self.get(&path, width * Hash::LEN, 0)
        };
        if let Some(partial) = get(width)? {
            return Ok(Some(partial));
        }
        // Removed, once the full tile was there?
        let full = if width < TILE_WIDTH {
            get(TILE_WIDTH)?
        } else {
            None
        };
        Ok(full.map(|mut full| {
            full.truncate(width * Hash::LEN);
            full
        }))
    }

    fn has_partial_tiles(&self) -> bool {
        true
    }

    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError> {
        self.get(&format!("/api/v1/blobs/sha256/{digest}"), BLOB_BYTES_MAX, 0)
    }
}

fn answer_reason(answer: &Answer, limit: usize) -> String {
    match answer.status {
        200 => format!(
            "an answer of {} bytes, at most {limit} are due",
            answer.body.len()
        ),
        _ => answer.problem(),
    }
}

fn damaged(what: &str, reason: String, next: u64) -> SourceError {
    SourceError::Damaged {
        what: what.to_owned(),
        reason,
        next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (bool, Bodies) {
        let mut bodies = Bodies {
            data: Vec::new(),
            found: Vec::new(),
            next: 0,
        };
        (bodies.read(text.as_bytes(), 10), bodies)
    }

    #[test]
    fn an_answer_of_bodies_is_taken_apart() {
        let salt = "0a".repeat(32);
        let text = format!(
            "{{\"index\":3,\"salt\":\"{salt}\",\"body\":\"YWI=\"}}\n{{\"index\":5,\"salt\":\"{salt}\",\"body\":\"\"}}\n{{\"next\":7}}\n"
        );
        let (good, bodies) = read(&text);
        assert!(good);
        assert_eq!(bodies.next, 7);
        assert_eq!(bodies.found, [(3, [10; 32], 0..2), (5, [10; 32], 2..2)]);
        assert_eq!(bodies.data, b"ab");
    }

    #[test]
    fn anything_else_is_refused() {
        let salt = "0a".repeat(32);
        let line = |index| format!("{{\"index\":{index},\"salt\":\"{salt}\",\"body\":\"YQ==\"}}\n");
        for bad in [
            String::new(),
            "{}".into(),
            line(1),
            line(1) + &line(1) + "{\"next\":7}",
            line(2) + &line(1) + "{\"next\":7}",
            line(10) + "{\"next\":7}",
            "{\"next\":7}\n".to_owned() + &line(1),
            line(1).replace("0a0a", "0a0") + "{\"next\":7}",
            line(1).replace("YQ==", "Y") + "{\"next\":7}",
            "not JSON\n{\"next\":7}".into(),
        ] {
            assert!(!read(&bad).0, "{bad}");
        }
    }
}
