//! `auditchain witness --listen ADDR --state DIR --log VKEY...`

use crate::args::WitnessArgs;
use crate::error::{CliError, EXIT_HOLDS};
use crate::trust::parse_keys;
use crate::witness::{Witness, read_key, serve};

pub(super) fn run(args: &WitnessArgs) -> Result<u8, CliError> {
    let logs = parse_keys(&args.logs)?;
    let path = args
        .key
        .clone()
        .unwrap_or_else(|| args.state.join("witness.key"));
    if !path.exists() {
        return Err(CliError::Usage(format!(
            "there is no key file {0}; make one: auditchain key new --witness NAME -o {0}",
            path.display()
        )));
    }
    let witness = Witness::open(&args.state, read_key(&path)?, logs)?;
    serve(witness, args.listen)?;
    Ok(EXIT_HOLDS)
}
