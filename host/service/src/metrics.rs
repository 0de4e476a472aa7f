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
    /// Policies that are suspended.
    pub(crate) policies_suspended: Gauge,
    /// Entries of the log.
    pub(crate) size: Gauge,
    /// Bytes of requests that wait.
    pub(crate) inflight: Gauge,
    /// How far a source's newest event lags behind the last block.
    pub(crate) lag: Family<SourceLabels, Gauge<f64, AtomicU64>>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that ended or were refused, by reason.
    pub(crate) connections_closed: Family<ClosedLabels, Counter>,
    /// Files read again, by outcome: ok, failed.
    pub(crate) reloads: Family<ReloadLabels, Counter>,
    /// When the certificate expires; 0 without TLS.
    pub(crate) certificate_expiry: Gauge,
    /// Entries of the checkpoint that the quorum of witnesses cosigned.
    pub(crate) cosigned_entries: Gauge,
    /// Entries of the last checkpoint that a witness cosigned.
    pub(crate) witness_entries: Family<WitnessLabels, Gauge>,
    /// When that was, by the cosignature.
    pub(crate) witness_time: Family<WitnessLabels, Gauge>,
    /// Times that a witness did not cosign.
    pub(crate) witness_failures: Family<WitnessFailureLabels, Counter>,
}

/// A witness.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WitnessLabels {
    /// Its name in the policy.
    pub(crate) witness: String,
}

/// A witness and why it did not cosign.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WitnessFailureLabels {
    /// Its name in the policy.
    pub(crate) witness: String,
    /// unreachable, refused, conflict, ahead, bad-answer or store.
    pub(crate) reason: &'static str,
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

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ClosedLabels {
    /// A word of a fixed list.
    pub(crate) reason: &'static str,
}

/// A file that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReloadLabels {
    /// tls, tokens or policies.
    pub(crate) file: &'static str,
    /// ok or failed.
    pub(crate) outcome: &'static str,
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
            policies_suspended: Gauge::default(),
            size: Gauge::default(),
            inflight: Gauge::default(),
            lag: Family::default(),
            connections: Gauge::default(),
            connections_closed: Family::default(),
            reloads: Family::default(),
            certificate_expiry: Gauge::default(),
            cosigned_entries: Gauge::default(),
            witness_entries: Family::default(),
            witness_time: Family::default(),
            witness_failures: Family::default(),
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
        r.register(
            "policies_suspended",
            "Policies that judge nothing since their guests failed on everything",
            self.policies_suspended.clone(),
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
        r.register(
            "connections",
            "Connections that are open",
            self.connections.clone(),
        );
        r.register(
            "connections_closed",
            "Connections that ended or were refused, by reason",
            self.connections_closed.clone(),
        );
        r.register(
            "file_reloads",
            "Changed files read again, by outcome",
            self.reloads.clone(),
        );
        r.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "When the certificate expires, as Unix time",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        self.register_witnesses();
        self
    }

    fn register_witnesses(&mut self) {
        let r = &mut self.registry;
        r.register(
            "cosigned_entries",
            "Entries of the checkpoint that the quorum of witnesses cosigned",
            self.cosigned_entries.clone(),
        );
        r.register(
            "witness_entries",
            "Entries of the last checkpoint that a witness cosigned",
            self.witness_entries.clone(),
        );
        r.register_with_unit(
            "witness_time",
            "When a witness last cosigned, since 1970",
            Unit::Seconds,
            self.witness_time.clone(),
        );
        r.register(
            "witness_failures",
            "Times that a witness did not cosign",
            self.witness_failures.clone(),
        );
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
