//! The one pass: state, and what is done with each entry.

use auditchain_log::{
    ChainHash, Entry, Hash, KeyRole, Payload, TILE_WIDTH, TileId, TreeEdge, VerifierKey,
};

use super::AuditOptions;
use super::batches::Batches;
use super::blocks::Blocks;
use super::erasures::Erasures;
use super::examine::{BodyState, Examined, ExaminedRun};
use super::finding::{Findings, Place, Rule};
use super::keys::{LogKeys, Seal};
use super::links::Links;
use super::marks::{Mark, SignedNote};
use super::pipeline::Piece;
use super::reexecution::{Before, Reexecuted, Reexecution};
use super::report::{Counts, Report};
use super::tiles::Tiles;
use super::values::Values;
use crate::source::{Damage, HeadClaim, LogSource, SourceError};

/// The state of the one pass.
pub(super) struct Auditor<'a> {
    pub(super) source: &'a dyn LogSource,
    pub(super) options: &'a AuditOptions,
    /// Known from the start, or from the first key entry.
    pub(super) origin: Option<String>,
    /// The keys that the auditor trusts.
    pub(super) given: Vec<VerifierKey>,
    /// None of them signed the checkpoint: they must have handed over to those that did.
    pub(super) given_must_lead_here: bool,
    /// Witnesses that cosigned, and up to which size.
    pub(super) cosigned: Option<(u64, Vec<String>)>,
    pub(super) note: Option<SignedNote>,
    /// What is kept beside the store, where it is another than `note`.
    pub(super) kept: Option<SignedNote>,
    pub(super) since: Option<SignedNote>,
    pub(super) head: Option<HeadClaim>,
    /// Entries to read.
    pub(super) size: u64,
    /// Entries read.
    pub(super) index: u64,
    /// To be compared when the size is reached; the smallest size last.
    pub(super) marks: Vec<Mark>,
    /// The root over all entries was compared with the signed one.
    pub(super) checkpoint_compared: bool,
    pub(super) edge: TreeEdge,
    pub(super) full_tiles: Vec<(TileId, Vec<u8>)>,
    /// False once an entry is lost whose hash isn't known either.
    pub(super) tree_known: bool,
    /// Up to where the last seal said that all is as it was signed.
    pub(super) signed_size: u64,
    /// A seal has told another root; all later ones must too.
    pub(super) seal_root_told: bool,
    pub(super) links: Option<Links>,
    pub(super) blocks: Blocks,
    pub(super) keys: LogKeys,
    pub(super) batches: Batches,
    pub(super) values: Values,
    pub(super) tiles: Tiles,
    pub(super) counts: Counts,
    pub(super) findings: Findings,
    pub(super) erasures: Erasures,
    /// Where it is asked for.
    pub(super) reexecution: Option<Reexecution>,
    pub(super) reexecuted: Option<Reexecuted>,
    /// Unreadable entries that are not told yet.
    pub(super) gap: Option<(u64, u64, String)>,
    pub(super) not_checked: Vec<String>,
}

impl<'a> Auditor<'a> {
    pub(super) fn begin(
        source: &'a dyn LogSource,
        options: &'a AuditOptions,
    ) -> Result<Self, SourceError> {
        let mut auditor = Self {
            source,
            options,
            origin: None,
            given: options.keys.clone(),
            given_must_lead_here: false,
            cosigned: None,
            note: None,
            kept: None,
            since: None,
            head: source.head()?,
            size: 0,
            index: 0,
            marks: Vec::new(),
            checkpoint_compared: false,
            edge: TreeEdge::default(),
            full_tiles: Vec::new(),
            tree_known: true,
            signed_size: 0,
            seal_root_told: false,
            links: None,
            blocks: Blocks::default(),
            keys: LogKeys::default(),
            batches: Batches::default(),
            values: Values::default(),
            tiles: Tiles::default(),
            counts: Counts::default(),
            findings: Findings::default(),
            erasures: Erasures::default(),
            reexecution: options
                .re_execute
                .then(|| Reexecution::new(options.workers))
                .transpose()?,
            reexecuted: None,
            gap: None,
            not_checked: Vec::new(),
        };
        if auditor.open_checkpoint()? {
            auditor.open_kept()?;
            auditor.open_cosigned()?;
            auditor.open_since();
        }
        // The earliest is compared first.
        auditor
            .marks
            .sort_by_key(|mark| std::cmp::Reverse(mark.size));
        Ok(auditor)
    }

