//! The generator's request bodies as a file, so that something else can be given the very
//! same load.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::Template;
use super::load::round_us;
use crate::error::CliError;

/// Writes the bodies that hold at least `events` events to `path`, one a line, and returns
/// how many events they hold.
///
/// # Errors
/// The file can't be written.
pub(crate) fn dump(templates: &[Template], events: u64, path: &Path) -> Result<u64, CliError> {
    let writing = || CliError::writing(path);
    let mut file = BufWriter::new(File::create(path).map_err(writing())?);
    let round_us = round_us(templates);
    let mut templates = templates.to_vec();
    let mut done = 0;
    for round in 0..=u32::MAX {
        for template in &mut templates {
            if done >= events {
                file.flush().map_err(writing())?;
                return Ok(done);
            }
            let body = template.at(round, i64::from(round).saturating_mul(round_us));
            // A line break in JSON is white space: in a string it would be escaped.
            for line in body.trim_ascii().split(|byte| *byte == b'\n') {
                file.write_all(line).map_err(writing())?;
            }
            file.write_all(b"\n").map_err(writing())?;
            done += template.events() as u64;
        }
    }
    Ok(done)
}
