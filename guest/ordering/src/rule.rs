//! Are an event's stage and times possible, by themselves and beside the other
//! stages of its request?
//!
//! What may be trusted about order is little. Arrival order is nearly, not strictly,
//! ascending; batches are retried up to 250 s late; a watch completes hours after it
//! was received; any stage may be missing; an auditID is chosen by the client and
//! names no request by itself. So nothing here compares an event with its neighbours
//! in arrival: late is judged against the newest stageTimestamp of the source, early
//! against the block's time, order among the stages of one request, which is (source,
//! auditID, requestReceivedTimestamp). Any stage may be missing, and its event may still
//! be on its way: that is a finding only where the settings say that a stage is always
//! recorded, and once it can no longer come.
//!
//! Other stages come from `context.earlier` alone, which the host fills with all that
//! the log's window knows, those earlier in the same block included. Thus a verdict
//! doesn't depend on how a block is cut into slices. The later of two contradicting
//! events gets the verdict.
//!
//! An undecodable event is judged as any other: what made it undecodable in recorded
//! traffic was a hostile object inside of it, and stage and times could be read. One
//! whose stage and times can't be read either must not be let pass for that.

use auditchain_guest_sdk::types::EarlierStage;
use auditchain_guest_sdk::{Call, Event, Rule, Severity, Stage, Verdicts};
use serde::Deserialize;

/// The stage is absent or none that audit.k8s.io/v1 has.
pub const STAGE_UNKNOWN: Rule = Rule::new(
    "stage-unknown",
    Severity::Medium,
    "An event has no known stage",
);
/// One of the two timestamps is absent or unreadable.
pub const TIMESTAMP_MISSING: Rule = Rule::new(
    "timestamp-missing",
    Severity::Medium,
    "An event lacks a timestamp",
);
/// A stage before its request was received.
pub const STAGE_BEFORE_RECEIVED: Rule = Rule::new(
    "stage-before-received",
    Severity::High,
    "A stage was reached before the request was received",
);
/// The apiserver gives a RequestReceived one time, twice.
pub const RECEIVED_MISMATCH: Rule = Rule::new(
    "received-mismatch",
    Severity::High,
    "A RequestReceived event disagrees with itself about its time",
);
/// Later than the block.
pub const FUTURE: Rule = Rule::new(
    "future",
    Severity::High,
    "An event is dated after it was received here",
);
/// Older than the source's window.
pub const BACKDATED: Rule = Rule::new(
    "backdated",
    Severity::High,
    "An event is dated long before what its source has already sent",
);
/// Later than retries explain, and not yet older than the source's window.
pub const LATE: Rule = Rule::new(
    "late",
    Severity::Low,
    "An event came later than an apiserver's retries explain",
);
/// A stage that is always recorded is not there.
pub const STAGE_MISSING: Rule = Rule::new(
    "stage-missing",
    Severity::Medium,
    "An earlier stage of the request is missing",
);
/// The times of two stages contradict their order.
pub const STAGE_ORDER: Rule = Rule::new(
    "stage-order",
    Severity::High,
    "The stages of a request are out of order",
);
/// Two versions of one stage.
pub const STAGE_CONFLICT: Rule = Rule::new(
    "stage-conflict",
    Severity::Critical,
    "A stage of a request exists with other content",
);
/// A RequestReceived that knows the outcome.
pub const STAGE_ILLEGAL: Rule = Rule::new(
    "stage-illegal",
    Severity::High,
    "A RequestReceived event carries what is known only later",
);

/// Every rule of this guest.
pub const RULES: &[Rule] = &[
    STAGE_UNKNOWN,
    TIMESTAMP_MISSING,
    STAGE_BEFORE_RECEIVED,
    RECEIVED_MISMATCH,
    FUTURE,
    BACKDATED,
    STAGE_ORDER,
    STAGE_CONFLICT,
    STAGE_ILLEGAL,
    LATE,
    STAGE_MISSING,
];