    pub(super) fn piece(&mut self, piece: Piece) -> Result<(), SourceError> {
        match piece {
            Piece::Failed(error) => Err(error),
            Piece::Gap { from, to, reason } => {
                self.gap = Some(match self.gap.take() {
                    Some((first, _, reason)) => (first, to, reason),
                    None => (from, to, reason),
                });
                Ok(())
            }
            Piece::Run(run) => {
                self.close_gap()?;
                self.run(&run)
            }
        }
    }

    fn run(&mut self, run: &ExaminedRun) -> Result<(), SourceError> {
        let mut damage = run.run.bodies_damage.as_deref();
        for ((bytes, body), examined) in run.run.iter().zip(&run.entries) {
            let damaged = run.run.bodies_damage.is_some() && examined.body == BodyState::Missing;
            if damaged {
                self.counts.bodies_unreadable += 1;
                if let Some(reason) = damage.take() {
                    let last = run.run.end() - 1; // a run is never empty
                    let detail = format!("the bodies of these entries can't be read: {reason}");
                    self.findings
                        .add(Rule::Body, Place::entries(self.index, last), detail);
                }
            }
            let good_body = body
                .map(|body| body.bytes)
                .filter(|_| examined.body == BodyState::Good);
            self.entry(bytes, examined, damaged, good_body)?;
        }
        Ok(())
    }

    /// Everything that is checked of the entry at `self.index`.
    fn entry(
        &mut self,
        bytes: &[u8],
        examined: &Examined,
        damaged: bool,
        good_body: Option<&[u8]>,
    ) -> Result<(), SourceError> {
        let index = self.index;
        // 1. Roots that the tree must have had here.
        self.compare_marks();
        match &examined.entry {
            Ok(entry) => {
                // 2. The chain.
                let after = examined
                    .after
                    .unwrap_or_else(|| ChainHash::resume(entry.prev).next(bytes));
                self.know_origin(entry);
                let links = self
                    .links
                    .get_or_insert_with(|| Links::new(self.origin.as_deref()));
                links.link(index, entry.prev, after, &mut self.findings);
                // 3. Blocks and times; the seal before a block against the tree so far.
                let begins = self.blocks.entry(index, entry, &mut self.findings);
                self.re_execute(index, entry, begins, good_body)?;
                self.check_kind(index, entry, begins)?;
                // 4. Batches of events.
                self.batches
                    .entry(index, entry, good_body, &mut self.findings);
                self.counts.entry(entry);
            }
            Err(error) => {
                let place = Place {
                    block: self.blocks.number(),
                    ..Place::entry(index)
                };
                self.findings.add(Rule::Entry, place, error.to_string());
                self.links
                    .get_or_insert_with(|| Links::new(self.origin.as_deref()))
                    .skip(bytes);
                self.blocks.lose();
                self.batches.lose();
                if let Some(reexecution) = &mut self.reexecution {
                    reexecution.lose(index);
                }
            }
        }
        // 5. The body.
        match &examined.body {
            BodyState::Good => self.counts.bodies_verified += 1,
            BodyState::Missing if !damaged => {
                // An erasure further on may say why.
                self.erasures.missing(index, self.blocks.number());
            }
            BodyState::Bad(rule, detail) => {
                let place = Place {
                    block: self.blocks.number(),
                    ..Place::entry(index)
                };
                self.findings.add(*rule, place, detail.as_str());
            }
            BodyState::None | BodyState::Missing => {}
        }
        // 6. The tree, and the tiles that this entry completes.
        self.grow(examined.leaf)
    }

