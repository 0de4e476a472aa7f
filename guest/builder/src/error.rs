//! Why a guest could not be built.

use std::{io, path::PathBuf};

/// Why a guest could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No compiler for the target was found.
    #[error(
        "no toolchain here can build WebAssembly guests.\n{looked_at}\nInstall one of:\n  \
         rustup target add wasm32-unknown-unknown\n  \
         apt-get install rustc-web cargo-web rust-web-src lld   (Debian 12)"
    )]
    NoToolchain {
        /// What was looked at and what was missing there, a line each.
        looked_at: String,
    },
    /// The nested cargo could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The nested cargo failed.
    #[error("building guest {package} failed ({status}):\n{stderr}")]
    Compile {
        /// The package.
        package: String,
        /// How cargo ended.
        status: std::process::ExitStatus,
        /// What cargo and the compiler said.
        stderr: String,
    },
    /// The module is no guest: it could not be made a component.
    #[error("guest {package} cannot be made a component: {reason}")]
    Component {
        /// The package.
        package: String,
        /// The whole chain of causes.
        reason: String,
    },
    /// A file or directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Only a build script may call [`build_for_build_script`](crate::build_for_build_script).
    #[error("{0} is not set: this is for build scripts, which cargo runs")]
    NotABuildScript(&'static str),
}

impl BuildError {
    /// Ties an I/O error to the path it is about.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
