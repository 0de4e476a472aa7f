//! One call: packages in, components out.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{BuildError, component, dep_info, nested_cargo, toolchain::Toolchain};

/// What to build and where.
#[derive(Debug, Clone)]
pub struct GuestBuild<'a> {
    /// The directory of the workspace's `Cargo.toml` and `Cargo.lock`.
    pub workspace_root: PathBuf,
    /// Packages of the workspace, each a guest.
    pub packages: &'a [&'a str],
    /// Where the nested cargo works. Must not be the target directory of a cargo
    /// that waits for this call: both would wait for one lock, for ever. Should be
    /// the same from call to call: it is the cache.
    pub target_dir: PathBuf,
}

/// A guest that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The package.
    pub name: String,
    /// The component.
    pub component: PathBuf,
    /// SHA-256 of the component, in hex: what a log names.
    pub digest: String,
    /// All that the component was made from, besides the registry: sources,
    /// manifests, lock file, WIT, compiler.
    pub inputs: Vec<PathBuf>,
}

/// Builds the packages to components, one after the other.
///
/// Quick if nothing changed. Several processes may call it at once for the same
/// target directory; they take turns.
///
/// # Errors
/// No toolchain, a guest that does not compile, a module that is no guest, a file
/// that cannot be read or written.
pub fn build(request: &GuestBuild<'_>) -> Result<Vec<Built>, BuildError> {
    let toolchain = Toolchain::find()?;
    // Where paths are compared and remapped, they must be the ones the compiler sees.
    let root = canonical(&request.workspace_root)?;
    fs::create_dir_all(&request.target_dir).map_err(BuildError::io(&request.target_dir))?;
    let target_dir = canonical(&request.target_dir)?;
    let _turn = take_turn(&target_dir)?;
    request
        .packages
        .iter()
        .map(|package| build_one(&toolchain, &root, &target_dir, package))
        .collect()
}

fn build_one(
    toolchain: &Toolchain,
    root: &Path,
    target_dir: &Path,
    package: &str,
) -> Result<Built, BuildError> {
    let module = nested_cargo::compile(toolchain, root, target_dir, package)?;
    let wasm = fs::read(&module.wasm).map_err(BuildError::io(&module.wasm))?;
    let bytes = component::encode(package, &wasm)?;
    let path = target_dir
        .join("components")
        .join(format!("{package}.wasm"));
    write_if_changed(&path, &bytes)?;

    let rule = fs::read_to_string(&module.dep_info).map_err(BuildError::io(&module.dep_info))?;
    Ok(Built {
        name: package.to_owned(),
        component: path,
        digest: digest(&bytes),
        inputs: inputs(toolchain, root, dep_info::sources(&rule)),
    })
}

/// As a log names a component.
pub(crate) fn digest(component: &[u8]) -> String {
    hex::encode(Sha256::digest(component))
}

/// Holds the file lock of the target directory until dropped: cargo's own lock
/// ends before we have read what cargo made.
fn take_turn(target_dir: &Path) -> Result<File, BuildError> {
    let path = target_dir.join(".turn");
    let file = File::create(&path).map_err(BuildError::io(&path))?;
    file.lock().map_err(BuildError::io(&path))?;
    Ok(file)
}

/// An unchanged component keeps its time stamp, so that what embeds it is not
/// compiled again.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(BuildError::io(parent))?;
    }
    // Renamed into place: a reader sees the old component or the new one.
    let part = path.with_extension("part");
    fs::write(&part, bytes).map_err(BuildError::io(&part))?;
    fs::rename(&part, path).map_err(BuildError::io(path))
}

/// The sources, the manifests above them, and what belongs to every guest.
fn inputs(toolchain: &Toolchain, root: &Path, sources: Vec<PathBuf>) -> Vec<PathBuf> {
    let manifests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|source| source.ancestors())
        .filter(|dir| dir.starts_with(root))
        .map(|dir| dir.join("Cargo.toml"))
        .filter(|manifest| manifest.is_file())
        .collect();
    let of_every_guest = [
        root.join("Cargo.toml"),
        root.join("Cargo.lock"),
        root.join("wit"),
        toolchain.rustc.clone(),
    ];
    let all: BTreeSet<PathBuf> = sources
        .into_iter()
        .chain(manifests)
        .chain(of_every_guest)
        .collect();
    all.into_iter().collect()
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    path.canonicalize().map_err(BuildError::io(path))
}
