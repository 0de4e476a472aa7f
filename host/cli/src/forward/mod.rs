//! The forwarder, a node's side: a log file, signed and sent, each event exactly once.
//!
//! ```text
//! log file -> follow -> batch -> spool (disk) -> sign -> send -> position (disk)
//!            [ reader's thread            ]     [ deliverer's thread          ]
//! ```
//! Reading order: [`cursor`] and [`follow`] (where reading stands, and how a file is
//! followed through rotation), [`batch`], [`spool`], [`reader`]; [`position`], [`breaker`],
//! [`send`], [`deliver`]; [`state`] (the directory) and [`status`].
//!
//! **Exactly once.** The service adds an event of one source once, whatever way it comes
//! (identity is source and canonical bytes). So nothing may be left out, and a batch that
//! is sent again must be the same batch:
//!
//! - A spool file holds a batch's bytes and the [`cursor`] behind it. Reading starts behind
//!   the last spool file; with none, at the cursor of `position`.
//! - A batch's number is that in `position` when it is the first of the spool, which only
//!   an answer changes. The signature is a function of both, so it is the same again too.
//!
//! What a crash leaves, step by step, and what the next start makes of it:
//!
//! | killed | on disk | next start |
//! |---|---|---|
//! | 1 while reading | nothing new | reads the same lines again |
//! | 2 while a spool file is written | a `.new`, which is removed | as 1 |
//! | 3 after its rename | the batch, and the cursor behind it | sends it; reads on behind it |
//! | 4 while it is sent, before the service has it | as 3 | as 3 |
//! | 5 after the service has it, before `position` | as 3 | sends the same bytes under the same number; all of them are duplicates |
//! | 6 while `position` is written | the old one and a `.new`, or the new one | as 5, or 7 |
//! | 7 before the spool file is removed | the batch, named as dealt with in `position` | removes it |
//! | 8 while a batch is split | the whole and some halves, or both halves | the whole counts, or the halves |
//! | 9 while a refused batch is put aside | a link in `refused/`, and the batch | it is sent, refused and kept again under the same number |
//!
//! Power loss is as a crash: each file is synced before its name, and the name before the
//! next step. What the disk spoils later is told by a hash: the spool from there on is set
//! aside and read again from the log file, if that is still there.
//!
//! Out of scope: compressed rotated files, files of several writers, and what root on
//! the node does before a line is read.

mod batch;
mod breaker;
mod cursor;
mod deliver;
mod files;
mod follow;
mod position;
mod quarantine;
mod reader;
mod rotated;
mod run;
mod send;
mod shared;
mod sign;
mod spool;
mod state;
mod status;
mod tell;

pub use batch::Packing;
pub(crate) use run::run;
pub(crate) use sign::create_sender_key;
pub(crate) use status::status;
