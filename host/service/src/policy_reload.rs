//! Policies, RBAC snapshot and senders' keys that change while the service runs.
//!
//! The files are read every few seconds (their content is compared, not their times), or
//! when an admin asks for it. What changed is compiled here, off the sequencer's thread,
//! and handed to it as a request like any other: the entries that put it in force stand
//! at the front of a block, and that block is the first that is judged with it. What
//! can't be used is logged, counted and told in the status, and what was in force stays.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use auditchain_log::{Hash, PolicySigner, Timestamp};
use auditchain_sandbox::Engine;
use auditchain_store::SledStore;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::config::{Args, Config, ConfigError};
use crate::in_force::InForce;
use crate::memory::Memory;
use crate::metrics::{Metrics, ReloadLabels};
use crate::open::OpenError;
use crate::published::Latest;
use crate::queue::Queue;
use crate::sequencer::{Ack, Job, Refusal, Work};
use crate::wanted::Wanted;

/// How often the files are read. Two reads must agree, so that a file that is being
/// written is not taken for what it will be.
const INTERVAL: Duration = Duration::from_secs(2);
/// Times a change is compiled for a state of the log that is another by then. Only this
/// module makes such changes, one at a time, so one time is enough.
const COMPILE_ATTEMPTS_MAX: u32 = 3;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A policy, its signature, or a file.
    #[error(transparent)]
    Refused(OpenError),
    /// More than a block can hold.
    #[error("{0}")]
    TooLarge(String),
    /// It may go better later.
    #[error("{0}")]
    Unavailable(String),
    /// A snapshot came, but a file says which one is in force.
    #[error("the RBAC snapshot comes from {0}, as the configuration says: change that file")]
    SnapshotConfigured(PathBuf),
}

/// Puts what changed in force.
pub(crate) struct PolicyReload {
    /// The configuration is read again from them.
    args: Args,
    /// Whose signatures count, as it was at start: a change of that needs a restart.
    signers: Vec<PolicySigner>,
    require_signed: bool,
    engine: Engine,
    store: Arc<SledStore>,
    latest: Latest,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    memory: Memory,
    /// Held over a change, from reading the files to its block on disk.
    turn: Mutex<Turn>,
    error: ArcSwapOption<(i64, String)>,
}

/// What the files said.
type Content = Result<Hash, String>;

struct Turn {
    /// Whatever came of it: it is not tried again.
    done: Option<Content>,
    /// At the last look.
    seen: Option<Content>,
    /// What was put in force last, without the snapshot.
    good: Wanted,
    snapshot_file: Option<PathBuf>,
}

impl PolicyReload {
    /// `wanted` is what is in force, as the files of the configuration said at start.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the service")]
    pub(crate) fn new(
        args: Args,
        config: &Config,
        wanted: Wanted,
        engine: Engine,
        store: Arc<SledStore>,
        latest: Latest,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let turn = Turn {
            done: Some(Ok(wanted.digest())),
            seen: None,
            good: Wanted {
                snapshot: None,
                ..wanted
            },
            snapshot_file: config.rbac_snapshot.clone(),
        };
        Self {
            args,
            signers: config.policy_signers.clone(),
            require_signed: config.require_signed_policies,
            engine,
            store,
            latest,
            queue,
            metrics,
            // One small request at a time.
            memory: Memory::new(1 << 20, 1 << 20),
            turn: Mutex::new(turn),
            error: ArcSwapOption::empty(),
        }
    }

