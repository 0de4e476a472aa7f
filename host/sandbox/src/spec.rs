//! A policy as its author writes it.
//!
//! ```yaml
//! apiVersion: auditchain.io/v1alpha1
//! kind: VerificationPolicy
//! metadata:
//!   name: rbac
//! spec:
//!   module: builtin:rbac        # or a file, relative to the policy's
//!   digest: 5891b5b5...         # SHA-256 of the module, optional
//!   mode: enforce               # or observe
//!   settings: {}                # the module's own
//!   limits: {}                  # see Limits
//! ```
//! Shaped like a Kubernetes object, so that a custom resource can have the same
//! schema. An unknown field is an error: a misspelt limit must not be a default.

use std::{fmt, io, sync::Arc};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Limits, LimitsError, Mode};

/// `apiVersion` of a policy.
pub const POLICY_API_VERSION: &str = "auditchain.io/v1alpha1";
/// `kind` of a policy.
pub const POLICY_KIND: &str = "VerificationPolicy";
/// Length of a policy's name: a label's, as Kubernetes has it.
pub const MAX_POLICY_NAME_BYTES: usize = 63;
/// Size of a policy's YAML.
pub const MAX_POLICY_YAML_BYTES: usize = 1 << 20;

/// A policy, with its module at hand.
#[derive(Debug, Clone)]
pub struct PolicySpec {
    /// Unique in a set: lower-case letters, digits and `-`.
    pub name: String,
    /// The component.
    pub module: Arc<[u8]>,
    /// Whether it can make an event invalid.
    pub mode: Mode,
    /// What the module is told.
    pub settings: serde_json::Value,
    /// What the module may use up.
    pub limits: Limits,
}

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleRef {
    /// Embedded in this program: `builtin:<name>`.
    Builtin(String),
    /// A file, as the policy names it.
    File(String),
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => f.write_str(path),
        }
    }
}

/// The text is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Over [`MAX_POLICY_YAML_BYTES`].
    #[error("the policy has {0} bytes; at most {MAX_POLICY_YAML_BYTES} are read")]
    TooLong(usize),
    /// Not YAML, or not of the schema; names the field.
    #[error("{0}")]
    Yaml(String),
    /// A policy of another API.
    #[error("apiVersion is {0:?}; this program reads {POLICY_API_VERSION:?}")]
    ApiVersion(String),
    /// Another kind of object.
    #[error("kind is {0:?}; a policy is a {POLICY_KIND:?}")]
    Kind(String),
    /// Not a name.
    #[error(
        "metadata.name is {0:?}; it must be 1 to {MAX_POLICY_NAME_BYTES} characters of \
         a-z, 0-9 and \"-\""
    )]
    Name(String),
    /// A limit that is out of range.
    #[error("spec.{0}")]
    Limits(#[from] LimitsError),
    /// The module could not be read.
    #[error("spec.module {module}: {source}")]
    Module {
        /// Which.
        module: ModuleRef,
        /// Why.
        source: io::Error,
    },
    /// The module is another one.
    #[error("spec.digest is {expected}, but {module} has {actual}")]
    Digest {
        /// Which.
        module: ModuleRef,
        /// The policy's.
        expected: String,
        /// The module's.
        actual: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    module: String,
    digest: Option<String>,
    mode: Mode,
    #[serde(default = "no_settings")]
    settings: serde_json::Value,
    #[serde(default)]
    limits: Limits,
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

impl PolicySpec {
    /// Reads a policy. `resolve` finds the bytes of its module; for what is built
    /// in, [`builtin_module`](crate::builtin_module) does.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn from_yaml(
        text: &str,
        resolve: impl FnOnce(&ModuleRef) -> io::Result<Arc<[u8]>>,
    ) -> Result<Self, SpecError> {
        if text.len() > MAX_POLICY_YAML_BYTES {
            return Err(SpecError::TooLong(text.len()));
        }
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| SpecError::Yaml(error.to_string()))?;
        if document.api_version != POLICY_API_VERSION {
            return Err(SpecError::ApiVersion(document.api_version));
        }
        if document.kind != POLICY_KIND {
            return Err(SpecError::Kind(document.kind));
        }
        let name = document.metadata.name;
        if !is_policy_name(&name) {
            return Err(SpecError::Name(name));
        }
        let spec = document.spec;
        spec.limits.check()?;
        let module = match spec.module.strip_prefix("builtin:") {
            Some(name) => ModuleRef::Builtin(name.to_owned()),
            None => ModuleRef::File(spec.module),
        };
        let bytes = match resolve(&module) {
            Ok(bytes) => bytes,
            Err(source) => return Err(SpecError::Module { module, source }),
        };
        if let Some(expected) = spec.digest {
            let actual = hex::encode(Sha256::digest(&bytes));
            if actual != expected {
                return Err(SpecError::Digest {
                    module,
                    expected,
                    actual,
                });
            }
        }
        Ok(Self {
            name,
            module: bytes,
            mode: spec.mode,
            settings: spec.settings,
            limits: spec.limits,
        })
    }
}

