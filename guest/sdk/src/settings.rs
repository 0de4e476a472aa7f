//! Settings of a policy.

use serde::de::DeserializeOwned;

/// Reads a policy's settings. The type should be
/// `#[serde(deny_unknown_fields, default, rename_all = "camelCase")]`: a key that is
/// misspelt must be an error, never a rule that silently isn't there.
///
/// # Errors
/// In words that name the key.
pub fn settings<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("settings: {error}"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default, rename_all = "camelCase")]
    struct Settings {
        skew_seconds: u32,
    }

    #[test]
    fn a_mistake_is_named() {
        let read = super::settings::<Settings>;
        assert_eq!(read(br#"{"skewSeconds":7}"#).unwrap().skew_seconds, 7);
        assert_eq!(read(b"{}").unwrap().skew_seconds, 0);
        assert!(
            read(br#"{"skewSecond":7}"#)
                .unwrap_err()
                .contains("skewSecond")
        );
        assert!(read(br#"{"skewSeconds":"7"}"#).is_err());
    }
}