const MICROS_PER_SECOND: i64 = 1_000_000;
/// responseStatus.code of a request that was answered.
const OK: u32 = 200;
/// And of one whose authentication failed: it has a ResponseStarted event only.
const UNAUTHORIZED: u32 = 401;
/// A year. Longer windows are mistakes of unit, and would let times overflow.
const MAX_SECONDS: u32 = 366 * 24 * 3600;

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// How far a source's clock may be ahead of ours.
    pub skew_seconds: u32,
    /// How late an event may come after the newest of its source. Retried batches
    /// come up to 250 s late.
    pub window_seconds: u32,
    /// How far two times of one apiserver may contradict each other. None do in
    /// recorded traffic; a clock that is stepped, not slewed, needs some.
    pub tolerance_micros: u32,
    /// From when on an event is late. Retried batches come up to 250 s late.
    pub late_seconds: u32,
    /// Stages that the audit policy records for every request that gets that far. None:
    /// a missing stage is no finding.
    pub expected_stages: Vec<ExpectedStage>,
    /// How long after a request was received its first stages may still come. Batches may
    /// overtake one another while they are retried: only long-running requests are judged
    /// then. 0 is for what comes in order, from a forwarder or in blocking mode.
    pub missing_after_seconds: u32,
}

/// A stage that can be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ExpectedStage {
    /// Of every request but those whose authentication failed.
    RequestReceived,
    /// Of every watch that was answered.
    ResponseStarted,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            skew_seconds: 10,
            window_seconds: 600,
            tolerance_micros: 0,
            late_seconds: 300,
            expected_stages: Vec::new(),
            missing_after_seconds: 300,
        }
    }
}

impl Settings {
    /// Refuses what can't be meant.
    ///
    /// # Errors
    /// In words that name the setting.
    pub fn check(&self) -> Result<(), String> {
        for (name, seconds) in [
            ("skewSeconds", self.skew_seconds),
            ("windowSeconds", self.window_seconds),
            ("lateSeconds", self.late_seconds),
            ("missingAfterSeconds", self.missing_after_seconds),
        ] {
            if seconds > MAX_SECONDS {
                return Err(format!("settings: {name} is more than a year"));
            }
        }
        Ok(())
    }

    fn skew_micros(&self) -> i64 {
        micros(self.skew_seconds)
    }

    fn window_micros(&self) -> i64 {
        micros(self.window_seconds)
    }

    fn tolerance_micros(&self) -> i64 {
        i64::from(self.tolerance_micros)
    }
}

