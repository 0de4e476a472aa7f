//! Tiles as the source has them against those made from its entries.

use auditchain_log::{Hash, TILE_HEIGHT, TileId, TreeEdge};

use super::finding::{Findings, Place, Rule};
use crate::source::{LogSource, SourceError};

/// Counts of tiles.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    pub(super) checked: u64,
}

impl Tiles {
    /// Compares one tile, `made` from the entries: a full one, or all that there is.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn check(
        &mut self,
        id: TileId,
        made: &[u8],
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        let width = made.len() / Hash::LEN;
        let place = |first: usize, last: usize| covered(id, first, last);
        let name = format!("tile {}/{}", id.level, id.index);
        let theirs = match source.tile(id, width) {
            Ok(Some(theirs)) => theirs,
            Ok(None) => {
                findings.add(
                    Rule::Tile,
                    place(0, width - 1),
                    format!("{name} is missing"),
                );
                return Ok(());
            }
            Err(SourceError::Damaged { reason, .. }) => {
                findings.add(
                    Rule::Tile,
                    place(0, width - 1),
                    format!("{name} can't be read: {reason}"),
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if theirs.len() != made.len() {
            let detail = format!("{name} has {} bytes, not {}", theirs.len(), made.len());
            findings.add(Rule::Tile, place(0, width - 1), detail);
            return Ok(());
        }
        let differs = |at: &usize| {
            let range = at * Hash::LEN..(at + 1) * Hash::LEN;
            theirs[range.clone()] != made[range]
        };
        let mut differing = (0..width).filter(differs);
        let Some(first) = differing.next() else {
            self.checked += 1;
            return Ok(());
        };
        let (more, last) = differing.fold((0, first), |(more, _), at| (more + 1, at));
        let detail = if id.level == 0 {
            format!(
                "{name} has another leaf hash for {}: the entry or the tile was changed",
                counted(more + 1, "entry")
            )
        } else {
            format!(
                "{name} has {} that the entries don't lead to",
                counted(more + 1, "other hash")
            )
        };
        findings.add(Rule::Tile, place(first, last), detail);
        Ok(())
    }

    /// Compares the tiles at the right edge that are not full.
    ///
    /// # Errors
    /// The source can't be asked.
    pub(super) fn check_partial(
        &mut self,
        edge: &TreeEdge,
        source: &dyn LogSource,
        findings: &mut Findings,
    ) -> Result<(), SourceError> {
        for level in 0_u8..8 {
            let count = edge.size().0 >> (u32::from(level) * u32::from(TILE_HEIGHT));
            let hashes = edge.partial(level);
            if hashes.is_empty() {
                continue;
            }
            let made: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            self.check(
                TileId {
                    level,
                    index: count >> TILE_HEIGHT,
                },
                &made,
                source,
                findings,
            )?;
        }
        Ok(())
    }
}

/// The entries under the hashes `first` to `last` of a tile.
fn covered(id: TileId, first: usize, last: usize) -> Place {
    // Below the size of a log that exists, so far below 2^64.
    let leaves = |at: u64| {
        let hash = (id.index << TILE_HEIGHT).saturating_add(at);
        hash.checked_shl(u32::from(id.level) * u32::from(TILE_HEIGHT))
            .unwrap_or(u64::MAX)
    };
    Place::entries(
        leaves(first as u64),
        leaves(last as u64 + 1).saturating_sub(1),
    )
}

fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("one {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}es"),
    }
}
