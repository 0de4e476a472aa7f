//! What goes to a terminal: text without surprises, colours and progress only where
//! a person looks.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Pause between two lines of progress.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// Colours of standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Colours if standard output is a terminal and NO_COLOR is not set.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !refused,
        }
    }

    pub(crate) fn good(self, text: &str) -> Cow<'_, str> {
        self.paint("32;1", text)
    }

    pub(crate) fn bad(self, text: &str) -> Cow<'_, str> {
        self.paint("31;1", text)
    }

    pub(crate) fn warn(self, text: &str) -> Cow<'_, str> {
        self.paint("33", text)
    }

    pub(crate) fn head(self, text: &str) -> Cow<'_, str> {
        self.paint("1", text)
    }

    fn paint<'t>(self, code: &str, text: &'t str) -> Cow<'t, str> {
        if self.colour {
            Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// Text from a log, made safe for a terminal: control characters and those that turn
/// the direction of writing around are escaped. Newlines are kept.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            // Writing into a String can't fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line on standard error that is rewritten while long work goes on; nothing where
/// standard error is no terminal.
pub(crate) struct Progress {
    what: &'static str,
    start: Instant,
    last: Instant,
    on: bool,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self {
            what,
            start: now,
            last: now,
            on: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Tells how much is done, of how much where that is known.
    pub(crate) fn tell(&mut self, done: u64, of: Option<u64>) {
        if !self.on || self.last.elapsed() < PROGRESS_PAUSE {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let rate = done * 1000
            / u64::try_from(self.start.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
        let share = of.filter(|of| *of > 0).map_or_else(String::new, |of| {
            format!(" of {of} ({}%)", done.saturating_mul(100) / of)
        });
        // A terminal that is gone is no reason to stop.
        let _ = write!(
            io::stderr(),
            "\r\u{1b}[K{} {done}{share}, {rate} a second",
            self.what
        );
        let _ = io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_can_not_write_on_the_terminal() {
        assert_eq!(printable("a\nü 日本"), "a\nü 日本");
        assert_eq!(
            printable("\u{1b}[2J\r\u{7f}\u{9b}\u{202e}x"),
            "\\u001b[2J\\u000d\\u007f\\u009b\\u202ex"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Style { colour: false }.bad("x"), "x");
        assert_eq!(Style { colour: true }.bad("x"), "\u{1b}[31;1mx\u{1b}[0m");
    }
}
