//! Makes a core module a component.
//!
//! The module carries its world in a custom section that wit-bindgen wrote. What
//! it imports becomes what the component imports, and nothing else.

use wit_component::ComponentEncoder;

use crate::BuildError;

/// The component of the core module `wasm`.
pub(crate) fn encode(package: &str, wasm: &[u8]) -> Result<Vec<u8>, BuildError> {
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| BuildError::Component {
        package: package.to_owned(),
        reason: format!("{error:#}"),
    })
}