/// Judges every event by itself, then against the other stages of its request.
pub fn verify(settings: &Settings, call: &Call<'_>, verdicts: &mut Verdicts) {
    for event in call.events() {
        check_event(settings, call, event, verdicts);
    }
    // One verdict an event and rule: a request has at most a few stages, yet a
    // sender may repeat them at will.
    let mut said: Vec<(u32, &'static str)> = Vec::new();
    for (event, earlier) in call.earlier() {
        let Some((rule, reason)) = check_stages(settings, event, earlier) else {
            continue;
        };
        if !said.contains(&(event.index(), rule.id)) {
            said.push((event.index(), rule.id));
            verdicts.invalid(event.subject(), rule, reason);
        }
    }
    if !settings.expected_stages.is_empty() {
        check_missing(settings, call, verdicts);
    }
}

/// Says which expected stages are not there, of the requests whose first stages the
/// window would have and can't come any more.
fn check_missing(settings: &Settings, call: &Call<'_>, verdicts: &mut Verdicts) {
    // By event, a bit a rank.
    let mut known = vec![0u8; call.slice().events.len()];
    for (event, earlier) in call.earlier() {
        if let (Some(rank), Some(known)) =
            (rank(earlier.stage), known.get_mut(event.index() as usize))
        {
            *known |= 1 << rank;
        }
    }
    let context = call.context();
    let settled = context
        .time
        .saturating_sub(micros(settings.missing_after_seconds));
    for (event, known) in call.events().zip(known) {
        let (Some(this), Some(received)) = (rank(event.stage()), event.received_at()) else {
            continue;
        };
        // Clocks differ: a request from about where the window starts may lie before it.
        let in_window = context
            .window_start
            .is_none_or(|start| received.saturating_sub(settings.skew_micros()) > start);
        if !in_window || received > settled {
            continue;
        }
        for expected in &settings.expected_stages {
            let (stage, name) = expected.stage();
            let missing = stage < this && known & (1 << stage) == 0;
            if missing && expected.applies_to(event) {
                let reason = format!("the window has no {name} event of this request");
                verdicts.finding(event.subject(), &STAGE_MISSING, reason);
            }
        }
    }
}

impl ExpectedStage {
    /// Rank and name.
    fn stage(self) -> (u8, &'static str) {
        match self {
            Self::RequestReceived => (0, "RequestReceived"),
            Self::ResponseStarted => (1, "ResponseStarted"),
        }
    }

    fn applies_to(self, event: Event<'_>) -> bool {
        match self {
            Self::RequestReceived => event.code() != Some(UNAUTHORIZED),
            Self::ResponseStarted => event.verb() == Some("watch") && event.code() == Some(OK),
        }
    }
}

fn check_event(settings: &Settings, call: &Call<'_>, event: Event<'_>, verdicts: &mut Verdicts) {
    let subject = event.subject();
    let received_stage = event.stage() == Stage::RequestReceived;
    if event.stage() == Stage::Unknown {
        verdicts.invalid(
            subject,
            &STAGE_UNKNOWN,
            "its stage is none of audit.k8s.io/v1",
        );
    }
    if received_stage && let Some(what) = known_only_later(event) {
        let reason = format!("a RequestReceived event with {what}");
        verdicts.invalid(subject, &STAGE_ILLEGAL, reason);
    }
    let (received, staged) = (event.received_at(), event.stage_at());
    if received.is_none() || staged.is_none() {
        let which = match received {
            None => "requestReceivedTimestamp",
            Some(_) => "stageTimestamp",
        };
        verdicts.invalid(subject, &TIMESTAMP_MISSING, format!("without {which}"));
    }
    if let (Some(received), Some(staged)) = (received, staged) {
        let early = received.saturating_sub(staged);
        if received_stage && early != 0 {
            let reason = format!("stageTimestamp is {} us off", early.unsigned_abs());
            verdicts.invalid(subject, &RECEIVED_MISMATCH, reason);
        } else if early > settings.tolerance_micros() {
            let reason = format!("{early} us before requestReceivedTimestamp");
            verdicts.invalid(subject, &STAGE_BEFORE_RECEIVED, reason);
        }
    }
    let Some(staged) = staged else { return };
    let ahead = staged.saturating_sub(call.context().time);
    if ahead > settings.skew_micros() {
        let reason = format!("{} s after the block's time", ahead / MICROS_PER_SECOND);
        verdicts.invalid(subject, &FUTURE, reason);
    }
    // The first events of a source have no watermark: a replay of old recordings
    // into a log of its own is no alarm.
    if let Some(watermark) = event.source().and_then(|source| source.watermark) {
        let behind = watermark.saturating_sub(staged);
        if behind > settings.window_micros() {
            let reason = format!(
                "{} s behind the newest event of its source",
                behind / MICROS_PER_SECOND
            );
            verdicts.invalid(subject, &BACKDATED, reason);
        } else if behind > micros(settings.late_seconds) {
            let reason = format!(
                "{} s behind the newest event of its source",
                behind / MICROS_PER_SECOND
            );
            verdicts.finding(subject, &LATE, reason);
        }
    }
}

/// What an apiserver learns after it has sent the RequestReceived event. (Other
/// annotations may be there: authenticators add theirs before.)
fn known_only_later(event: Event<'_>) -> Option<&'static str> {
    if event.code().is_some() {
        Some("a response code")
    } else if event.decision().is_some() {
        Some("an authorization decision")
    } else if event.impersonated_user().is_some() {
        Some("an impersonated user")
    } else {
        None
    }
}

fn check_stages(
    settings: &Settings,
    event: Event<'_>,
    earlier: &EarlierStage,
) -> Option<(&'static Rule, String)> {
    if earlier.conflicting {
        let reason = "the log has this stage, of the same time, with other content";
        return Some((&STAGE_CONFLICT, reason.into()));
    }
    let (this, other) = (rank(event.stage())?, rank(earlier.stage)?);
    let (at, other_at) = (event.stage_at()?, earlier.stage_timestamp?);
    // Either may have arrived first: only the times count.
    let backwards = if this > other {
        other_at.saturating_sub(at)
    } else if this < other {
        at.saturating_sub(other_at)
    } else {
        0
    };
    (backwards > settings.tolerance_micros()).then(|| {
        let reason = format!("{backwards} us out of order with another stage of the request");
        (&STAGE_ORDER, reason)
    })
}

fn micros(seconds: u32) -> i64 {
    i64::from(seconds) * MICROS_PER_SECOND
}

/// Position in a request's life. ResponseComplete and Panic both end it.
fn rank(stage: Stage) -> Option<u8> {
    match stage {
        Stage::RequestReceived => Some(0),
        Stage::ResponseStarted => Some(1),
        Stage::ResponseComplete | Stage::Panic => Some(2),
        Stage::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
