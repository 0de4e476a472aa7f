//! `auditchain policy show URL|DIR`: the policies in force, since when, and those before.

use std::fmt::Write as _;

use auditchain_log::{Entry, Hash, Payload, PolicyRecord, RbacRecord, sha256};
use serde_json::{Value, json};

use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_HOLDS};
use crate::output::{Progress, Style, printable};
use crate::policy_args::PolicyShowArgs;
use crate::source::{LogSource, open_source};
use crate::verb::{get, print, print_json};

/// As they stand in a leaf; an event whose text has one too is only parsed in vain.
const KINDS: [&[u8]; 2] = [b"\"kind\":\"policy\"", b"\"kind\":\"rbac\""];
/// Changes that are listed: the newest.
const CHANGES_MAX: usize = 1000;

/// An entry that put something in force.
struct Change {
    index: u64,
    block: u64,
    time: String,
    what: What,
}

enum What {
    Policies {
        engine: String,
        policies: Vec<PolicyRecord>,
    },
    Rbac(RbacRecord),
}

pub(super) fn run(args: &PolicyShowArgs, output: OutputFormat) -> Result<u8, CliError> {
    let source = open_source(&args.target, &args.connect)?;
    let changes = read(&*source)?;
    let settings = |digest: &Hash| -> Option<String> {
        // Readers alone may have it.
        let bytes = source.blob(digest).ok().flatten()?;
        (sha256(&[&bytes]) == *digest).then(|| String::from_utf8_lossy(&bytes).into_owned())
    };
    match output {
        OutputFormat::Json => {
            let changes: Vec<Value> = changes.iter().map(|c| c.json(&settings)).collect();
            print_json(&json!({ "target": source.name(), "changes": changes }))?;
        }
        OutputFormat::Text => print(&text(&changes, &settings))?,
    }
    Ok(EXIT_HOLDS)
}

fn read(source: &dyn LogSource) -> Result<Vec<Change>, CliError> {
    let size = get::size(source)?;
    let mut progress = Progress::new("read entries");
    let mut changes = std::collections::VecDeque::new();
    let mut at = 0;
    while at < size {
        let run = source.entries(at, size)?;
        if run.is_empty() {
            return Err(CliError::Refused(format!("entry {at} is not there")));
        }
        for (index, (bytes, _)) in (at..).zip(run.iter()) {
            let has = |kind: &[u8]| bytes.windows(kind.len()).any(|window| window == kind);
            if !KINDS.iter().any(|kind| has(kind)) {
                continue;
            }
            let Ok(entry) = Entry::parse(bytes) else {
                continue;
            };
            let what = match entry.payload {
                Payload::Policy { engine, policies } => What::Policies { engine, policies },
                Payload::Rbac(record) => What::Rbac(record),
                _ => continue,
            };
            changes.push_back(Change {
                index,
                block: entry.block,
                time: entry.time.to_string(),
                what,
            });
            if changes.len() > CHANGES_MAX {
                changes.pop_front();
            }
        }
        at = run.end();
        progress.tell(at, Some(size));
    }
    Ok(changes.into())
}

impl Change {
    fn json(&self, settings: &impl Fn(&Hash) -> Option<String>) -> Value {
        let mut value = json!({ "index": self.index, "block": self.block, "time": self.time });
        match &self.what {
            What::Policies { engine, policies } => {
                let with_settings = |policy: &PolicyRecord| {
                    let text = settings(&policy.settings);
                    let parsed = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                    json!({ "record": policy, "settings": parsed })
                };
                value["engine"] = json!(engine);
                value["policies"] = policies.iter().map(with_settings).collect();
            }
            What::Rbac(record) => value["rbacSnapshot"] = json!(record),
        }
        value
    }

    fn since(&self) -> String {
        format!("entry {} (block {}, {})", self.index, self.block, self.time)
    }
}

fn text(changes: &[Change], settings: &impl Fn(&Hash) -> Option<String>) -> String {
    let style = Style::of_stdout();
    let mut out = String::new();
    let last = changes.iter().rev().find_map(|change| match &change.what {
        What::Policies { engine, policies } => Some((change, engine, policies)),
        What::Rbac(_) => None,
    });
    // Writing into a String can't fail.
    let _ = match last {
        None => writeln!(out, "no policies are in force"),
        Some((change, engine, _)) => writeln!(
            out,
            "in force since {}, run by {}",
            change.since(),
            printable(engine)
        ),
    };
    for policy in last.map_or(&[][..], |(_, _, policies)| policies) {
        let name = printable(&policy.name);
        let _ = writeln!(
            out,
            "\n{} ({})",
            style.head(&name),
            super::mode(policy.mode)
        );
        let _ = writeln!(out, "  module   {}", policy.module);
        let _ = writeln!(out, "  settings {}", policy.settings);
        if let Some(text) = settings(&policy.settings) {
            let _ = writeln!(out, "           {}", printable(&text));
        }
        let _ = writeln!(out, "  limits   {}", super::limits(&policy.limits));
        let _ = match &policy.signer {
            Some(signer) => writeln!(out, "  signer   {signer}"),
            None => writeln!(out, "  signer   none asked for"),
        };
    }
    let _ = writeln!(out, "\n{}", style.head("history"));
    let mut before: &[PolicyRecord] = &[];
    for change in changes {
        let what = match &change.what {
            What::Rbac(record) => format!("RBAC snapshot {}, {} bytes", record.digest, record.size),
            What::Policies { policies, .. } => {
                let what = difference(before, policies);
                before = policies;
                what
            }
        };
        let _ = writeln!(out, "  {}: {}", change.since(), printable(&what));
    }
    out
}

/// What a set has that the one before hadn't.
fn difference(before: &[PolicyRecord], after: &[PolicyRecord]) -> String {
    let named = |set: &[PolicyRecord], name: &str| set.iter().find(|p| p.name == name).cloned();
    let mut parts = Vec::new();
    for policy in after {
        match named(before, &policy.name) {
            None => parts.push(format!("+ {}", policy.name)),
            Some(old) if old != *policy => parts.push(format!("changed {}", policy.name)),
            Some(_) => {}
        }
    }
    for policy in before {
        if named(after, &policy.name).is_none() {
            parts.push(format!("- {}", policy.name));
        }
    }
    if parts.is_empty() {
        "order or engine".into()
    } else {
        parts.join(", ")
    }
}
