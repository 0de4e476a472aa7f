//! What the policy's author sets.

use auditchain_guest_sdk::settings;
use serde::Deserialize;

/// Patterns of sources: as many as a log may have sources.
const REQUIRED_MAX: usize = 256;

/// Settings of the policy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Sources of which every event must be signed with a key in force; a trailing `*`
    /// makes a prefix.
    required: Vec<String>,
    /// Signatures of sources for which no key is in force.
    pub unbound_keys: UnboundKeys,
}

/// What a signature is worth whose source has no key in force: that whoever signed holds
/// that key, not who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnboundKeys {
    /// A finding.
    #[default]
    Accept,
    /// The batch or event is invalid.
    Refuse,
}

impl Settings {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// In words that name the setting.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let read: Self = settings(json)?;
        if read.required.len() > REQUIRED_MAX {
            return Err(format!(
                "settings: required: {} patterns are over the limit of {REQUIRED_MAX}",
                read.required.len()
            ));
        }
        for pattern in &read.required {
            let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
            if prefix.contains('*') || pattern.is_empty() {
                return Err(format!(
                    "settings: required: {pattern:?} is no source; a * may stand at the end only"
                ));
            }
        }
        Ok(read)
    }

    /// Whether every event of the source must be signed.
    #[must_use]
    pub fn requires(&self, source: &str) -> bool {
        self.required
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => source.starts_with(prefix),
                None => source == pattern,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named() {
        for (json, part) in [
            (r#"{"curve":"P-256"}"#, "curve"),
            (r#"{"required":["a*b"]}"#, "a*b"),
            (r#"{"required":["**"]}"#, "**"),
            (r#"{"required":[""]}"#, "\"\""),
            (r#"{"unboundKeys":"maybe"}"#, "maybe"),
        ] {
            let error = Settings::read(json.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let many = vec!["a"; REQUIRED_MAX + 1];
        let many = format!(r#"{{"required":{many:?}}}"#);
        assert!(Settings::read(many.as_bytes()).is_err());
    }

    #[test]
    fn a_star_makes_a_prefix() {
        let settings = Settings::read(br#"{"required":["eu","us-*"]}"#).unwrap();
        for (source, required) in [("eu", true), ("eu-1", false), ("us-1", true), ("us", false)] {
            assert_eq!(settings.requires(source), required, "{source}");
        }
        let all = Settings::read(br#"{"required":["*"]}"#).unwrap();
        assert!(all.requires("any"));
        assert!(!Settings::read(b"{}").unwrap().requires("any"));
    }
}
