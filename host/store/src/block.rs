//! Checks a block against the contract before anything of it is written.

use auditchain_log::TileId;

use crate::contract::BlockWrite;
use crate::error::InvalidBlock;
use crate::head::Head;
use crate::limits::{
    BLOB_BYTES_MAX, BLOB_NAME_BYTES_MAX, BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX, BLOCK_ERASE_MAX,
    NOTE_BYTES_MAX, STATE_BYTES_MAX,
};

/// Bytes of a full tile: 256 hashes.
pub(crate) const TILE_BYTES: usize = auditchain_log::TILE_BYTES;
/// Leaves under a full tile of level L: 2^(8*(L+1)).
const TILE_HEIGHT: u32 = 8;

/// Checks everything that needs no look into the store.
pub(crate) fn check(block: &BlockWrite<'_>, before: Option<&Head>) -> Result<(), InvalidBlock> {
    let size = before.map_or(0, |head| head.size);
    check_sizes(block, size)?;
    check_head(block, before)?;
    for (id, hashes) in block.tiles {
        let completed = !is_full(*id, size) && is_full(*id, block.head.size);
        if hashes.len() != TILE_BYTES || !completed {
            return Err(InvalidBlock::Tile(*id));
        }
    }
    for (name, bytes) in block.blobs {
        if !is_blob_name(name) {
            return Err(InvalidBlock::BlobName((*name).to_owned()));
        }
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(InvalidBlock::Blob {
                name: (*name).to_owned(),
                bytes: bytes.len(),
            });
        }
    }
    Ok(())
}

/// True if all leaves under the tile are in a log of this size.
pub(crate) fn is_full(id: TileId, size: u64) -> bool {
    let leaves_log2 = TILE_HEIGHT * (u32::from(id.level) + 1);
    // Shifting by 64 and more gives no full tile: no log has that many leaves.
    let full_tiles = size.checked_shr(leaves_log2).unwrap_or(0);
    id.index < full_tiles
}

pub(crate) fn is_blob_name(name: &str) -> bool {
    (1..=BLOB_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/'))
}

fn check_sizes(block: &BlockWrite<'_>, size: u64) -> Result<(), InvalidBlock> {
    let entries: usize = block.chunks.iter().map(|chunk| chunk.entries).sum();
    if entries == 0 {
        return Err(InvalidBlock::Empty);
    }
    if entries > BLOCK_ENTRIES_MAX {
        return Err(InvalidBlock::Entries(entries));
    }
    let mut expected = size;
    let mut total: usize = 0;
    for chunk in block.chunks {
        if chunk.first != expected {
            return Err(InvalidBlock::Chunk {
                first: chunk.first,
                expected,
            });
        }
        expected = expected.saturating_add(chunk.entries as u64);
        total = total.saturating_add(chunk.raw_bytes);
    }
    if block.erase.len() > BLOCK_ERASE_MAX {
        return Err(InvalidBlock::EraseMany {
            bodies: block.erase.len(),
            chunks: 0,
        });
    }
    if let Some(index) = block.erase.iter().find(|index| **index >= size) {
        return Err(InvalidBlock::EraseNothing(*index));
    }
    let blobs = block.blobs.iter().map(|(_, bytes)| bytes.len());
    total = blobs.fold(total, usize::saturating_add);
    if total > BLOCK_BYTES_MAX {
        return Err(InvalidBlock::Bytes(total));
    }
    Ok(())
}

fn check_head(block: &BlockWrite<'_>, before: Option<&Head>) -> Result<(), InvalidBlock> {
    let head = block.head;
    let (size, blocks, time_us) = before.map_or((0, 0, i64::MIN), |head| {
        (head.size, head.blocks, head.time_us)
    });
    // A count of entries in memory: it fits 64 bits.
    let entries: usize = block.chunks.iter().map(|chunk| chunk.entries).sum();
    if size.checked_add(entries as u64) != Some(head.size) {
        return Err(InvalidBlock::Head("size"));
    }
    if blocks.checked_add(1) != Some(head.blocks) {
        return Err(InvalidBlock::Head("number of blocks"));
    }
    if head.time_us < time_us {
        return Err(InvalidBlock::Head("time"));
    }
    if head.note.len() > NOTE_BYTES_MAX {
        return Err(InvalidBlock::Note(head.note.len()));
    }
    if head.state.len() > STATE_BYTES_MAX {
        return Err(InvalidBlock::State(head.state.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_full_with_all_its_leaves() {
        let full = |level, index, size| is_full(TileId { level, index }, size);
        assert!(!full(0, 0, 255) && full(0, 0, 256) && !full(0, 1, 511) && full(0, 1, 512));
        assert!(!full(1, 0, 65_535) && full(1, 0, 65_536));
        assert!(full(6, 0, u64::MAX));
        assert!(!full(7, 0, u64::MAX) && !full(u8::MAX, 0, u64::MAX));
        assert!(!full(0, u64::MAX, u64::MAX));
    }

    #[test]
    fn blob_names_are_plain() {
        assert!(is_blob_name("sha256/00ff") && is_blob_name("dedup/000001"));
        for name in ["", "A", "a\0", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_blob_name(name), "{name:?}");
        }
    }
}
