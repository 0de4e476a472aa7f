//! `auditchain policy new DIR`: a crate to start from, with all that it needs.
//!
//! The SDK and the contract are copied beside it as this program has them, so that it can
//! be built without a checkout of auditchain, and fits the services of this version.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use auditchain_sandbox::MAX_POLICY_NAME_BYTES;
use serde_json::json;

use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_HOLDS};
use crate::policy_args::PolicyNewArgs;
use crate::verb::{print, print_json};

/// The name in the templates.
const TEMPLATE_NAME: &str = "protected-namespaces";
const GITIGNORE: &str = "/target\n/*.wasm\n";

/// Files of the crate; the example in `policies/examples` is the template.
const CRATE: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    // Of the versions that this program's own guests are built with.
    ("Cargo.lock", include_str!("../../../../../Cargo.lock")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", GITIGNORE),
    (
        "policy.yaml",
        include_str!("../../../../../policies/examples/protected-namespaces/policy.yaml"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../../policies/examples/protected-namespaces/src/lib.rs"),
    ),
    (
        "auditchain/wit/verifier.wit",
        include_str!("../../../../../wit/verifier.wit"),
    ),
];

macro_rules! sdk {
    ($($file:literal),+) => {
        [$((concat!("src/", $file), include_str!(concat!("../../../../../guest/sdk/src/", $file)))),+]
    };
}

const SDK_DIR: &str = "auditchain/guest/sdk";
const SDK_MANIFEST: &str = include_str!("template/sdk-Cargo.toml.in");
const SDK: [(&str, &str); 10] = sdk![
    "bindings.rs",
    "call.rs",
    "guest.rs",
    "host.rs",
    "lib.rs",
    "settings.rs",
    "testing.rs",
    "time.rs",
    "user.rs",
    "verdicts.rs"
];

pub(super) fn run(args: &PolicyNewArgs, output: OutputFormat) -> Result<u8, CliError> {
    let of_dir = || args.dir.file_name().and_then(|name| name.to_str());
    let name = args.name.as_deref().or_else(of_dir).unwrap_or_default();
    check_name(name)?;
    fs::create_dir_all(&args.dir).map_err(CliError::writing(&args.dir))?;
    let mut there = fs::read_dir(&args.dir).map_err(CliError::reading(&args.dir))?;
    if there.next().is_some() {
        return Err(CliError::Usage(format!(
            "{} is not empty; name a directory that is, or that there is none of",
            args.dir.display()
        )));
    }
    for (path, text) in CRATE {
        let text = match path {
            "Cargo.lock" | "auditchain/wit/verifier.wit" => text.to_owned(),
            _ => text.replace(TEMPLATE_NAME, name),
        };
        write(&args.dir.join(path), &text)?;
    }
    let sdk = args.dir.join(SDK_DIR);
    write(&sdk.join("Cargo.toml"), SDK_MANIFEST)?;
    for (path, text) in SDK {
        write(&sdk.join(path), text)?;
    }
    let dir = args.dir.display();
    match output {
        OutputFormat::Json => print_json(&json!({ "dir": args.dir, "name": name }))?,
        OutputFormat::Text => print(&format!(
            "{dir} has a policy with one rule, in src/lib.rs. Next:\n  auditchain policy build {dir}\n  auditchain policy check {dir}/policy.yaml\n  auditchain policy test {dir}/policy.yaml --events AUDIT_LOG\n"
        ))?,
    }
    Ok(EXIT_HOLDS)
}

/// A name of a policy, a guest and a Rust package.
fn check_name(name: &str) -> Result<(), CliError> {
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let starts = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if starts && name.len() <= MAX_POLICY_NAME_BYTES && name.bytes().all(letters) {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{name:?} is no name of a policy: a letter, then a-z, 0-9 and \"-\", at most {MAX_POLICY_NAME_BYTES} together; give one with --name"
    )))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(CliError::writing(parent))?;
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(CliError::writing(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    #[test]
    fn the_copy_of_the_sdk_is_whole() {
        let files = fs::read_dir(Path::new(ROOT).join("guest/sdk/src")).unwrap();
        let files: BTreeSet<String> = files
            .map(|file| format!("src/{}", file.unwrap().file_name().to_str().unwrap()))
            .collect();
        let copied = SDK.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(files, copied);
    }

    #[test]
    fn the_manifests_ask_for_the_versions_of_the_workspace() {
        let root = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
        let version_of = |text: &str, name: &str| {
            let of = |line: &&str| line.starts_with(&format!("{name} = {{ version"));
            let line = text.lines().find(of).unwrap();
            line.split('"').nth(1).unwrap().to_owned()
        };
        for name in ["serde", "serde_json", "wit-bindgen"] {
            assert_eq!(
                version_of(SDK_MANIFEST, name),
                version_of(&root, name),
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_fit_neither_cargo_nor_a_log_are_refused() {
        for bad in ["", "A", "9a", "-a", "a_b", "a/b", "ä", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("exec-at-night-2").unwrap();
    }
}
