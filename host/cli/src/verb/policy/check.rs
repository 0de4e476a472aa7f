//! `auditchain policy check FILE|MODULE`: what the service would say of it.

use std::fmt::Write as _;

use auditchain_log::{Hash, PolicySignature, sha256};
use auditchain_sandbox::{
    Description, Interface, LoadProblem, PolicySet, PolicySpec, describe_module,
};
use serde_json::{Value, json};

use super::read::{Policy, engine, policy, read_at_most, signature_path};
use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_FAILED, EXIT_HOLDS};
use crate::output::{Style, printable};
use crate::policy_args::PolicyCheckArgs;
use crate::verb::{print, print_json};

/// What is known of it; the last parts are missing where it is refused before.
struct Findings {
    spec: PolicySpec,
    is_policy: bool,
    interface: Option<Interface>,
    description: Option<Description>,
    settings: Option<(String, Hash)>,
    /// Of the signature file beside it.
    signer: Option<Result<Hash, String>>,
    refused: Option<String>,
    note: Option<String>,
}

pub(super) fn run(args: &PolicyCheckArgs, output: OutputFormat) -> Result<u8, CliError> {
    let Policy { spec, yaml } = policy(&args.file)?;
    let engine = engine()?;
    let set = PolicySet::load(&engine, std::slice::from_ref(&spec), &[]);
    let mut found = Findings {
        is_policy: yaml.is_some(),
        interface: Interface::of(&engine, &spec.module).ok(),
        description: describe_module(&engine, &spec.module).ok(),
        settings: None,
        signer: None,
        refused: None,
        note: None,
        spec,
    };
    match set {
        Ok(set) => {
            // One policy was loaded.
            found.settings = set.policies().first().map(|policy| {
                let digest = Hash(policy.settings_digest());
                (policy.settings().to_owned(), digest)
            });
        }
        // A module that wants settings is no worse for having been given none.
        Err(error)
            if !found.is_policy && matches!(error.problem, LoadProblem::PrepareRefused(_)) =>
        {
            found.note = Some(format!("without settings {}", error.problem));
        }
        Err(error) => found.refused = Some(error.problem.to_string()),
    }
    if let Some(yaml) = &yaml {
        let path = signature_path(&args.file);
        let text = read_at_most(&path, auditchain_log::MAX_POLICY_SIGNATURE_BYTES).ok();
        found.signer = text.map(|text| {
            let signature = PolicySignature::parse(&String::from_utf8_lossy(&text));
            let signature = signature.map_err(|error| error.to_string())?;
            let signer = std::slice::from_ref(signature.signer());
            let verified = signature.verify(signer, yaml, &found.spec.module);
            verified.map_err(|error| error.to_string())
        });
    }
    if let Some(Err(error)) = &found.signer {
        let error = format!("its signature: {error}");
        found.refused.get_or_insert(error);
    }
    match output {
        OutputFormat::Json => print_json(&found.json())?,
        OutputFormat::Text => print(&found.text())?,
    }
    Ok(if found.refused.is_none() {
        EXIT_HOLDS
    } else {
        EXIT_FAILED
    })
}

impl Findings {
    fn json(&self) -> Value {
        let items = |items: &[auditchain_sandbox::Item]| -> Vec<Value> {
            let item = |item: &auditchain_sandbox::Item| json!({ "name": item.name, "members": item.members });
            items.iter().map(item).collect()
        };
        let spec = &self.spec;
        json!({
            "holds": self.refused.is_none(),
            "refused": self.refused,
            "note": self.note,
            "policy": self.is_policy.then(|| json!({
                "name": spec.name,
                "mode": spec.mode,
                "settings": spec.settings,
                "settingsDigest": self.settings.as_ref().map(|(_, digest)| digest),
                "signer": self.signer.as_ref().and_then(|signer| signer.as_ref().ok()),
            })),
            "module": {
                "digest": sha256(&[&spec.module]),
                "size": spec.module.len(),
                "imports": self.interface.as_ref().map(|all| items(&all.imports)),
                "exports": self.interface.as_ref().map(|all| items(&all.exports)),
            },
            "guest": self.description.as_ref().map(|guest| json!({
                "name": guest.name,
                "version": guest.version,
                "needsRbacSnapshot": guest.needs_rbac_snapshot,
                "rules": guest.rules.iter().map(|rule| json!({
                    "id": &*rule.id, "severity": rule.severity, "title": rule.title,
                })).collect::<Vec<_>>(),
            })),
            "limits": auditchain_log::LimitsRecord::from(spec.limits),
        })
    }

    fn text(&self) -> String {
        let style = Style::of_stdout();
        let mut out = String::new();
        let mut line = |name: &str, text: &str| {
            // Writing into a String can't fail.
            let _ = writeln!(
                out,
                "{} {}",
                style.head(&format!("{name:<9}")),
                printable(text)
            );
        };
        let spec = &self.spec;
        if self.is_policy {
            line(
                "policy",
                &format!("{}, mode {}", spec.name, super::mode(spec.mode)),
            );
            if let Some((settings, digest)) = &self.settings {
                line(
                    "settings",
                    &format!("{settings}\n          SHA-256 {digest}"),
                );
            }
            match &self.signer {
                None => line("signature", "none"),
                Some(Ok(signer)) => line("signature", &format!("by key {signer}")),
                Some(Err(_)) => line("signature", "does not hold"),
            }
        }
        let (size, digest) = (spec.module.len(), sha256(&[&spec.module]));
        line("module", &format!("{size} bytes, SHA-256 {digest}"));
        if let Some(interface) = &self.interface {
            for (name, items) in [
                ("imports", &interface.imports),
                ("exports", &interface.exports),
            ] {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                line(name, &items.join("\n          "));
            }
        }
        if let Some(guest) = &self.description {
            line("guest", &format!("{} {}", guest.name, guest.version));
            let needs = if guest.needs_rbac_snapshot {
                "wants the RBAC snapshot"
            } else {
                "gets no RBAC snapshot"
            };
            line("RBAC", needs);
            for rule in &guest.rules {
                line(
                    "rule",
                    &format!("{} ({}): {}", rule.id, rule.severity.as_str(), rule.title),
                );
            }
        }
        line("limits", &super::limits(&spec.limits.into()));
        if let Some(note) = &self.note {
            line("note", note);
        }
        let _ = match &self.refused {
            None => writeln!(
                out,
                "{}: a service of this version loads it",
                style.good("HOLDS")
            ),
            Some(why) => writeln!(out, "{}: {}", style.bad("REFUSED"), printable(why)),
        };
        out
    }
}
