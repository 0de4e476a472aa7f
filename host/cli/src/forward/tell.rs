//! What a forwarder says on standard error: a line each, with time and level; JSON with
//! `--output json`.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use auditchain_log::Timestamp;
use serde_json::json;

use crate::args::OutputFormat;
use crate::output::printable;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warn,
    Error,
}

/// Where it is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tell(pub(super) OutputFormat);

impl Tell {
    pub(super) fn info(self, text: &str) {
        self.say(Level::Info, text);
    }

    pub(super) fn warn(self, text: &str) {
        self.say(Level::Warn, text);
    }

    pub(super) fn error(self, text: &str) {
        self.say(Level::Error, text);
    }

    pub(super) fn say(self, level: Level, text: &str) {
        let (time, level) = (now(), level.name());
        let line = match self.0 {
            OutputFormat::Json => {
                json!({ "time": time, "level": level.trim(), "message": text }).to_string()
            }
            OutputFormat::Text => format!("{time} {level} {}", printable(text).replace('\n', " ")),
        };
        // Whoever closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => " INFO",
            Self::Warn => " WARN",
            Self::Error => "ERROR",
        }
    }
}

/// The time, as RFC 3339.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let us = since.map_or(0, |since| since.as_micros());
    Timestamp::from_micros(i64::try_from(us).unwrap_or(i64::MAX)).to_string()
}
