//! Which compiler builds the guests.
//!
//! In this order:
//! 1. the compiler in use, if its sysroot holds the target;
//! 2. Debian's `rustc-web`, which compiles `std` from `rust-web-src`;
//! 3. none: an error that says what to install.
//!
//! Nothing is ever installed, and rustup is never asked: its answer could be a
//! download.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{BuildError, TARGET};

/// Where Debian puts its compiler, whose sysroot is `/usr`.
const DEBIAN_BIN: &str = "/usr/bin";

/// A compiler that can build the target.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// The cargo that belongs to `rustc`.
    pub(crate) cargo: PathBuf,
    /// The compiler itself, never rustup's proxy.
    pub(crate) rustc: PathBuf,
    /// The sources of `std`, as their paths may show up in panic messages.
    pub(crate) std_sources: Vec<PathBuf>,
    /// How `std` comes to the target.
    pub(crate) std: StdFrom,
}

/// How `std` comes to the target.
#[derive(Debug, Clone)]
pub(crate) enum StdFrom {
    /// Compiled already, in the sysroot.
    Sysroot,
    /// Compiled from source with `-Z build-std`.
    Source {
        /// What links WebAssembly; this compiler brings no linker of its own.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds the first toolchain that can build the target.
    pub(crate) fn find() -> Result<Self, BuildError> {
        let active_rustc = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        Self::find_among(&active_rustc, Path::new(DEBIAN_BIN))
    }

    fn find_among(active_rustc: &Path, debian_bin: &Path) -> Result<Self, BuildError> {
        let active = Compiler::ask(active_rustc);
        let mut looked_at = Vec::new();

        match &active {
            Some(active) => match active.with_installed_target() {
                Ok(toolchain) => return Ok(toolchain),
                Err(missing) => looked_at.push(missing),
            },
            None => looked_at.push(format!("  {}: does not run", active_rustc.display())),
        }
        match debian(debian_bin, active.as_ref()) {
            Ok(toolchain) => Ok(toolchain),
            Err(missing) => {
                looked_at.push(missing);
                Err(BuildError::NoToolchain {
                    looked_at: looked_at.join("\n"),
                })
            }
        }
    }
}

/// What a `rustc` says about itself.
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    host: String,
}

impl Compiler {
    /// None: it does not run.
    fn ask(rustc: &Path) -> Option<Self> {
        let answer = |args: &[&str]| {
            let output = Command::new(rustc).args(args).output().ok()?;
            output.status.success().then_some(())?;
            String::from_utf8(output.stdout).ok()
        };
        let sysroot = PathBuf::from(answer(&["--print", "sysroot"])?.trim());
        let version = answer(&["-vV"])?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))?
            .to_owned();
        // Past rustup's proxy, which would choose again by directory and environment.
        let own = sysroot.join("bin/rustc");
        Some(Self {
            rustc: if own.is_file() { own } else { rustc.to_owned() },
            sysroot,
            host,
        })
    }

    fn with_installed_target(&self) -> Result<Toolchain, String> {
        let target_lib = self.sysroot.join("lib/rustlib").join(TARGET).join("lib");
        if !target_lib.is_dir() {
            return Err(format!(
                "  {}: target {TARGET} is not installed",
                self.sysroot.display()
            ));
        }
        let beside = self.rustc.with_file_name("cargo");
        let cargo = if beside.is_file() {
            beside
        } else {
            env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
        };
        Ok(Toolchain {
            cargo,
            rustc: self.rustc.clone(),
            std_sources: self.std_sources(),
            std: StdFrom::Sysroot,
        })
    }

    /// As named in the sysroot, and where that leads to.
    fn std_sources(&self) -> Vec<PathBuf> {
        let named = self.sysroot.join("lib/rustlib/src/rust");
        let real = named.canonicalize().ok();
        std::iter::once(named).chain(real).collect()
    }

    fn rust_lld(&self) -> PathBuf {
        self.sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin/rust-lld")
    }
}

fn debian(bin: &Path, active: Option<&Compiler>) -> Result<Toolchain, String> {
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
    for program in [&cargo, &rustc] {
        if !program.is_file() {
            return Err(format!("  {}: not installed", program.display()));
        }
    }
    let compiler =
        Compiler::ask(&rustc).ok_or_else(|| format!("  {}: does not run", rustc.display()))?;
    // Debian's sources bring the crates that std depends on; without them std
    // could not be resolved offline.
    let vendored = compiler.sysroot.join("lib/rustlib/src/rust/library/vendor");
    if !vendored.is_dir() {
        return Err(format!(
            "  {}: no sources of std ({})",
            rustc.display(),
            vendored.display()
        ));
    }
    let linker = [Some(&compiler), active]
        .into_iter()
        .flatten()
        .map(Compiler::rust_lld)
        .chain(on_path("wasm-ld"))
        .find(|linker| linker.is_file())
        .ok_or_else(|| {
            format!(
                "  {}: no linker for WebAssembly (package lld)",
                rustc.display()
            )
        })?;
    Ok(Toolchain {
        cargo,
        std_sources: compiler.std_sources(),
        rustc,
        std: StdFrom::Source { linker },
    })
}

fn on_path(program: &str) -> Vec<PathBuf> {
    env::var_os("PATH").map_or_else(Vec::new, |path| {
        env::split_paths(&path)
            .map(|dir| dir.join(program))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_toolchain_the_error_says_what_to_install() {
        let nowhere = Path::new("/nowhere");
        let error = Toolchain::find_among(&nowhere.join("rustc"), nowhere).expect_err("nothing");
        let text = error.to_string();
        for part in [
            "/nowhere/rustc: does not run",
            "/nowhere/cargo: not installed",
            "rustup target add wasm32-unknown-unknown",
            "apt-get install rustc-web cargo-web rust-web-src lld",
        ] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    }
}
