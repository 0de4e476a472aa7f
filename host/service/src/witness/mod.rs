//! Cosignatures of witnesses, by [c2sp.org/tlog-witness](https://c2sp.org/tlog-witness):
//! after commits, never on the path of an acknowledgement.
//!
//! A thread goes in rounds. A round offers one checkpoint, the newest, to every witness
//! that is due, each on a thread of its own, and ends when all have answered or timed
//! out: cosignatures count together only on the same checkpoint, so no witness is sent
//! ahead of the others. As soon as the policy's quorum has signed it, that checkpoint
//! takes the place of the one that `/checkpoint` serves; the next round has the next.
//! A witness that fails is left out for a while, longer each time, so that a dead one
//! doesn't hold up the rest.

mod client;
mod cosigned;

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use auditchain_log::{Note, NoteSignature, Timestamp, WitnessPolicy, cosignature_time};
use auditchain_store::SledStore;
use serde_json::{Value, json};

use crate::metrics::{Metrics, WitnessFailureLabels, WitnessLabels};
use crate::published::{Latest, Published};
use client::{Failure, Peer};
use cosigned::{Cosigned, CosignedFile};

/// Time between two rounds, unless configured.
pub(crate) const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// A witness that fails is asked again after at most this.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A checkpoint that stays the newest is cosigned again after this, so that the
/// cosignature's time says that the log is still watched.
const COSIGN_AGAIN: Duration = Duration::from_secs(900);

/// What readers see of the witnesses.
#[derive(Debug)]
pub(crate) struct Witnesses {
    policy: WitnessPolicy,
    cosigned: ArcSwapOption<Cosigned>,
    /// Of each witness that has a URL, in the policy's order.
    status: Mutex<Vec<Status>>,
}

#[derive(Debug, Clone, Default)]
struct Status {
    name: String,
    /// Size and time of its newest cosignature.
    newest: Option<(u64, u64)>,
    /// Why the last try failed.
    failure: Option<String>,
}

/// The thread's own: what it needs to ask.
pub(crate) struct Rounds {
    shared: Arc<Witnesses>,
    peers: Vec<Peer>,
    file: CosignedFile,
    latest: Latest,
    store: Arc<SledStore>,
    metrics: Arc<Metrics>,
    interval: Duration,
}

impl Witnesses {
    /// Takes up the policy and what was cosigned before the last stop.
    pub(crate) fn open(
        policy: WitnessPolicy,
        interval: Duration,
        data: &Path,
        latest: Latest,
        store: Arc<SledStore>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, Rounds) {
        let file = CosignedFile::new(data);
        let published = latest.load_full();
        let cosigned = file.read(&published, &policy, &*store);
        let mut peers: Vec<Peer> = policy.witnesses().iter().filter_map(Peer::new).collect();
        let status = |peer: &mut Peer| {
            let newest = cosigned.as_ref().and_then(|c| c.by(peer.key()));
            peer.known = newest.map_or(0, |(size, _)| size);
            Status {
                name: peer.name().into(),
                newest,
                failure: None,
            }
        };
        let status = peers.iter_mut().map(status).collect();
        let shared = Arc::new(Self {
            policy,
            cosigned: ArcSwapOption::from_pointee(cosigned),
            status: Mutex::new(status),
        });
        let rounds = Rounds {
            shared: Arc::clone(&shared),
            peers,
            file,
            latest,
            store,
            metrics,
            interval,
        };
        rounds.count();
        (shared, rounds)
    }

    /// What `/checkpoint` serves: the newest checkpoint that the quorum cosigned, so
    /// that clients which ask for the quorum never see one without it. Until there is
    /// one, and where no quorum is asked for, the newest, with what cosignatures it has.
    pub(crate) fn served(&self, published: &Published) -> Option<String> {
        let cosigned = self.cosigned.load();
        let cosigned = cosigned.as_ref()?;
        let same = cosigned.size == published.size();
        (self.policy.asks_for_witnesses() || same).then(|| cosigned.note.clone())
    }

