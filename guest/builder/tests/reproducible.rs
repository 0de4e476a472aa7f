//! The same source gives the same component, wherever it lies and is built; and
//! what fails says what failed.

use std::{fs, path::Path};

use auditchain_guest_builder::{BuildError, Built, GuestBuild, build};

/// The smallest guest of the workspace.
const PACKAGE: &str = "auditchain-hostile-guest";

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The cache that the other tests use too.
fn shared_target_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests")
}

fn build_one(workspace_root: &Path, target_dir: &Path, package: &str) -> Result<Built, BuildError> {
    let mut built = build(&GuestBuild {
        workspace_root: workspace_root.to_owned(),
        packages: &[package],
        target_dir: target_dir.to_owned(),
    })?;
    assert_eq!(built.len(), 1);
    Ok(built.remove(0))
}

/// Copies what cargo needs to know the workspace: no data, no build output.
fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    for entry in fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read an entry");
        let (name, path) = (entry.file_name(), entry.path());
        if path.is_dir() {
            let skipped = ["target", ".git", "data", "vectors", "docs"];
            if !skipped.iter().any(|skip| name == *skip) {
                copy_sources(&path, &to.join(&name));
            }
        } else {
            fs::copy(&path, to.join(&name)).expect("copy a file");
        }
    }
}

#[test]
fn same_source_gives_same_bytes_in_other_directories() {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let copy = elsewhere.path().join("some other place");
    copy_sources(workspace(), &copy);

    let here = build_one(workspace(), &shared_target_dir(), PACKAGE).expect("builds here");
    let there = build_one(&copy, &elsewhere.path().join("out"), PACKAGE).expect("builds there");

    assert_eq!(here.digest, there.digest);
    let bytes = fs::read(&here.component).expect("the component");
    assert_eq!(bytes, fs::read(&there.component).expect("the component"));
    for path in [workspace(), elsewhere.path()] {
        let path = path.canonicalize().expect("exists");
        let path = path.as_os_str().as_encoded_bytes();
        assert!(
            !bytes.windows(path.len()).any(|window| window == path),
            "a path of this machine is in the component"
        );
    }
}

#[test]
fn inputs_are_what_a_change_of_which_changes_the_component() {
    let built = build_one(workspace(), &shared_target_dir(), PACKAGE).expect("builds");
    let root = workspace().canonicalize().expect("exists");
    for input in [
        "tests/hostile-guest/src/lib.rs",
        "tests/hostile-guest/src/behaviour.rs",
        "tests/hostile-guest/Cargo.toml",
        "wit",
        "wit/verifier.wit",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        let input = root.join(input);
        assert!(
            built.inputs.contains(&input),
            "{} is missing",
            input.display()
        );
    }
    for input in &built.inputs {
        assert!(input.exists(), "{} does not exist", input.display());
    }
}

#[test]
fn nothing_changed_keeps_the_time_stamp() {
    let modified = || {
        let built = build_one(workspace(), &shared_target_dir(), PACKAGE).expect("builds");
        fs::metadata(built.component)
            .and_then(|metadata| metadata.modified())
            .expect("a time stamp")
    };
    assert_eq!(modified(), modified());
}

#[test]
fn an_unknown_package_is_named() {
    let error = build_one(
        workspace(),
        &shared_target_dir(),
        "auditchain-no-such-guest",
    )
    .expect_err("no such package");
    assert!(
        matches!(&error, BuildError::Compile { package, .. } if package == "auditchain-no-such-guest")
    );
    assert!(error.to_string().contains("no-such-guest"));
}
