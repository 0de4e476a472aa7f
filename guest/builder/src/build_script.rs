//! The call for build scripts.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{BuildError, Built, GuestBuild, build, guest_build::digest};

/// Names a directory of components, `<package>.wasm`, to be taken as they are: for
/// packagers who build the guests once, or where there is no toolchain for them.
const PREBUILT: &str = "AUDITCHAIN_GUESTS_DIR";

/// Builds the packages inside the outer target directory and tells cargo when to
/// ask again. `workspace_root` may be relative to the package being built.
///
/// Where the variable `AUDITCHAIN_GUESTS_DIR` names a directory, nothing is built:
/// `<package>.wasm` is taken from there.
///
/// # Errors
/// As [`build`], and if this is no build script.
pub fn build_for_build_script(
    workspace_root: &Path,
    packages: &[&str],
) -> Result<Vec<Built>, BuildError> {
    let out_dir = env::var_os("OUT_DIR").ok_or(BuildError::NotABuildScript("OUT_DIR"))?;
    let package_dir = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or(BuildError::NotABuildScript("CARGO_MANIFEST_DIR"))?;
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    if let Some(prebuilt) = env::var_os(PREBUILT) {
        let prebuilt = Path::new(&prebuilt);
        return packages
            .iter()
            .map(|package| take(prebuilt, package))
            .collect();
    }
    // target/<profile>/build/<package>-<hash>/out, and the same guests for all
    // profiles.
    let target_dir = Path::new(&out_dir)
        .ancestors()
        .nth(4)
        .unwrap_or(Path::new(&out_dir))
        .join("guests");
    let built = build(&GuestBuild {
        workspace_root: PathBuf::from(package_dir).join(workspace_root),
        packages,
        target_dir,
    })?;
    for input in built.iter().flat_map(|guest| &guest.inputs) {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    // It names the compiler to look at first.
    println!("cargo::rerun-if-env-changed=RUSTC");
    Ok(built)
}

fn take(prebuilt: &Path, package: &str) -> Result<Built, BuildError> {
    let component = prebuilt.join(format!("{package}.wasm"));
    println!("cargo::rerun-if-changed={}", component.display());
    let component = component
        .canonicalize()
        .map_err(BuildError::io(&component))?;
    let bytes = fs::read(&component).map_err(BuildError::io(&component))?;
    Ok(Built {
        name: package.to_owned(),
        digest: digest(&bytes),
        inputs: vec![component.clone()],
        component,
    })
}
