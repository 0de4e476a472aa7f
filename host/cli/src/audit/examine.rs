//! What can be said of an entry and its body alone: a pure function, so that runs of
//! entries are examined on all cores.

use auditchain_log::json::{EventView, canonical_event, canonicalize};
use auditchain_log::{
    BodyCommitment, ChainHash, Entry, EntryError, EventRecord, Hash, Payload, body_hash, leaf_hash,
};

use super::finding::Rule;
use crate::source::{BodyRef, Run};

/// A run with what was found of each of its entries.
pub(super) struct ExaminedRun {
    pub(super) run: Run,
    pub(super) entries: Vec<Examined>,
}

/// An entry, examined alone.
pub(super) struct Examined {
    pub(super) leaf: Hash,
    pub(super) entry: Result<Entry, EntryError>,
    /// The chain after it, if the `prev` that it carries is right.
    pub(super) after: Option<ChainHash>,
    pub(super) body: BodyState,
}

/// How a body fares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyState {
    /// The entry's kind has none.
    None,
    /// It is not there.
    Missing,
    /// All that it can be checked for holds.
    Good,
    /// It does not hold.
    Bad(Rule, String),
}

/// Examines every entry of a run.
pub(super) fn examine_run(run: Run) -> ExaminedRun {
    let mut scratch = Vec::new();
    let entries = run
        .iter()
        .map(|(entry, body)| examine(entry, body, &mut scratch))
        .collect();
    ExaminedRun { run, entries }
}

fn examine(bytes: &[u8], body: Option<BodyRef<'_>>, scratch: &mut Vec<u8>) -> Examined {
    let entry = Entry::parse(bytes);
    let after = entry
        .as_ref()
        .ok()
        .map(|entry| ChainHash::resume(entry.prev).next(bytes));
    let body = match &entry {
        Ok(entry) => examine_body(entry, body, scratch),
        // What it should commit to is not known.
        Err(_) => BodyState::None,
    };
    Examined {
        leaf: leaf_hash(bytes),
        entry,
        after,
        body,
    }
}

fn examine_body(entry: &Entry, body: Option<BodyRef<'_>>, scratch: &mut Vec<u8>) -> BodyState {
    match (entry.body(), body) {
        (None, None) => BodyState::None,
        (Some(_), None) => BodyState::Missing,
        (None, Some(_)) => BodyState::Bad(
            Rule::Body,
            format!(
                "a body is kept for this entry, though kind {} commits to none",
                entry.kind()
            ),
        ),
        (Some(commitment), Some(body)) => {
            let checked = check_commitment(commitment, body)
                .and_then(|()| check_content(entry, body.bytes, scratch));
            match checked {
                Ok(()) => BodyState::Good,
                Err((rule, detail)) => BodyState::Bad(rule, detail),
            }
        }
    }
}

/// Checks a body against what its entry commits to.
pub(crate) fn check_commitment(
    commitment: &BodyCommitment,
    body: BodyRef<'_>,
) -> Result<(), (Rule, String)> {
    let size = body.bytes.len() as u64;
    if size != commitment.size {
        return Err((
            Rule::Body,
            format!(
                "the body has {size} bytes, the entry commits to {}",
                commitment.size
            ),
        ));
    }
    if body_hash(body.salt, body.bytes) != commitment.hash {
        return Err((
            Rule::Body,
            "body and salt do not hash to what the entry commits to: one of them was changed"
                .into(),
        ));
    }
    Ok(())
}

fn check_content(entry: &Entry, body: &[u8], scratch: &mut Vec<u8>) -> Result<(), (Rule, String)> {
    let Payload::Event {
        event, undecodable, ..
    } = &entry.payload
    else {
        return Ok(());
    };
    scratch.clear();
    let wrong = match undecodable {
        None => match canonicalize(body, scratch) {
            Ok(()) if scratch == body => None,
            Ok(()) => Some("the body is not in canonical form (RFC 8785)".into()),
            Err(error) => Some(format!("the body has no canonical form: {error}")),
        },
        Some(code) => match canonical_event(body, scratch) {
            Err(found) if found == code => None,
            Err(found) => Some(format!(
                "the entry says that the body is undecodable for {code}, it is for {found}"
            )),
            Ok(()) => Some(format!(
                "the entry calls the body undecodable ({code}), but it has a canonical form"
            )),
        },
    };
    if let Some(detail) = wrong {
        return Err((Rule::Body, detail));
    }
    match differing_field(event, &EventRecord::from_view(&EventView::read(body))) {
        None => Ok(()),
        Some(field) => Err((
            Rule::Fields,
            format!("the leaf's {field} is not that of the body"),
        )),
    }
}

fn differing_field(leaf: &EventRecord, body: &EventRecord) -> Option<&'static str> {
    if leaf == body {
        return None;
    }
    let differs = [
        ("auditID", leaf.audit_id != body.audit_id),
        ("code", leaf.code != body.code),
        ("level", leaf.level != body.level),
        ("namespace", leaf.namespace != body.namespace),
        (
            "requestReceivedTimestamp",
            leaf.request_received_timestamp != body.request_received_timestamp,
        ),
        ("resource", leaf.resource != body.resource),
        ("stage", leaf.stage != body.stage),
        (
            "stageTimestamp",
            leaf.stage_timestamp != body.stage_timestamp,
        ),
        ("verb", leaf.verb != body.verb),
    ];
    let field = differs.iter().find(|(_, differs)| *differs);
    Some(field.map_or("event", |(name, _)| *name))
}
