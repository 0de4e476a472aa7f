//! When to send again: exponential backoff with full jitter, and a circuit breaker.
//!
//! ```text
//!            failures in a row = limit           the pause is over
//!   closed ---------------------------> open ------------------------> half-open
//!     ^  ^                                ^                              |    |
//!     |  +-- a success resets             +------- the probe failed -----+    |
//!     +----------------------------- the probe succeeded ---------------------+
//! ```
//! Pure: time and randomness come in as arguments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first wait is drawn from zero to this; the bound doubles with each failure.
const BASE_MS: u64 = 500;
/// Waits that a service asks for are obeyed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What the breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BreakerState {
    /// Sends.
    Closed,
    /// Doesn't send until its pause is over.
    Open,
    /// Sends one batch to see.
    HalfOpen,
}

/// Counts failures in a row and says how long to wait.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    failures_max: u32,
    wait_max: Duration,
    failures: u32,
    state: BreakerState,
    /// When the next attempt may be, on the caller's clock.
    due: Duration,
}

impl Breaker {
    /// Opens after so many failures in a row; no wait of its own is longer than
    /// `wait_max`.
    pub(super) fn new(failures_max: u32, wait_max: Duration) -> Self {
        Self {
            failures_max: failures_max.max(1),
            wait_max,
            failures: 0,
            state: BreakerState::Closed,
            due: Duration::ZERO,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait before the next attempt; zero: go. An open breaker whose pause
    /// is over becomes half-open.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        let wait = self.due.saturating_sub(now);
        if wait.is_zero() && self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
        wait
    }

    /// An attempt was answered.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
        self.due = Duration::ZERO;
    }

    /// An attempt failed; `random` is any number, `retry_after` what the service asked
    /// for.
    pub(super) fn failed(&mut self, now: Duration, retry_after: Option<Duration>, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let opens = self.state == BreakerState::HalfOpen || self.failures >= self.failures_max;
        let wait = if opens {
            self.state = BreakerState::Open;
            // The whole pause, and half of it more as jitter: many forwarders that lost
            // one service must not come back together.
            self.wait_max / 3 * 2 + jitter(self.wait_max / 3, random)
        } else {
            jitter(self.bound(), random)
        };
        self.due = now + wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
    }

    /// The service refuses us, not the batch (rights, path): trying often helps nobody.
    pub(super) fn refused(&mut self, now: Duration, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.due = now + self.wait_max / 2 + jitter(self.wait_max / 2, random);
    }

    fn bound(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(20);
        Duration::from_millis(BASE_MS << doublings).min(self.wait_max)
    }
}

/// Zero to `bound`.
fn jitter(bound: Duration, random: u64) -> Duration {
    let ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % ms.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_bound_with_full_jitter() {
        let mut breaker = Breaker::new(u32::MAX, 30 * S);
        let bounds_ms = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        for bound_ms in bounds_ms {
            // The largest random number below the bound, and zero.
            let mut least = breaker.clone();
            least.failed(S, None, bound_ms + 1);
            assert_eq!(least.wait(S), Duration::ZERO);
            breaker.failed(S, None, bound_ms);
            assert_eq!(breaker.wait(S), Duration::from_millis(bound_ms));
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.succeeded();
        assert_eq!((breaker.failures(), breaker.wait(S)), (0, Duration::ZERO));
        for _ in 0..100 {
            breaker.failed(S, None, u64::MAX);
            assert!(breaker.wait(S) <= 30 * S);
        }
    }

    #[test]
    fn it_opens_probes_once_and_closes_or_opens_again() {
        let mut breaker = Breaker::new(3, 30 * S);
        for _ in 0..2 {
            breaker.failed(S, None, 0);
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.failed(S, None, 0);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.wait(S), 20 * S);
        assert_eq!(breaker.wait(20 * S), S);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.wait(21 * S), Duration::ZERO);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        // One failed probe opens it again.
        breaker.failed(21 * S, None, 10_000);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.wait(21 * S), 30 * S);
        assert_eq!(breaker.wait(51 * S), Duration::ZERO);
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(51 * S, None, 0);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn retry_after_is_obeyed_within_reason() {
        let mut breaker = Breaker::new(9, 30 * S);
        breaker.failed(S, Some(7 * S), 0);
        assert_eq!(breaker.wait(S), 7 * S);
        breaker.failed(S, Some(Duration::MAX), 0);
        assert_eq!(breaker.wait(S), RETRY_AFTER_MAX);
        breaker.failed(S, Some(Duration::ZERO), 2000);
        assert_eq!(breaker.wait(S), 2 * S);
    }

    #[test]
    fn a_refusal_is_tried_again_slowly_and_opens_nothing() {
        let mut breaker = Breaker::new(1, 60 * S);
        breaker.refused(S, 0);
        assert_eq!(breaker.wait(S), 30 * S);
        breaker.refused(S, 30_000);
        assert_eq!(breaker.wait(S), 60 * S);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
