//! A policy or a bare module, read as the service reads it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditchain_sandbox::{
    Engine, EngineOptions, Limits, MAX_MODULE_BYTES, MAX_POLICY_YAML_BYTES, Mode, ModuleRef,
    PolicySpec, builtin_module,
};

use crate::error::CliError;

const WASM_MAGIC: [u8; 4] = *b"\0asm";

/// What was read.
pub(super) struct Policy {
    pub(super) spec: PolicySpec,
    /// The policy's own bytes; none of a bare module.
    pub(super) yaml: Option<Vec<u8>>,
}

/// Reads a policy with its module, or a module alone, under a policy with defaults.
pub(super) fn policy(path: &Path) -> Result<Policy, CliError> {
    let bytes_max = MAX_POLICY_YAML_BYTES.max(MAX_MODULE_BYTES);
    let bytes = read_at_most(path, bytes_max).map_err(CliError::reading(path))?;
    if bytes.starts_with(&WASM_MAGIC) {
        let spec = PolicySpec {
            name: "module".into(),
            module: bytes.into(),
            mode: Mode::Observe,
            settings: serde_json::json!({}),
            limits: Limits::default(),
        };
        return Ok(Policy { spec, yaml: None });
    }
    let refuse = |why: String| CliError::Refused(format!("{}: {why}", path.display()));
    let text = std::str::from_utf8(&bytes).map_err(|error| refuse(error.to_string()))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let resolve = |module: &ModuleRef| match module {
        ModuleRef::Builtin(_) => builtin_module(module),
        ModuleRef::File(file) => read_at_most(&base.join(file), MAX_MODULE_BYTES).map(Arc::from),
    };
    let spec = PolicySpec::from_yaml(text, resolve).map_err(|error| refuse(error.to_string()))?;
    Ok(Policy {
        spec,
        yaml: Some(bytes),
    })
}

/// Where a policy's signature lies.
pub(super) fn signature_path(policy: &Path) -> PathBuf {
    let mut path = policy.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

pub(super) fn engine() -> Result<Engine, CliError> {
    Engine::new(&EngineOptions::default()).map_err(|error| CliError::Usage(error.to_string()))
}

pub(super) fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64;
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if read as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}
