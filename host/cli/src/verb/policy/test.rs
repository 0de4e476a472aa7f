//! `auditchain policy test FILE --events FILE...`: verdicts and cost over recorded events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use auditchain_log::check_source_name;
use auditchain_sandbox::{MAX_RBAC_SNAPSHOT_BYTES, PolicySet, PolicySpec, RbacSnapshot};
use serde_json::json;

use super::read::{engine, policy, read_at_most};
use super::replay::{Outcome, Replay};
use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};
use crate::output::{Style, printable};
use crate::policy_args::PolicyTestArgs;
use crate::verb::{print, print_json};

/// Bytes of a file of expected counts.
const EXPECT_BYTES_MAX: usize = 1 << 20;

pub(super) fn run(args: &PolicyTestArgs, output: OutputFormat) -> Result<u8, CliError> {
    check_source_name(&args.source)
        .map_err(|error| CliError::Usage(format!("--source {:?}: {error}", args.source)))?;
    let expected = args.expect.as_deref().map(read_expected).transpose()?;
    let spec = policy(&args.file)?.spec;
    let snapshot = match &args.rbac_snapshot {
        Some(path) => {
            Some(read_at_most(path, MAX_RBAC_SNAPSHOT_BYTES).map_err(CliError::reading(path))?)
        }
        None => None,
    };
    let snapshots: Vec<_> = snapshot
        .iter()
        .map(|json| RbacSnapshot {
            in_force_from_us: 0,
            json,
        })
        .collect();
    let engine = engine()?;
    let set = PolicySet::load(&engine, std::slice::from_ref(&spec), &snapshots)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    let mut replay = Replay::new(&set, &args.source);
    for path in &args.events {
        replay.file(path, args.batch)?;
    }
    let outcome = replay.finish();
    let differences = expected.map(|expected| differences(&expected, &outcome));
    let holds = match &differences {
        Some(differences) => differences.is_empty(),
        None => outcome.failures.is_empty(),
    };
    match output {
        OutputFormat::Json => print_json(&json!({
            "holds": holds, "policy": spec.name, "outcome": outcome, "differences": differences,
        }))?,
        OutputFormat::Text => print(&text(&spec, &outcome, differences.as_deref()))?,
    }
    Ok(if holds { EXIT_HOLDS } else { EXIT_FAILED })
}

fn read_expected(path: &Path) -> Result<BTreeMap<String, u64>, CliError> {
    let bytes = read_at_most(path, EXPECT_BYTES_MAX).map_err(CliError::reading(path))?;
    let text = String::from_utf8_lossy(&bytes);
    serde_saphyr::from_str(&text).map_err(|error| {
        CliError::Usage(format!(
            "{}: expected a line RULE: COUNT for each rule: {error}",
            path.display()
        ))
    })
}

/// A rule that is not listed must have no finding.
fn differences(expected: &BTreeMap<String, u64>, outcome: &Outcome) -> Vec<String> {
    let found = |rule: &str| outcome.rules.get(rule).map_or(0, |rule| rule.findings);
    let unexpected = outcome
        .rules
        .keys()
        .filter(|rule| !expected.contains_key(*rule));
    expected
        .iter()
        .map(|(rule, count)| (rule, *count))
        .chain(unexpected.map(|rule| (rule, 0)))
        .filter(|(rule, count)| found(rule) != *count)
        .map(|(rule, count)| format!("{rule}: {count} expected, {} found", found(rule)))
        .collect()
}

fn text(spec: &PolicySpec, outcome: &Outcome, differences: Option<&[String]>) -> String {
    let style = Style::of_stdout();
    let mut out = String::new();
    // Writing into a String can't fail.
    let _ = writeln!(
        out,
        "{} (mode {}): {} events in {} blocks, {} invalid, {} undecodable, {} lines without events\n",
        spec.name,
        super::mode(spec.mode),
        outcome.events,
        outcome.blocks,
        outcome.invalid,
        outcome.undecodable,
        outcome.skipped,
    );
    let head = format!(
        "{:<40} {:<9} {:>9} {:>9}",
        "rule", "severity", "findings", "invalid"
    );
    let _ = writeln!(out, "{}", style.head(&head));
    for (rule, of_rule) in &outcome.rules {
        let _ = writeln!(
            out,
            "{rule:<40} {:<9} {:>9} {:>9}",
            of_rule.severity.as_str(),
            of_rule.findings,
            of_rule.invalid
        );
        for example in &of_rule.examples {
            let field = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".into());
            let line = format!(
                "  event {}: {} {} {} in {}: {}",
                example.index,
                field(&example.user),
                field(&example.verb),
                field(&example.resource),
                field(&example.namespace),
                example.reason
            );
            let _ = writeln!(out, "{}", printable(&line.replace('\n', " ")));
        }
    }
    for (failure, times) in &outcome.failures {
        let failed = style.bad("FAILED");
        let _ = writeln!(out, "{failed} {times} times: {}", printable(failure));
    }
    let cost = &outcome.cost;
    let _ = writeln!(
        out,
        "\ncost: {} fuel an event (limit {}, and {} a slice of {}), {:.1} µs an event, {} instances",
        cost.fuel_per_event,
        spec.limits.fuel_per_event,
        spec.limits.fuel_base,
        spec.limits.slice_events,
        // For people: rounding is no matter.
        cost.time_micros as f64 / outcome.events.max(1) as f64,
        cost.instances
    );
    match differences {
        None => {}
        Some([]) => out.push_str(&format!("{}: as expected\n", style.good("HOLDS"))),
        Some(differences) => {
            for difference in differences {
                let _ = writeln!(out, "{} {}", style.bad("DIFFERS"), printable(difference));
            }
        }
    }
    out
}
