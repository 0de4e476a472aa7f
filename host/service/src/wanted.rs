//! What the configuration wants verdicts to be made with, as its files say: policies with
//! their modules and signatures, the RBAC snapshot, the senders' keys.
//!
//! Everything is read once, so that what was verified is what is used.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditchain_log::{
    Hash, KeyRecord, LimitsRecord, MAX_POLICY_SIGNATURE_BYTES, PolicySignature,
    PolicySignatureError, sha256,
};
use auditchain_sandbox::{
    MAX_MODULE_BYTES, MAX_POLICY_YAML_BYTES, MAX_RBAC_SNAPSHOT_BYTES, ModuleRef, PolicySpec,
    builtin_module, default_policies,
};

use crate::config::Config;
use crate::open::OpenError;

/// What stands behind a policy's name in its signature's.
const SIGNATURE_SUFFIX: &str = ".sig";

/// What is to be in force.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// In the order in which they are asked.
    pub(crate) policies: Vec<WantedPolicy>,
    /// None: the one that the log has stays.
    pub(crate) snapshot: Option<Vec<u8>>,
    /// Keys of senders.
    pub(crate) sender_keys: Vec<KeyRecord>,
}

/// A policy, and who signed it, where signatures are asked for.
#[derive(Debug, Clone)]
pub(crate) struct WantedPolicy {
    pub(crate) spec: PolicySpec,
    pub(crate) signer: Option<Hash>,
}

impl Wanted {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file can't be read, is no policy, or is not signed as it must be.
    pub(crate) fn read(config: &Config) -> Result<Self, OpenError> {
        let policies = config.policies.iter().map(|path| read_policy(path, config));
        let mut policies: Vec<_> = policies.collect::<Result<_, _>>()?;
        if policies.is_empty() {
            let of = |spec| WantedPolicy { spec, signer: None };
            policies = default_policies().into_iter().map(of).collect();
        }
        let snapshot = config.rbac_snapshot.as_ref();
        let snapshot = snapshot.map(|path| read(path, MAX_RBAC_SNAPSHOT_BYTES));
        Ok(Self {
            policies,
            snapshot: snapshot.transpose()?,
            sender_keys: Vec::new(),
        })
    }

    /// The same for the same content, whatever the files are called.
    pub(crate) fn digest(&self) -> Hash {
        let policies: Vec<_> = self
            .policies
            .iter()
            .map(|WantedPolicy { spec, signer }| {
                let module = sha256(&[&spec.module]);
                let limits = LimitsRecord::from(spec.limits);
                (
                    &spec.name,
                    module,
                    spec.mode,
                    &spec.settings,
                    limits,
                    signer,
                )
            })
            .collect();
        let snapshot = self.snapshot.as_ref().map(|bytes| sha256(&[bytes]));
        // Strings and numbers: serialising them can't fail.
        let text = serde_json::to_vec(&(policies, snapshot, &self.sender_keys));
        sha256(&[&text.unwrap_or_default()])
    }
}

fn read_policy(path: &Path, config: &Config) -> Result<WantedPolicy, OpenError> {
    let refuse = |reason: String| OpenError::Policy {
        name: path.display().to_string(),
        reason,
    };
    let yaml = read(path, MAX_POLICY_YAML_BYTES)?;
    let text = std::str::from_utf8(&yaml).map_err(|error| refuse(error.to_string()))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let resolve = |module: &ModuleRef| match module {
        ModuleRef::Builtin(_) => builtin_module(module),
        ModuleRef::File(file) => read_at_most(&base.join(file), MAX_MODULE_BYTES).map(Arc::from),
    };
    let spec = PolicySpec::from_yaml(text, resolve).map_err(|error| refuse(error.to_string()))?;
    let signer = verify(path, &yaml, &spec.module, config).map_err(refuse)?;
    Ok(WantedPolicy { spec, signer })
}

/// Who signed the policy and its module; none where nobody has to.
fn verify(
    policy: &Path,
    yaml: &[u8],
    module: &[u8],
    config: &Config,
) -> Result<Option<Hash>, String> {
    if config.policy_signers.is_empty() {
        return Ok(None);
    }
    let mut path = policy.as_os_str().to_owned();
    path.push(SIGNATURE_SUFFIX);
    let path = PathBuf::from(path);
    let name = path.display();
    let text = match read_at_most(&path, MAX_POLICY_SIGNATURE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = format!(
                "it is not signed: there is no {name}, and policySigners are configured; sign it with auditchain policy sign"
            );
            return if config.require_signed_policies {
                Err(missing)
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(format!("can't read {name}: {error}")),
    };
    let verified = std::str::from_utf8(&text)
        .map_err(|_| PolicySignatureError::File)
        .and_then(PolicySignature::parse)
        .and_then(|signature| signature.verify(&config.policy_signers, yaml, module));
    verified
        .map(Some)
        .map_err(|error| format!("{name}: {error}"))
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, OpenError> {
    read_at_most(path, bytes_max).map_err(|error| OpenError::File {
        path: path.to_owned(),
        error,
    })
}

fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64;
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if read as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}
