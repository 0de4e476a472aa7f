//! One witness: what is sent, and what its answer is worth.

use std::time::{Duration, Instant};

use auditchain_log::{
    AddCheckpoint, MAX_SIGNATURES, NoteSignature, PolicyWitness, TreeSize, VerifierKey,
    consistency_proof, cosignature_time,
};
use auditchain_store::{Store, StoreError};
use ureq::Agent;

use crate::published::{Latest, Published, PublishedTiles};

/// A witness has this long for one answer: it bounds a round.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: cosignature lines, of which an ML-DSA-44 one has 3.3 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer that is shown.
const REASON_BYTES_MAX: usize = 200;
/// Doublings of the pause after which it is at its limit anyway.
const DOUBLINGS_MAX: u32 = 16;

/// A witness that is asked. One request at a time: whoever has it mutably.
pub(super) struct Peer {
    witness: PolicyWitness,
    url: String,
    agent: Agent,
    /// Size of the last checkpoint that it cosigned, as far as we know.
    pub(super) known: u64,
    /// Size and time of the last success.
    pub(super) done: Option<(u64, Instant)>,
    /// When it may be asked again.
    pub(super) not_before: Instant,
    failures: u32,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("it answered {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("it has cosigned other sizes each time it was asked")]
    Conflict,
    #[error(
        "it has cosigned this log at size {0}, which is more than the log has. Either it is wrong, or this log was put back to an older state: run auditchain verify"
    )]
    Ahead(u64),
    #[error("its answer is none: {0}")]
    BadAnswer(&'static str),
    #[error("no consistency proof: {0}")]
    Store(#[from] StoreError),
}

impl Failure {
    /// A label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Conflict => "conflict",
            Self::Ahead(_) => "ahead",
            Self::BadAnswer(_) => "bad-answer",
            Self::Store(_) => "store",
        }
    }
}

impl Peer {
    /// None: the policy gives no URL, so it isn't ours to ask.
    pub(super) fn new(witness: &PolicyWitness) -> Option<Self> {
        let prefix = witness.url.as_deref()?.trim_end_matches('/');
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("auditchaind/", env!("CARGO_PKG_VERSION")))
            .build();
        Some(Self {
            url: format!("{prefix}/add-checkpoint"),
            witness: witness.clone(),
            agent: agent.into(),
            known: 0,
            done: None,
            not_before: Instant::now(),
            failures: 0,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.witness.name
    }

    pub(super) fn key(&self) -> &VerifierKey {
        &self.witness.key
    }

    /// When it is asked again.
    pub(super) fn settle(&mut self, good: bool, size: u64, interval: Duration, most: Duration) {
        let now = Instant::now();
        if good {
            self.failures = 0;
            self.done = Some((size, now));
            self.not_before = now;
        } else {
            self.failures = (self.failures + 1).min(DOUBLINGS_MAX);
            let pause = interval.saturating_mul(1 << self.failures);
            self.not_before = now + pause.min(most);
        }
    }

    /// Asks for a cosignature on this checkpoint.
    pub(super) fn submit(
        &mut self,
        published: &Published,
        latest: &Latest,
        store: &impl Store,
    ) -> Result<NoteSignature, Failure> {
        // The second try is for a witness that stands elsewhere than we thought.
        for _ in 0..2 {
            let request = AddCheckpoint {
                old: TreeSize(self.known),
                proof: proof(self.known, published, store)?,
                note: published.note.clone(),
            };
            let answer = self.post(&request.to_text())?;
            match answer.status {
                200 => {
                    let signature =
                        self.read(published.checkpoint.to_text().as_bytes(), &answer)?;
                    self.known = published.size();
                    return Ok(signature);
                }
                409 => {
                    let size = answer.size()?;
                    if size > latest.load().size() {
                        return Err(Failure::Ahead(size));
                    }
                    // Someone else may have shown it a newer one: the next round will do.
                    if size == self.known || size > published.size() {
                        return Err(Failure::Conflict);
                    }
                    self.known = size;
                }
                status => {
                    // What it has cosigned is asked for again.
                    self.known = 0;
                    return Err(Failure::Refused {
                        status,
                        text: answer.shown(),
                    });
                }
            }
        }
        Err(Failure::Conflict)
    }

    fn post(&self, body: &str) -> Result<Answer, Failure> {
        let unreachable = |error: ureq::Error| Failure::Unreachable(error.to_string());
        let request = self.agent.post(&self.url).content_type("text/plain");
        let mut response = request.send(body).map_err(unreachable)?;
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).map(String::from);
        let body = response.body_mut().with_config();
        let bytes = match body.limit(ANSWER_BYTES_MAX as u64).read_to_vec() {
            Ok(bytes) => bytes,
            Err(ureq::Error::BodyExceedsLimit(_)) => return Err(Failure::BadAnswer("too large")),
            Err(error) => return Err(unreachable(error)),
        };
        Ok(Answer {
            status: response.status().as_u16(),
            kind,
            bytes,
        })
    }

    /// Its cosignature over our checkpoint. Lines of other keys are ignored, as the
    /// standard asks.
    fn read(&self, text: &[u8], answer: &Answer) -> Result<NoteSignature, Failure> {
        let bad = Failure::BadAnswer;
        let lines = std::str::from_utf8(&answer.bytes).map_err(|_| bad("no text"))?;
        let lines = lines.strip_suffix('\n').ok_or(bad("no signature lines"))?;
        let mut found = None;
        for line in lines.split('\n').take(MAX_SIGNATURES) {
            let line = NoteSignature::parse(line).ok_or(bad("no signature lines"))?;
            if !line.is_of(&self.witness.key) {
                continue;
            }
            if !self.witness.key.verify(text, &line.signature) {
                return Err(bad("its cosignature doesn't verify"));
            }
            found = Some(line);
        }
        let found = found.ok_or(bad("no cosignature of the witness's key"))?;
        if cosignature_time(&found) == Some(0) {
            return Err(bad("its cosignature has no time"));
        }
        Ok(found)
    }
}

/// An answer, read whole.
struct Answer {
    status: u16,
    kind: Option<String>,
    bytes: Vec<u8>,
}

impl Answer {
    /// The size in a 409.
    fn size(&self) -> Result<u64, Failure> {
        let bad = Failure::BadAnswer("a 409 without the size as text/x.tlog.size");
        if self.kind.as_deref() != Some("text/x.tlog.size") {
            return Err(bad);
        }
        let text = std::str::from_utf8(&self.bytes).ok();
        text.and_then(|text| text.strip_suffix('\n')?.parse().ok())
            .ok_or(bad)
    }

    /// What of it goes into a message: its first line, without what moves a terminal.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(REASON_BYTES_MAX)]);
        let line = text.lines().next().unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).collect()
    }
}

fn proof(
    known: u64,
    published: &Published,
    store: &impl Store,
) -> Result<Vec<auditchain_log::Hash>, StoreError> {
    if known == 0 || known >= published.size() {
        return Ok(Vec::new());
    }
    let tiles = PublishedTiles { published, store };
    let (from, to) = (TreeSize(known), TreeSize(published.size()));
    // There is one: 0 < from < to.
    Ok(consistency_proof(from, to, &tiles)?.unwrap_or_default())
}
