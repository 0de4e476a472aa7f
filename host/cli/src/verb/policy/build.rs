//! `auditchain policy build DIR`: compiles the crate and makes it a component.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use auditchain_guest_builder::{BuildError, GuestBuild};
use serde::Deserialize;
use serde_json::json;

use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_HOLDS};
use crate::policy_args::PolicyBuildArgs;
use crate::verb::{print, print_json};

/// What `cargo metadata` says, as far as it matters.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

pub(super) fn run(args: &PolicyBuildArgs, output: OutputFormat) -> Result<u8, CliError> {
    let dir = args
        .dir
        .canonicalize()
        .map_err(CliError::reading(&args.dir))?;
    let name = package(&dir)?;
    let built = auditchain_guest_builder::build(&GuestBuild {
        workspace_root: dir.clone(),
        packages: &[&name],
        target_dir: dir.join("target/guest"),
    });
    let mut built = built.map_err(|error| match error {
        BuildError::Compile { .. } | BuildError::Component { .. } => {
            CliError::Refused(error.to_string())
        }
        error => CliError::Usage(error.to_string()),
    })?;
    let built = built.remove(0);
    let module = args.dir.join(format!("{name}.wasm"));
    let size = fs::copy(&built.component, &module).map_err(CliError::writing(&module))?;
    match output {
        OutputFormat::Json => print_json(&json!({
            "module": module, "digest": built.digest, "size": size,
        }))?,
        OutputFormat::Text => print(&format!(
            "{}\n  {size} bytes, SHA-256 {}\n",
            module.display(),
            built.digest
        ))?,
    }
    Ok(EXIT_HOLDS)
}

/// The crate's name; its lock file is made, or brought up to date, on the way.
fn package(dir: &Path) -> Result<String, CliError> {
    let manifest = dir.join("Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .current_dir(dir)
        .output()
        .map_err(|error| CliError::Usage(format!("cargo doesn't run: {error}; install Rust")))?;
    if !output.status.success() {
        return Err(CliError::Usage(format!(
            "{} can't be built:\n{}",
            manifest.display(),
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| CliError::Usage(format!("cargo metadata: {error}")))?;
    let of_dir = |package: &Package| package.manifest_path == manifest;
    let found = metadata.packages.into_iter().find(of_dir);
    found
        .map(|package| package.name)
        .ok_or_else(|| CliError::Usage(format!("{} is no package of its own", manifest.display())))
}
