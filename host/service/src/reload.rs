//! Files that are read again when they change: TLS and tokens.
//!
//! Kubernetes swaps a mounted Secret by a symlink, cert-manager and people write files
//! in place. So the content is compared, every few seconds: it can't be fooled by
//! modification times, and the files are small. What can't be used is logged and
//! counted once, and what was in force stays.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::auth::Access;
use crate::metrics::{Metrics, ReloadLabels};
use crate::tls::{Tls, TlsContent, TlsError};

/// How often the files are read. The kubelet itself takes up to a minute to bring a
/// changed Secret.
const INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a file: 256 certificates or 4,096 tokens are less.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {path}: {error}")]
pub(crate) struct ReadError {
    path: PathBuf,
    error: io::Error,
}

/// The files that are watched, and what was last seen in them.
pub(crate) struct Reload {
    tls: Option<(Arc<Tls>, Seen<TlsContent>)>,
    tokens: Option<(PathBuf, Arc<Access>, Seen<Vec<u8>>)>,
    metrics: Arc<Metrics>,
}

/// What was seen last, so that a bad file is reported once.
enum Seen<T> {
    Content(T),
    Error(String),
}

impl ReadError {
    pub(crate) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self { path, error }
    }
}

/// Reads a small file whole.
///
/// # Errors
/// It can't be read, or is larger than any that we know.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(ReadError::of(path))?;
    if read as u64 > FILE_BYTES_MAX {
        let error = io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"));
        return Err(ReadError::of(path)(error));
    }
    Ok(bytes)
}

impl Reload {
    /// What is in force was read just before.
    pub(crate) fn new(
        tls: Option<Arc<Tls>>,
        tokens: Option<(PathBuf, Arc<Access>)>,
        metrics: Arc<Metrics>,
    ) -> Self {
        // Whatever differs from this is taken once more, which changes nothing.
        let seen = || Seen::Error(String::new());
        Self {
            tls: tls.map(|tls| {
                let content = tls.files().read();
                let seen = content.map_or_else(|e| Seen::Error(e.to_string()), Seen::Content);
                (tls, seen)
            }),
            tokens: tokens.map(|(path, access)| {
                let seen = read(&path).map_or_else(|_| seen(), Seen::Content);
                (path, access, seen)
            }),
            metrics,
        }
    }

    /// Looks at the files for as long as the service runs.
    pub(crate) async fn run(mut self) {
        if self.tls.is_none() && self.tokens.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            let look = move || {
                self.look();
                self
            };
            // A panic in there has been reported; what is in force stays.
            let Ok(back) = tokio::task::spawn_blocking(look).await else {
                return;
            };
            self = back;
        }
    }

    fn look(&mut self) {
        if let Some((tls, seen)) = &mut self.tls {
            let metrics = &self.metrics;
            seen.look(
                "tls",
                metrics,
                tls.files().read(),
                |content| -> Result<(), TlsError> {
                    let not_after = tls.take(content)?;
                    set_expiry(metrics, not_after);
                    Ok(())
                },
            );
        }
        if let Some((path, access, seen)) = &mut self.tokens {
            seen.look("tokens", &self.metrics, read(path), |text| {
                access.take_tokens(path, text).map_err(|e| e.to_string())
            });
        }
    }
}

/// Publishes when the certificate expires.
pub(crate) fn set_expiry(metrics: &Metrics, not_after: SystemTime) {
    let since = not_after.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    metrics
        .certificate_expiry
        .set(i64::try_from(seconds).unwrap_or(i64::MAX));
}

impl<T: PartialEq> Seen<T> {
    fn look<R: Display, E: Display>(
        &mut self,
        file: &'static str,
        metrics: &Metrics,
        read: Result<T, R>,
        take: impl FnOnce(&T) -> Result<(), E>,
    ) {
        let (new, error) = match read {
            Ok(content) => {
                if matches!(self, Self::Content(seen) if *seen == content) {
                    return;
                }
                let error = take(&content).err().map(|error| error.to_string());
                (Self::Content(content), error)
            }
            Err(error) => {
                let error = error.to_string();
                if matches!(self, Self::Error(seen) if *seen == error) {
                    return;
                }
                (Self::Error(error.clone()), Some(error))
            }
        };
        *self = new;
        let outcome = if error.is_none() { "ok" } else { "failed" };
        let labels = ReloadLabels { file, outcome };
        metrics.reloads.get_or_create(&labels).inc();
        match error {
            None => tracing::info!(file, "changed file read again"),
            Some(error) => {
                tracing::error!(file, %error, "the changed file can't be used; what was in force stays");
            }
        }
    }
}
