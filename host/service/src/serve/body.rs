//! Receives a request's body: bounded in bytes, in time and from below in speed.
//!
//! Memory is set aside for what has arrived, not for what was announced: idle uploads
//! must not keep others out.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::App;
use crate::listener::limits::Limits;
use crate::listener::stopped;
use crate::memory::Held;
use crate::problem::Problem;

impl App {
    /// Reads the body whole.
    ///
    /// # Errors
    /// It is too large, too slow or broken, over its source's rate, there is no memory for it, or the service
    /// stops and it has not arrived soon after.
    pub(super) async fn receive(
        &self,
        source: &str,
        mut body: Body,
    ) -> Result<(Vec<u8>, Held), Problem> {
        let bytes_max = self.config.body_bytes_max;
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(Problem::too_large(bytes_max));
        }
        // An apiserver says how much it sends: what is over the rate is not even read.
        let announced = body.size_hint().exact();
        if let Some(bytes) = announced {
            self.charge(source, bytes)?;
        }
        let limits = &self.config.limits;
        let mut stop = self.stop.clone();
        let stopping = async {
            stopped(&mut stop).await;
            sleep(limits.drain_grace).await;
        };
        tokio::pin!(stopping);
        let started = Instant::now();
        let mut bytes = Vec::new();
        let mut held = self.set_aside(source, 1)?;
        loop {
            let due = started + time_for(bytes.len() as u64, limits);
            let frame = tokio::select! {
                frame = timeout_at(due, body.frame()) => frame.map_err(|_| Problem::timeout())?,
                () = &mut stopping => {
                    return Err(Problem::unavailable("the service is stopping"));
                }
            };
            let Some(frame) = frame else {
                if announced.is_none() {
                    self.charge(source, bytes.len() as u64)?;
                }
                return Ok((bytes, held));
            };
            let frame = frame.map_err(|_| Problem::bad_request("the body broke off"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let size = bytes.len() + data.len();
            if size > bytes_max {
                return Err(Problem::too_large(bytes_max));
            }
            let missing = size.div_ceil(1 << 10).saturating_sub(held.kib());
            if missing > 0 {
                held.merge(self.set_aside(source, missing)?);
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// Memory for so many KiB, or 503.
    pub(super) fn set_aside(&self, source: &str, kib: usize) -> Result<Held, Problem> {
        let held = self.memory.set_aside(source, kib);
        held.map_err(|error| Problem::unavailable(error.to_string()))
    }

    /// Charges the source for a request, or 429.
    pub(super) fn charge(&self, source: &str, bytes: u64) -> Result<(), Problem> {
        let charged = self.rates.charge(source, bytes);
        charged.map_err(|over| Problem::over_rate(&over))
    }
}

/// When the next bytes must be there, once so many have arrived.
fn time_for(bytes: u64, limits: &Limits) -> Duration {
    let earned_ms = bytes.saturating_mul(1000) / limits.body_bytes_per_second_min.max(1);
    let earned = limits
        .body_grace
        .saturating_add(Duration::from_millis(earned_ms));
    earned.min(limits.body_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_earns_time_up_to_the_end() {
        let limits = Limits::default();
        assert_eq!(time_for(0, &limits), limits.body_grace);
        let second = limits.body_bytes_per_second_min;
        assert_eq!(
            time_for(second, &limits),
            limits.body_grace + Duration::from_secs(1)
        );
        assert_eq!(time_for(u64::MAX, &limits), limits.body_timeout);
    }
}