pub(crate) fn is_policy_name(name: &str) -> bool {
    is_id(name, MAX_POLICY_NAME_BYTES)
}

/// Lower-case letters, digits and `-`: what can stand in a label and a URL.
pub(crate) fn is_id(id: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"a module";

    fn policy(spec: &str) -> String {
        format!(
            "apiVersion: auditchain.io/v1alpha1\nkind: VerificationPolicy\n\
             metadata: {{name: a-policy}}\nspec:\n{spec}"
        )
    }

    fn read(text: &str) -> Result<PolicySpec, SpecError> {
        PolicySpec::from_yaml(text, |_| Ok(MODULE.into()))
    }

    #[test]
    fn reads_every_field() {
        let digest = hex::encode(Sha256::digest(MODULE));
        let text = policy(&format!(
            "  module: builtin:rbac\n  digest: {digest}\n  mode: observe\n  settings:\n    \
             users: [a, 1, true]\n  limits:\n    fuelPerEvent: 7\n"
        ));
        let mut asked = None;
        let spec = PolicySpec::from_yaml(&text, |module| {
            asked = Some(module.clone());
            Ok(MODULE.into())
        })
        .expect("a policy");
        assert_eq!(asked, Some(ModuleRef::Builtin("rbac".into())));
        assert_eq!((spec.name.as_str(), spec.mode), ("a-policy", Mode::Observe));
        assert_eq!(spec.settings, serde_json::json!({"users": ["a", 1, true]}));
        let expected = Limits {
            fuel_per_event: 7,
            ..Limits::default()
        };
        assert_eq!(spec.limits, expected);
    }

    #[test]
    fn settings_and_limits_may_be_left_out() {
        let spec = read(&policy("  module: a.wasm\n  mode: enforce\n")).expect("a policy");
        assert_eq!(spec.settings, serde_json::json!({}));
        assert_eq!(spec.limits, Limits::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = "  module: a.wasm\n  mode: enforce\n";
        let cases = [
            (policy(&format!("{good}  modus: x\n")), "modus"),
            (
                policy(&format!("{good}  limits: {{memory: 1}}\n")),
                "memory",
            ),
            (
                policy(&format!("{good}  limits: {{sliceEvents: 0}}\n")),
                "spec.limits.sliceEvents",
            ),
            (
                policy(&format!("{good}  digest: '00'\n")),
                "spec.digest is 00",
            ),
            (policy("  module: a.wasm\n  mode: off\n"), "off"),
            (policy("  module: a.wasm\n"), "mode"),
            (policy(good).replace("v1alpha1", "v9"), "v9"),
            (policy(good).replace("VerificationPolicy", "Pod"), "Pod"),
            (policy(good).replace("a-policy", "A_Policy"), "A_Policy"),
            (
                policy(good).replace("a-policy}", "a-policy, labels: {}}"),
                "labels",
            ),
            (policy(good) + &"#".repeat(MAX_POLICY_YAML_BYTES), "bytes"),
            ("{".into(), ""),
        ];
        for (text, named) in cases {
            let error = read(&text).expect_err(named).to_string();
            assert!(error.contains(named), "{error:?} does not name {named:?}");
        }
    }

    #[test]
    fn a_module_that_cannot_be_read_is_named() {
        let text = policy("  module: gone.wasm\n  mode: enforce\n");
        let error = PolicySpec::from_yaml(&text, |_| Err(io::ErrorKind::NotFound.into()))
            .expect_err("no module");
        assert!(
            error.to_string().starts_with("spec.module gone.wasm"),
            "{error}"
        );
    }
}
