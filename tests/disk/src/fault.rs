//! One call that fails.

use std::fmt;
use std::str::FromStr;

/// What a failing call does before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Failed,
    /// Everything: it only looks as if it had failed.
    FailedButPersisted,
    /// A write writes its first half; the rest fails. Other calls: nothing.
    Torn,
}

/// Makes one call below the watched directory fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which, counted from 0 over all recorded calls.
    pub at: u64,
    /// What it does before.
    pub when: When,
    /// What it fails with.
    pub errno: i32,
    /// All later calls fail too: the disk is gone, or full.
    pub sticky: bool,
}

// As an environment variable holds it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            When::Failed => "failed",
            When::FailedButPersisted => "persisted",
            When::Torn => "torn",
        };
        write!(f, "{},{when},{},{}", self.at, self.errno, self.sticky)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split(',');
            let at = parts.next()?.parse().ok()?;
            let when = match parts.next()? {
                "failed" => When::Failed,
                "persisted" => When::FailedButPersisted,
                "torn" => When::Torn,
                _ => return None,
            };
            Some(Self {
                at,
                when,
                errno: parts.next()?.parse().ok()?,
                sticky: parts.next()?.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no fault: AT,WHEN,ERRNO,STICKY"))
    }
}
