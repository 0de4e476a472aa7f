//! What may be set.

use std::collections::BTreeMap;

use regorus::Value;
use serde::{Deserialize, Serialize};

/// Modules of a policy: a slice begins with parsing all of them.
const MAX_MODULES: usize = 64;
/// Bytes of a module: its syntax tree has some two hundred times as many.
const MAX_MODULE_BYTES: usize = 128 << 10;
/// Bytes of a module's file name: it stands in every message.
const MAX_FILE_NAME_BYTES: usize = 128;

/// Settings of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// The policy: file name and text of each module.
    pub modules: BTreeMap<String, String>,
    /// What the modules find as `data`, an object.
    pub data: Value,
    /// Packages whose `deny`, `violation` and `warn` are asked; none: all.
    pub packages: Vec<String>,
    /// A rule that must be true for an event to be valid, such as `data.audit.allow`.
    pub query: Option<String>,
    /// How the modules are read.
    pub rego_version: RegoVersion,
    /// What a builtin function's error is.
    pub builtin_errors: BuiltinErrors,
    /// What an event is that no policy can be asked about.
    pub on_unreadable: OnUnreadable,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            modules: BTreeMap::new(),
            data: Value::new_object(),
            packages: Vec::new(),
            query: None,
            rego_version: RegoVersion::V1,
            builtin_errors: BuiltinErrors::Fail,
            on_unreadable: OnUnreadable::Deny,
        }
    }
}

/// Version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RegoVersion {
    /// Before OPA 1.0: rule bodies without `if`, `deny[msg] { ... }`.
    V0,
    /// Since OPA 1.0; in V0 what a module that imports `rego.v1` is.
    V1,
}

/// What to do if a builtin function can't take its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BuiltinErrors {
    /// The event is not valid: who can make a function fail can't turn a rule off.
    Fail,
    /// The call is undefined, as in OPA, and so is the rule that rests on it.
    Undefined,
}

/// What to do about an event that no policy can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnUnreadable {
    /// It is not valid.
    Deny,
    /// A finding on a valid event.
    Warn,
}

impl Settings {
    /// Refuses what can't be meant, apart from the policy's text.
    ///
    /// # Errors
    /// In words that name the setting.
    pub fn check(&self) -> Result<(), String> {
        if self.modules.is_empty() {
            return Err("settings: modules is empty: a policy has at least one".into());
        }
        if self.modules.len() > MAX_MODULES {
            return Err(format!(
                "settings: {} modules; at most {MAX_MODULES} are allowed",
                self.modules.len()
            ));
        }
        for (name, text) in &self.modules {
            if name.is_empty()
                || name.len() > MAX_FILE_NAME_BYTES
                || name.contains(char::is_control)
            {
                return Err(format!(
                    "settings: modules: a file name has 1 to {MAX_FILE_NAME_BYTES} bytes \
                     without control characters, unlike {name:?}"
                ));
            }
            if text.len() > MAX_MODULE_BYTES {
                return Err(format!(
                    "settings: modules: {name} has {} bytes; at most {MAX_MODULE_BYTES} are \
                     allowed: split it",
                    text.len()
                ));
            }
        }
        if self.data.as_object().is_err() {
            return Err("settings: data must be an object".into());
        }
        Ok(())
    }
}
