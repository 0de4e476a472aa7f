//! How many bytes a second a source may send. Off unless configured.
//!
//! A token bucket a source, counted in KiB and charged when a request's size is known,
//! before it is decoded. The bucket holds [`BURST_SECONDS`] seconds' worth, but always
//! one request of the largest size. Over the rate: 429 with the seconds until there is
//! room, which an apiserver obeys.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::MAX_SOURCES;

/// What may come at once after a pause: an apiserver that was cut off sends what it
/// has kept.
pub(crate) const BURST_SECONDS: u32 = 10;
/// Waits beyond this are said to be this: an apiserver gives up after 30 s.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(25);

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

/// The buckets of all sources.
#[derive(Debug)]
pub(crate) struct Rates {
    /// KiB a second of sources that have no rate of their own; none: no limit.
    default_kib: Option<NonZeroU32>,
    configured_kib: BTreeMap<String, NonZeroU32>,
    request_kib_max: NonZeroU32,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
}

/// The source sends too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this source sends more than the configured bytes a second; try again in {retry_after_s} s"
)]
pub(crate) struct OverRate {
    /// Until there is room.
    pub(crate) retry_after_s: u64,
}

impl Rates {
    /// Rates in bytes a second, rounded up to KiB.
    pub(crate) fn new(
        default_bytes: Option<u64>,
        configured_bytes: impl IntoIterator<Item = (String, u64)>,
        request_bytes_max: usize,
    ) -> Self {
        let configured = configured_bytes.into_iter();
        Self {
            default_kib: default_bytes.map(kib),
            configured_kib: configured.map(|(name, bytes)| (name, kib(bytes))).collect(),
            request_kib_max: kib(request_bytes_max as u64),
            buckets: Mutex::default(),
        }
    }

    /// Charges a request to its source.
    ///
    /// # Errors
    /// It is over the source's rate; nothing is charged.
    pub(crate) fn charge(&self, source: &str, bytes: u64) -> Result<(), OverRate> {
        let configured = self.configured_kib.get(source).copied();
        let Some(rate) = configured.or(self.default_kib) else {
            return Ok(());
        };
        let bucket = self.bucket(source, rate);
        // A bucket holds the largest request, so the outer answer is always Ok.
        let charge = kib(bytes).min(self.request_kib_max);
        let Ok(Err(refused)) = bucket.check_n(charge) else {
            return Ok(());
        };
        let wait = refused.wait_time_from(MonotonicClock.now());
        Err(OverRate {
            retry_after_s: wait.min(RETRY_AFTER_MAX).as_secs() + 1,
        })
    }

    fn bucket(&self, source: &str, rate: NonZeroU32) -> Arc<Bucket> {
        // No code panics while it holds the lock.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(source) {
            return Arc::clone(bucket);
        }
        if buckets.len() >= MAX_SOURCES {
            // Reached only by names that are not configured, on loopback.
            buckets.clear();
        }
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let quota = Quota::per_second(rate).allow_burst(burst.max(self.request_kib_max));
        let bucket = Arc::new(RateLimiter::direct_with_clock(quota, MonotonicClock));
        buckets.insert(source.to_owned(), Arc::clone(&bucket));
        bucket
    }
}

/// In KiB, rounded up; at least one.
fn kib(bytes: u64) -> NonZeroU32 {
    let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    NonZeroU32::new(kib).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_nothing_is_refused() {
        let rates = Rates::new(None, [("slow".to_owned(), 1)], 1 << 20);
        for _ in 0..10_000 {
            rates.charge("any", 1 << 20).unwrap();
        }
    }

    #[test]
    fn a_source_over_its_rate_waits_and_costs_no_other() {
        // A KiB a second: ten at once.
        let rates = Rates::new(Some(1 << 10), [("wide".to_owned(), 1 << 20)], 4 << 10);
        for _ in 0..BURST_SECONDS {
            rates.charge("a", 1 << 10).unwrap();
        }
        let over = rates.charge("a", 4 << 10).unwrap_err();
        assert!((3..=4).contains(&over.retry_after_s), "{over}");
        rates.charge("b", 1 << 10).unwrap();
        for _ in 0..100 {
            rates.charge("wide", 4 << 10).unwrap();
        }
    }

    #[test]
    fn the_largest_request_fits_a_bucket() {
        let rates = Rates::new(Some(1), [], 64 << 20);
        rates.charge("a", 64 << 20).unwrap();
        let over = rates.charge("a", 64 << 20).unwrap_err();
        assert_eq!(over.retry_after_s, RETRY_AFTER_MAX.as_secs() + 1);
    }
}