    /// Looks at the files until `stop` is closed.
    pub(crate) fn run(&self, stop: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
            self.look();
        }
    }

    /// Puts in force what the files say now. Entries that were written for it, and the
    /// size of the log then.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) fn reload(&self) -> Result<Ack, ChangeError> {
        let mut turn = self.turn();
        let read = self.read();
        turn.done = Some(content(&read));
        let result = read.and_then(|(config, wanted)| self.take(&mut turn, &config, wanted));
        self.tell(&mut turn, result.as_ref());
        result
    }

    /// Puts an RBAC snapshot in force. The log keeps it: it stays after a restart.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) fn put_snapshot(&self, json: Vec<u8>) -> Result<Ack, ChangeError> {
        let turn = self.turn();
        if let Some(path) = &turn.snapshot_file {
            return Err(ChangeError::SnapshotConfigured(path.clone()));
        }
        let wanted = Wanted {
            snapshot: Some(json),
            ..turn.good.clone()
        };
        self.put_in_force(&wanted)
    }

    /// Why the files are not in force as they are now; for the status. The reason names
    /// files and settings, so it is not for everyone.
    pub(crate) fn error(&self, with_reason: bool) -> Option<Value> {
        let error = self.error.load_full()?;
        let (time_us, reason) = &*error;
        let time = Timestamp::from_micros(*time_us).to_string();
        Some(if with_reason {
            json!({ "time": time, "reason": reason })
        } else {
            json!({ "time": time })
        })
    }

    fn look(&self) {
        let mut turn = self.turn();
        let read = self.read();
        let now = content(&read);
        let settled = turn.seen.as_ref() == Some(&now);
        turn.seen = Some(now.clone());
        if !settled || turn.done.as_ref() == Some(&now) {
            return;
        }
        turn.done = Some(now);
        let result = read.and_then(|(config, wanted)| self.take(&mut turn, &config, wanted));
        self.tell(&mut turn, result.as_ref());
    }

    /// The configuration, and the files that it names, as they are now.
    fn read(&self) -> Result<(Config, Wanted), ChangeError> {
        let mut config = Config::load(&self.args)?;
        config.policy_signers.clone_from(&self.signers);
        config.require_signed_policies = self.require_signed;
        let wanted = Wanted::read(&config).map_err(ChangeError::Refused)?;
        Ok((config, wanted))
    }

    fn take(&self, turn: &mut Turn, config: &Config, wanted: Wanted) -> Result<Ack, ChangeError> {
        let ack = self.put_in_force(&wanted)?;
        turn.good = Wanted {
            snapshot: None,
            ..wanted
        };
        turn.snapshot_file.clone_from(&config.rbac_snapshot);
        Ok(ack)
    }

    fn put_in_force(&self, wanted: &Wanted) -> Result<Ack, ChangeError> {
        for _ in 0..COMPILE_ATTEMPTS_MAX {
            let base = &self.latest.load_full().snapshots;
            let now_us = jiff::Timestamp::now().as_microsecond();
            let compiled = InForce::compile(wanted, &self.engine, base, &*self.store, now_us);
            let compiled = compiled.map_err(|error| match error {
                OpenError::Store(error) => ChangeError::Unavailable(error.to_string()),
                error => ChangeError::Refused(error),
            })?;
            let ack = self.submit(Work::InForce(Box::new(compiled)))?;
            if !ack.outdated {
                return Ok(ack);
            }
        }
        Err(ChangeError::Unavailable(
            "what is in force changes all the time; try again".into(),
        ))
    }

    fn submit(&self, work: Work) -> Result<Ack, ChangeError> {
        let unavailable = |why: String| ChangeError::Unavailable(why);
        let (reply, done) = oneshot::channel();
        let held = self.memory.set_aside("", 1);
        let job = Job {
            work,
            arrived: Instant::now(),
            held: held.map_err(|error| unavailable(error.to_string()))?,
            reply,
        };
        let pushed = self.queue.push(job);
        pushed.map_err(|error| unavailable(error.to_string()))?;
        let answer = done.blocking_recv();
        let answer = answer.map_err(|_| unavailable("the service is stopping".into()))?;
        answer.map_err(|refusal| match refusal {
            Refusal::Unavailable(why) => ChangeError::Unavailable(why),
            Refusal::TooLarge(why) => ChangeError::TooLarge(why),
        })
    }

    fn tell(&self, turn: &mut Turn, result: Result<&Ack, &ChangeError>) {
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        let labels = ReloadLabels {
            file: "policies",
            outcome,
        };
        self.metrics.reloads.get_or_create(&labels).inc();
        match result {
            Ok(ack) => {
                self.error.store(None);
                tracing::info!(
                    entries = ack.accepted,
                    size = ack.size,
                    "policies, RBAC snapshot and senders' keys were read again"
                );
            }
            Err(error) => {
                if matches!(error, ChangeError::Unavailable(_)) {
                    turn.done = None;
                }
                let now_us = jiff::Timestamp::now().as_microsecond();
                self.error
                    .store(Some(Arc::new((now_us, error.to_string()))));
                tracing::error!(%error, "the changed policies can't be used; what was in force stays");
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // A panic leaves it as it was before or after a change.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn content(read: &Result<(Config, Wanted), ChangeError>) -> Content {
    match read {
        Ok((_, wanted)) => Ok(wanted.digest()),
        Err(error) => Err(error.to_string()),
    }
}
