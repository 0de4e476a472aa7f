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
    done: u64,
    of: Option<u64>,
    /// Bytes of files: read, and of how many.
    bytes: Option<(u64, u64)>,
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
            done: 0,
            of: None,
            bytes: None,
        }
    }

    /// Tells how much is done, of how much where that is known.
    pub(crate) fn tell(&mut self, done: u64, of: Option<u64>) {
        (self.done, self.of) = (done, of);
        self.show();
    }

    /// Tells how many bytes of files were read meanwhile.
    pub(crate) fn tell_bytes(&mut self, done: u64, of: u64) {
        self.bytes = Some((done, of));
        self.show();
    }

    fn show(&mut self) {
        if !self.on || self.last.elapsed() < PROGRESS_PAUSE {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let line = self.line(self.start.elapsed());
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\u{1b}[K{line}");
        let _ = io::stderr().flush();
    }

    fn line(&self, elapsed: Duration) -> String {
        let ms = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let Self { what, done, .. } = self;
        let rate = done.saturating_mul(1000) / ms;
        let mut line = format!("{what} {done}");
        // Writing into a String can't fail.
        if let Some(of) = self.of.filter(|of| *of > 0) {
            let share = done.saturating_mul(100) / of;
            let filled = usize::try_from(share / 5).unwrap_or(20).min(20);
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(20 - filled));
            let _ = write!(line, " of {of} [{bar}] {share}%");
        }
        let _ = write!(line, ", {rate} a second");
        if let Some(of) = self.of.filter(|of| of > done && rate > 0) {
            let left_s = (of - done) / rate;
            let _ = write!(line, ", {}:{:02} left", left_s / 60, left_s % 60);
        }
        if let Some((read, of)) = self.bytes.filter(|(read, of)| read < of) {
            let mib = 1 << 20;
            let rate = read.saturating_mul(1000) / ms / mib;
            let _ = write!(
                line,
                "; files {} of {} MiB, {rate} a second",
                read / mib,
                of / mib
            );
        }
        line
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
    fn progress_has_a_rate_and_an_end() {
        let mut progress = Progress::new("verified");
        progress.on = false;
        progress.tell(0, None);
        assert_eq!(progress.line(Duration::ZERO), "verified 0, 0 a second");
        progress.tell(25_000, Some(100_000));
        progress.tell_bytes(10 << 20, 40 << 20);
        assert_eq!(
            progress.line(Duration::from_secs(5)),
            "verified 25000 of 100000 [#####...............] 25%, 5000 a second, 0:15 left; files 10 of 40 MiB, 2 a second"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Style { colour: false }.bad("x"), "x");
        assert_eq!(Style { colour: true }.bad("x"), "\u{1b}[31;1mx\u{1b}[0m");
    }
}
