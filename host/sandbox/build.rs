//! Builds the guests that the library embeds.

use std::{env, error::Error, fmt::Write as _, fs, path::Path, process::ExitCode};

use auditchain_guest_builder::build_for_build_script;

/// Each is `builtin:<name>`. The first three are the default ones, with a policy of
/// their name.
const GUESTS: [&str; 4] = ["signature", "ordering", "rbac", "rego"];

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        // For people: it says what to install.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), Box<dyn Error>> {
    let packages = GUESTS.map(|guest| format!("auditchain-guest-{guest}"));
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let built = build_for_build_script(Path::new("../.."), &packages)?;

    let mut table = String::from("&[\n");
    for (name, guest) in GUESTS.iter().zip(&built) {
        writeln!(
            table,
            "    ({name:?}, include_bytes!({:?})),",
            guest.component
        )?;
    }
    table.push(']');
    let out_dir = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out_dir).join("guests.rs"), table)?;
    Ok(())
}