    /// For `/api/v1/status`.
    pub(crate) fn status(&self) -> Value {
        let seconds = |s: u64| {
            let us = i64::try_from(s)
                .unwrap_or(i64::MAX)
                .saturating_mul(1_000_000);
            Timestamp::from_micros(us).to_string()
        };
        let each: Vec<Value> = self
            .lock()
            .iter()
            .map(|status| {
                json!({
                    "name": status.name,
                    "size": status.newest.map(|(size, _)| size),
                    "time": status.newest.map(|(_, time_s)| seconds(time_s)),
                    "failure": status.failure,
                })
            })
            .collect();
        let cosigned = self.cosigned.load();
        json!({ "cosignedSize": cosigned.as_ref().map(|c| c.size), "each": each })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Status>> {
        // What is in there is whole after every assignment.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rounds {
    /// Goes in rounds until the other end of `stop` is gone.
    pub(crate) fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(self.interval) == Err(RecvTimeoutError::Timeout) {
            self.round();
        }
    }

    /// Offers the newest checkpoint to every witness that is due.
    fn round(&mut self) {
        let published = self.latest.load_full();
        let size = published.size();
        let now = Instant::now();
        let due = |peer: &Peer| {
            let done = |(of, at): (u64, Instant)| of == size && now < at + COSIGN_AGAIN;
            now >= peer.not_before && !peer.done.is_some_and(done)
        };
        if size == 0 || !self.peers.iter().any(due) {
            return;
        }
        let mut note = match self.start(&published) {
            Ok(note) => note,
            Err(error) => return tracing::error!(%error, "our own checkpoint can't be read"),
        };
        let (answers, answered) = mpsc::channel();
        let (latest, store) = (&self.latest, &*self.store);
        let (shared, file, metrics) = (&self.shared, &mut self.file, &self.metrics);
        let interval = self.interval;
        std::thread::scope(|scope| {
            for (at, peer) in self.peers.iter_mut().enumerate().filter(|(_, p)| due(p)) {
                let (answers, published) = (answers.clone(), &published);
                scope.spawn(move || {
                    let answer = peer.submit(published, latest, store);
                    peer.settle(answer.is_ok(), size, interval, BACKOFF_MAX);
                    // The receiver outlives all of us.
                    let _ = answers.send((at, answer));
                });
            }
            drop(answers);
            for (at, answer) in answered {
                let good = shared.note(at, size, answer, metrics);
                if let Some(signature) = good {
                    note.merge([signature]);
                    shared.offer(size, &note, file);
                }
            }
        });
        self.count();
    }

    /// Our own note over the checkpoint, with the cosignatures that it has already.
    fn start(&self, published: &Published) -> Result<Note, auditchain_log::NoteError> {
        let mut note = Note::parse(published.note.as_bytes())?;
        let cosigned = self.shared.cosigned.load();
        if let Some(cosigned) = cosigned.as_ref().filter(|c| c.size == published.size()) {
            let before = Note::parse(cosigned.note.as_bytes())?;
            note.merge(before.signatures().iter().cloned());
        }
        Ok(note)
    }

    /// Sets the gauges.
    fn count(&self) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for status in self.shared.lock().iter() {
            let labels = WitnessLabels {
                witness: status.name.clone(),
            };
            if let Some((size, time_s)) = status.newest {
                let metrics = &self.metrics;
                metrics
                    .witness_entries
                    .get_or_create(&labels)
                    .set(gauge(size));
                metrics
                    .witness_time
                    .get_or_create(&labels)
                    .set(gauge(time_s));
            }
        }
        let cosigned = self.shared.cosigned.load();
        let size = cosigned.as_ref().map_or(0, |cosigned| cosigned.size);
        self.metrics.cosigned_entries.set(gauge(size));
    }
}

impl Witnesses {
    /// Takes down what a witness answered; its cosignature if it is one.
    fn note(
        &self,
        at: usize,
        size: u64,
        answer: Result<NoteSignature, Failure>,
        metrics: &Metrics,
    ) -> Option<NoteSignature> {
        let mut all = self.lock();
        let status = all.get_mut(at)?;
        match answer {
            Ok(signature) => {
                status.newest = Some((size, cosignature_time(&signature).unwrap_or(0)));
                status.failure = None;
                Some(signature)
            }
            Err(failure) => {
                let labels = WitnessFailureLabels {
                    witness: status.name.clone(),
                    reason: failure.reason(),
                };
                metrics.witness_failures.get_or_create(&labels).inc();
                let text = failure.to_string();
                match failure {
                    Failure::Ahead(_) | Failure::Refused { status: 422, .. } => {
                        tracing::error!(witness = status.name, error = text, "not cosigned");
                    }
                    _ => tracing::warn!(witness = status.name, error = text, "not cosigned"),
                }
                status.failure = Some(text);
                None
            }
        }
    }

    /// Shows the note to readers if it satisfies the quorum. It is on disk before: what
    /// was shown once is there after a crash.
    fn offer(&self, size: u64, note: &Note, file: &mut CosignedFile) {
        let signed = |witness: &auditchain_log::PolicyWitness| {
            note.signatures()
                .iter()
                .any(|line| line.is_of(&witness.key))
        };
        if !self.policy.is_quorum(signed) {
            return;
        }
        let text = note.to_string();
        if let Err(error) = file.write(text.as_bytes()) {
            tracing::error!(%error, "the cosigned checkpoint can't be written; the one before stays");
            return;
        }
        self.cosigned
            .store(Some(Arc::new(Cosigned { size, note: text })));
    }
}
