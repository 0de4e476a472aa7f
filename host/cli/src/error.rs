//! Why a verb didn't do what was asked, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};

use crate::http::HttpError;
use crate::source::SourceError;

/// What was asked holds.
pub(crate) const EXIT_HOLDS: u8 = 0;
/// Verification failed, or not everything was taken.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Wrong usage, or something could not be read or written.
pub(crate) const EXIT_USAGE: u8 = 2;

/// A verb ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// What was typed makes no sense. The text names the fix.
    #[error("{0}")]
    Usage(String),
    /// A file.
    #[error("{doing} {path}: {error}")]
    File {
        /// `can't read`, `can't write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Standard input or output.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The log can't be read, or is damaged.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something was read, checked, and does not hold.
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::File {
            doing: "can't read",
            path,
            error,
        }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::File {
            doing: "can't write",
            path,
            error,
        }
    }

    /// 1 for what was checked and doesn't hold, 2 for all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Source(SourceError::Damaged { .. }) => EXIT_FAILED,
            _ => EXIT_USAGE,
        }
    }
}