    /// Hands an entry on to be re-executed; a block is, when the next one begins.
    fn re_execute(
        &mut self,
        index: u64,
        entry: &Entry,
        begins: bool,
        good_body: Option<&[u8]>,
    ) -> Result<(), SourceError> {
        let Some(reexecution) = &mut self.reexecution else {
            return Ok(());
        };
        if begins {
            if !self.tree_known {
                reexecution.lose(index);
            }
            let before = Before {
                origin: self.origin.as_deref().unwrap_or_default(),
                root: self.edge.root(),
                vkeys: self.keys.in_force(),
            };
            reexecution.begin_block(index, entry, &before, self.source, &mut self.findings)?;
        }
        reexecution.entry(index, entry, good_body);
        Ok(())
    }

    fn check_kind(&mut self, index: u64, entry: &Entry, begins: bool) -> Result<(), SourceError> {
        let origin = self.origin.as_deref().unwrap_or_default();
        match &entry.payload {
            Payload::Seal { seal, .. } => {
                // A seal is about the block before.
                let place = Place::entry(index).in_block(entry.block.saturating_sub(1));
                if let Seal::Signed(root) =
                    self.keys
                        .seal(&seal.note, origin, index, place, &mut self.findings)
                {
                    self.compare_seal(index, root, place);
                }
            }
            Payload::Erasure(record) => {
                let place = Place::entry(index).in_block(entry.block);
                self.erasures
                    .entry(index, record, place, &mut self.findings);
            }
            Payload::Key(record) => {
                let place = Place::entry(index).in_block(entry.block);
                self.keys.entry(record, origin, place, &mut self.findings);
                self.batches.key(record, place, &mut self.findings);
            }
            payload => {
                let place = Place::entry(index).in_block(entry.block);
                self.values
                    .entry(payload, place, self.source, &mut self.findings)?;
            }
        }
        if begins && index > 0 {
            self.keys.begin_block();
        }
        Ok(())
    }

    fn compare_seal(&mut self, index: u64, root: Hash, place: Place) {
        if !self.tree_known || self.seal_root_told {
            return;
        }
        if self.edge.root() == root {
            self.signed_size = index;
            self.counts.seals_verified += 1;
            return;
        }
        self.seal_root_told = true;
        let detail = format!(
            "the entries are not those that were signed: something between entry {} and entry {} was changed (later seals are not compared)",
            self.signed_size,
            index - 1,
        );
        self.findings.add(Rule::Seal, place, detail);
    }

    /// Without a checkpoint, the first key entry tells whose log this is.
    fn know_origin(&mut self, entry: &Entry) {
        if let (None, Payload::Key(record)) = (&self.origin, &entry.payload)
            && record.role == KeyRole::Log
        {
            self.origin = record
                .key
                .parse()
                .ok()
                .map(|key: VerifierKey| key.name().to_owned());
        }
    }

    fn grow(&mut self, leaf: Hash) -> Result<(), SourceError> {
        self.index += 1;
        if !self.tree_known {
            return Ok(());
        }
        self.edge.push(leaf, &mut self.full_tiles);
        let tiles = self.full_tiles.drain(..);
        for (id, made) in tiles.filter(|_| self.source.has_tiles()) {
            self.tiles
                .check(id, &made, self.source, &mut self.findings)?;
        }
        Ok(())
    }

