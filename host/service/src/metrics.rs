//! Metrics, in the names and units of Prometheus. Labels come from configuration,
//! modules and fixed lists, never from event content.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// All metrics of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Events taken, by source and outcome: accepted, rejected, duplicate.
    pub(crate) events: Family<EventLabels, Counter>,
    /// Events without canonical form, by source.
    pub(crate) undecodable: Family<SourceLabels, Counter>,
    /// Findings, by policy, rule and severity.
    pub(crate) findings: Family<FindingLabels, Counter>,
    /// Requests, by route and status.
    pub(crate) requests: Family<RequestLabels, Counter>,
    /// From the first byte of a batch to its acknowledgement.
    pub(crate) ack: Histogram,
    /// From a batch's bytes to canonical events.
    pub(crate) decode: Histogram,
    /// All of the sequencer's work on a block, verification included.
    pub(crate) build: Histogram,
    /// A block's verification.
    pub(crate) verify: Histogram,
    /// A block's write and fsync.
    pub(crate) append: Histogram,
    /// Blocks written.
    pub(crate) blocks: Counter,
    /// Blocks that could not be written.
    pub(crate) append_failures: Counter,
    /// Entries of the log.
    pub(crate) size: Gauge,
    /// Bytes of requests that wait.
    pub(crate) inflight: Gauge,
    /// How far a source's newest event lags behind the last block.
    pub(crate) lag: Family<SourceLabels, Gauge<f64, AtomicU64>>,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabels {
    /// Its name.
    pub(crate) source: String,
}

/// A source and what became of its event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EventLabels {
    /// Its name.
    pub(crate) source: String,
    /// accepted, rejected or duplicate.
    pub(crate) outcome: &'static str,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FindingLabels {
    /// The policy's name.
    pub(crate) policy: String,
    /// The rule's id, declared by the module.
    pub(crate) rule: String,
    /// As the module declares it.
    pub(crate) severity: &'static str,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The route's pattern.
    pub(crate) route: String,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub(crate) fn new() -> Self {
        // 0.5 ms to 16 s.
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Self {
            registry: Registry::with_prefix("auditchain"),
            events: Family::default(),
            undecodable: Family::default(),
            findings: Family::default(),
            requests: Family::default(),
            ack: seconds(),
            decode: seconds(),
            build: seconds(),
            verify: seconds(),
            append: seconds(),
            blocks: Counter::default(),
            append_failures: Counter::default(),
            size: Gauge::default(),
            inflight: Gauge::default(),
            lag: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "events",
            "Events received, by source and outcome",
            self.events.clone(),
        );
        r.register(
            "undecodable_events",
            "Events kept as the bytes that arrived",
            self.undecodable.clone(),
        );
        r.register(
            "findings",
            "Findings of the policies",
            self.findings.clone(),
        );
        r.register("http_requests", "Requests answered", self.requests.clone());
        r.register_with_unit(
            "ack",
            "Time from a batch's arrival to its acknowledgement",
            Unit::Seconds,
            self.ack.clone(),
        );
        r.register_with_unit(
            "decode",
            "Time to split and canonicalise a batch",
            Unit::Seconds,
            self.decode.clone(),
        );
        r.register_with_unit(
            "build",
            "Time to build a block, its verification included",
            Unit::Seconds,
            self.build.clone(),
        );
        r.register_with_unit(
            "verify",
            "Time to judge a block",
            Unit::Seconds,
            self.verify.clone(),
        );
        r.register_with_unit(
            "append",
            "Time to write and sync a block",
            Unit::Seconds,
            self.append.clone(),
        );
        r.register("blocks", "Blocks written", self.blocks.clone());
        r.register(
            "append_failures",
            "Blocks that could not be written",
            self.append_failures.clone(),
        );
        r.register("log_entries", "Entries of the log", self.size.clone());
        r.register_with_unit(
            "inflight",
            "Requests waiting for their block",
            Unit::Bytes,
            self.inflight.clone(),
        );
        r.register_with_unit(
            "source_lag",
            "Newest event of a source behind the last block",
            Unit::Seconds,
            self.lag.clone(),
        );
        self
    }

    /// The text exposition (OpenMetrics).
    ///
    /// # Errors
    /// Formatting failed; it has no reason to.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
