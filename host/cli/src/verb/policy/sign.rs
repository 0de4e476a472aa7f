//! `auditchain policy sign FILE --key KEY`

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use auditchain_log::PolicySignature;
use serde_json::json;

use super::read::{policy, read_at_most, signature_path};
use crate::args::OutputFormat;
use crate::error::{CliError, EXIT_HOLDS};
use crate::policy_args::PolicySignArgs;
use crate::verb::{print, print_json};

/// Bytes of a private key's PEM.
const KEY_FILE_BYTES_MAX: usize = 4096;

pub(super) fn run(args: &PolicySignArgs, output: OutputFormat) -> Result<u8, CliError> {
    let read = policy(&args.file)?;
    let Some(yaml) = read.yaml else {
        return Err(CliError::Usage(format!(
            "{} is a module: sign the policy that names it, which covers both",
            args.file.display()
        )));
    };
    let key = read_key(&args.key)?;
    let signature = PolicySignature::sign(&key, &yaml, &read.spec.module)
        .map_err(|error| CliError::Usage(format!("{}: {error}", args.key.display())))?;
    let path = signature_path(&args.file);
    // Renamed into place: the service may look at any time.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))
        .map_err(CliError::writing(&path))?;
    file.write_all(signature.to_text().as_bytes())
        .and_then(|()| {
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))
        })
        .map_err(CliError::writing(&path))?;
    file.persist(&path)
        .map_err(|error| CliError::writing(&path)(error.error))?;
    let signer = signature.signer();
    match output {
        OutputFormat::Json => print_json(&json!({
            "file": path, "signer": signer.digest(), "publicKey": signer.to_base64(),
        }))?,
        OutputFormat::Text => print(&format!(
            "{}\n  over {} and its module, by key {}\n  policySigners of the service must have: {}\n",
            path.display(),
            args.file.display(),
            signer.digest(),
            signer.to_base64()
        ))?,
    }
    Ok(EXIT_HOLDS)
}

/// A private key that others can't read.
fn read_key(path: &Path) -> Result<String, CliError> {
    let mode = fs::metadata(path).map_err(CliError::reading(path))?;
    let mode = mode.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CliError::Usage(format!(
            "key file {0}: others can read it (mode {mode:o}); run: chmod 600 {0}",
            path.display()
        )));
    }
    let bytes = read_at_most(path, KEY_FILE_BYTES_MAX).map_err(CliError::reading(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