    /// Goes past entries that can't be read. Where full tiles have their hashes, the
    /// tree goes on, so that the damage is all that is told.
    fn close_gap(&mut self) -> Result<(), SourceError> {
        let Some((from, to, reason)) = self.gap.take() else {
            return Ok(());
        };
        self.findings
            .add(Rule::Unreadable, Place::entries(from, to - 1), reason);
        self.counts.unreadable_entries += to - from;
        self.links
            .get_or_insert_with(|| Links::new(None))
            .lose(&mut self.findings);
        self.blocks.lose();
        self.batches.lose();
        if let Some(reexecution) = &mut self.reexecution {
            reexecution.lose(from);
        }
        let mut tile: Option<(u64, Option<Vec<u8>>)> = None;
        while self.index < to && self.tree_known {
            self.compare_marks();
            let number = self.index / TILE_WIDTH as u64;
            if tile.as_ref().is_none_or(|(at, _)| *at != number) {
                let id = TileId {
                    level: 0,
                    index: number,
                };
                let there = self.size - number * TILE_WIDTH as u64;
                let width =
                    usize::try_from(there).map_or(TILE_WIDTH, |there| there.min(TILE_WIDTH));
                let bytes = match self.source.tile(id, width) {
                    Ok(bytes) => bytes,
                    Err(SourceError::Damaged { .. }) => None,
                    Err(error) => return Err(error),
                };
                tile = Some((number, bytes));
            }
            // Below 256.
            let at = usize::try_from(self.index % TILE_WIDTH as u64).unwrap_or_default();
            let bytes = tile.as_ref().and_then(|(_, bytes)| bytes.as_deref());
            let hash = bytes.and_then(|bytes| bytes.as_chunks::<{ Hash::LEN }>().0.get(at));
            match hash {
                Some(hash) => self.grow(Hash(*hash))?,
                None => self.tree_known = false,
            }
        }
        while let Some(mark) = self.marks.pop_if(|mark| mark.size < to) {
            self.not_checked.push(super::authority::not_compared(&mark));
        }
        self.index = to;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Report, SourceError> {
        self.close_gap()?;
        self.compare_marks();
        let chain = self
            .head
            .as_ref()
            .filter(|_| self.index == self.size)
            .map(|head| head.chain);
        if let Some(links) = &mut self.links {
            links.end(self.index, chain, &mut self.findings);
        }
        self.blocks.end(self.index, &mut self.findings);
        self.batches.end(&mut self.findings);
        if let Some(reexecution) = &mut self.reexecution {
            let done = reexecution.end(self.source, &mut self.findings)?;
            self.reexecuted = Some(done);
        }
        if self.tree_known && self.source.has_partial_tiles() {
            self.tiles
                .check_partial(&self.edge, self.source, &mut self.findings)?;
        }
        self.tell_missing_bodies();
        self.check_head();
        if self.index > 0 {
            self.values.rest(self.source, &mut self.findings)?;
        }
        let signed_by = self.check_signatures();
        self.compare_served_keys()?;
        if !self.findings.is_empty() {
            for Damage { what, first, last } in self.source.damage() {
                let place = Place::entries(first, last);
                self.findings
                    .add(Rule::Stored, place, format!("damaged {what}"));
            }
        }
        Ok(self.report(signed_by))
    }

    /// What is missing without an erasure that says so.
    fn tell_missing_bodies(&mut self) {
        let (erased, missing) = std::mem::take(&mut self.erasures).settle();
        self.counts.bodies_erased = erased;
        for (first, last, block) in missing {
            // What the source withholds is no finding.
            let given = match self.source.bodies_given() {
                None => Some((first, last)),
                Some(given) => given.and_then(|[from, to]| {
                    let (first, last) = (first.max(from), last.min(to));
                    (first <= last).then_some((first, last))
                }),
            };
            let count = |first: u64, last: u64| last - first + 1;
            let missing = given.map_or(0, |(first, last)| count(first, last));
            self.counts.bodies_missing += missing;
            self.counts.bodies_withheld += count(first, last) - missing;
            if let Some((first, last)) = given
                && !self.options.bodies_may_be_missing
            {
                let place = Place {
                    block,
                    ..Place::entries(first, last)
                };
                let detail = "the body is missing, and no erasure says why";
                self.findings.add(Rule::Body, place, detail);
            }
        }
    }

    /// Entries to read.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Entries read.
    pub(super) fn index(&self) -> u64 {
        self.index
    }
}
