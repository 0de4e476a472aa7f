//! Where the log is kept: the [`Store`] contract, and its engine on sled.
//!
//! Reading order: [`Store`] (the contract), [`limits`], [`Head`], [`Chunker`]
//! (cuts a block into chunks), [`Chunk`] (what is read back), [`SledStore`] (the engine),
//! [`HeadFile`] (the guard against rollback), [`compact`], [`copy_data_dir`] and
//! [`find_damage`] (for auditors).
//!
//! What makes stock sled 0.34.7 fit for evidence, each where it is explained:
//! - its flush is made an `fdatasync`, and the store refuses to run where that did not
//!   work (`durable`);
//! - values are cut so that none is moved into files that sled never syncs (`limits`);
//! - entries are kept in compressed chunks, never one key each, and what of them follows
//!   from a body is not kept at all (`chunk`);
//! - every value carries a checksum that is bound to its place (`frame`);
//! - its panics on damaged files become errors (`engine`);
//! - after a failed write nothing is written until the store is reopened (`sled_store`).
//!
//! Out of scope: what entries mean beyond that, the Merkle tree, signatures, when to write a block.

mod block;
mod chunk;
mod chunker;
mod compact;
mod contract;
mod copy;
mod dictionary;
mod durable;
mod engine;
mod error;
mod find_damage;
mod frame;
mod head;
mod head_file;
mod keys;
pub mod limits;
mod lock;
mod reserve;
mod sled_store;
mod wake;

pub use chunk::Chunk;
pub use chunker::{ChunkError, ChunkWrite, Chunker, EncodedChunk, EventParts, encode_chunks};
pub use compact::{Compaction, compact};
pub use contract::{BlockWrite, Body, Epoch, Store};
pub use copy::copy_data_dir;
pub use error::{AppendError, Damage, InvalidBlock, StoreError, What};
pub use find_damage::{DamagedValue, find_damage};
pub use head::Head;
pub use head_file::HeadFile;
pub use sled_store::SledStore;
