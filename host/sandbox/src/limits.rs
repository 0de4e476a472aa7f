//! What a guest may use up.
//!
//! Limits can decide a verdict (a guest that is cut off is a policy error), so
//! they are part of the policy, are written to the log, and count in units that
//! come out the same on every machine: bytes and fuel, never time.

use auditchain_log::LimitsRecord;
use serde::{Deserialize, Serialize};

/// Largest linear memory, which every slot of the pool reserves.
pub const MAX_MEMORY_BYTES: u64 = 256 << 20;
/// Below this a Rust guest cannot even hold its stack of 1 MiB.
pub const MIN_MEMORY_BYTES: u64 = 2 << 20;
/// Largest fuel for one call, events included: some ten seconds of work, far
/// inside the service's backstop, so that fuel decides and not the clock.
pub const MAX_FUEL: u64 = 10_000_000_000;
/// Most that one call may hand back; the host copies it.
pub const MAX_OUTPUT_BYTES: u64 = 16 << 20;
/// Most events of a slice: a slice is what one failure can spoil.
pub const MAX_SLICE_EVENTS: u64 = 4_096;
/// A slice's strings are at most this part of the guest's memory: the guest holds
/// them once as they arrive and may copy them, and an event of extreme length must
/// not push its neighbours over the limit. Such an event gets a slice of its own.
pub(crate) const SLICE_MEMORY_PART: u64 = 8;

/// What a guest may use up in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory.
    pub memory_bytes: u64,
    /// Fuel for a call, about one a WebAssembly instruction.
    pub fuel_base: u64,
    /// Fuel on top for each event of the slice, and for each signed batch that begins in it.
    pub fuel_per_event: u64,
    /// What the guest may hand to the host in one call.
    pub output_bytes: u64,
    /// Most events of a slice.
    pub slice_events: u64,
}

impl Default for Limits {
    /// About 0.1 s and 1 ms an event; the default guests need a hundredth.
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            fuel_base: 100_000_000,
            fuel_per_event: 1_000_000,
            output_bytes: 1 << 20,
            slice_events: 256,
        }
    }
}

/// A limit outside of what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {value}; it must be from {min} to {max}")]
pub struct LimitsError {
    /// The field, as YAML spells it.
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least allowed.
    pub min: u64,
    /// The most allowed.
    pub max: u64,
}

impl Limits {
    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self) -> Result<(), LimitsError> {
        let in_range = |field, value, min, max| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(LimitsError {
                    field,
                    value,
                    min,
                    max,
                })
            }
        };
        in_range(
            "memoryBytes",
            self.memory_bytes,
            MIN_MEMORY_BYTES,
            MAX_MEMORY_BYTES,
        )?;
        in_range("outputBytes", self.output_bytes, 1_024, MAX_OUTPUT_BYTES)?;
        in_range("sliceEvents", self.slice_events, 1, MAX_SLICE_EVENTS)?;
        in_range("fuelBase", self.fuel_base, 1, MAX_FUEL)?;
        // What is left for the events of a full slice.
        let fuel_per_event_max = (MAX_FUEL - self.fuel_base) / self.slice_events;
        in_range("fuelPerEvent", self.fuel_per_event, 0, fuel_per_event_max)
    }

    /// Fuel for a slice of so many events and batches. A slice can have more batches than
    /// events, if their events are known: [`MAX_FUEL`] holds all the same.
    pub(crate) fn fuel(&self, events: usize, batches: usize) -> u64 {
        self.fuel_per_event
            .saturating_mul(events.saturating_add(batches) as u64)
            .saturating_add(self.fuel_base)
            .min(MAX_FUEL)
    }
}

impl From<Limits> for LimitsRecord {
    fn from(limits: Limits) -> Self {
        Self {
            fuel_base: limits.fuel_base,
            fuel_per_event: limits.fuel_per_event,
            memory_bytes: limits.memory_bytes,
            output_bytes: limits.output_bytes,
            slice_events: limits.slice_events,
        }
    }
}

impl From<LimitsRecord> for Limits {
    fn from(record: LimitsRecord) -> Self {
        Self {
            memory_bytes: record.memory_bytes,
            fuel_base: record.fuel_base,
            fuel_per_event: record.fuel_per_event,
            output_bytes: record.output_bytes,
            slice_events: record.slice_events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_allowed() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn batches_count_like_events_and_the_most_is_the_most() {
        let limits = Limits::default();
        assert_eq!(limits.fuel(3, 2), limits.fuel(5, 0));
        assert_eq!(limits.fuel(1, 1 << 40), MAX_FUEL);
    }

    #[test]
    fn limits_come_back_from_the_log() {
        let limits = Limits {
            fuel_base: 1,
            fuel_per_event: 2,
            memory_bytes: 3,
            output_bytes: 4,
            slice_events: 5,
        };
        assert_eq!(Limits::from(LimitsRecord::from(limits)), limits);
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        type Set = fn(&mut Limits, u64);
        let cases: [(&str, Set, u64); 8] = [
            (
                "memoryBytes",
                |l, v| l.memory_bytes = v,
                MIN_MEMORY_BYTES - 1,
            ),
            (
                "memoryBytes",
                |l, v| l.memory_bytes = v,
                MAX_MEMORY_BYTES + 1,
            ),
            ("outputBytes", |l, v| l.output_bytes = v, 0),
            (
                "outputBytes",
                |l, v| l.output_bytes = v,
                MAX_OUTPUT_BYTES + 1,
            ),
            ("sliceEvents", |l, v| l.slice_events = v, 0),
            (
                "sliceEvents",
                |l, v| l.slice_events = v,
                MAX_SLICE_EVENTS + 1,
            ),
            ("fuelBase", |l, v| l.fuel_base = v, MAX_FUEL + 1),
            ("fuelPerEvent", |l, v| l.fuel_per_event = v, MAX_FUEL / 256),
        ];
        for (field, set, value) in cases {
            let mut limits = Limits::default();
            set(&mut limits, value);
            let error = limits.check().expect_err(field);
            assert_eq!((error.field, error.value), (field, value));
        }
    }
}
