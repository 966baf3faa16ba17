//! What stands in blocks: whose each command is, and what is to come of them.
//!
//! Owns, for every block whose payload was on the wire, its commands: which of them the client of
//! their session has made, bit for bit, and what an application is handed of each. It holds what a
//! validator tells of a block against that, and keeps nothing of a height that was told. Never:
//! checks a signature; what a client has made the clients know, and whatever they have not made is
//! forged, however it is signed.

use std::collections::BTreeMap;

use quorate::results::{CommandResult, Outcome};
use quorate::state_machine::{Context, Lane, SessionId};
use quorate_consensus::header::Header;
use quorate_consensus::payload::{CommandView, PayloadView};
use quorate_consensus::types::BlockId;

use super::Violation;
use super::handed::{Calls, write_calls};

/// One command of a block.
#[derive(Debug)]
struct Seen {
    session: SessionId,
    seq: u64,
    is_made: bool,
    /// Where what it brings about ends among that of its block.
    calls_end: usize,
}

/// One block.
#[derive(Debug)]
struct Block {
    id: BlockId,
    commands: Vec<Seen>,
    /// What an application is handed when all of them are applied.
    calls: Vec<u8>,
}

/// What is known of a height.
#[derive(Debug)]
enum Known {
    /// Blocks of which one may become final.
    Blocks(Vec<Block>),
    /// Somebody has told what came of it.
    Told,
}

/// All payloads seen of heights of which nobody has told what came of them.
#[derive(Debug, Default)]
pub(crate) struct Authors {
    heights: BTreeMap<u64, Known>,
}

/// What a block asks of whoever executes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// For each command whether its client has made it.
    pub(crate) made: Vec<bool>,
    /// What an application is handed, by what was told to be applied.
    pub(crate) calls: Calls,
}

impl Authors {
    /// A payload was on the wire under a header of this name; `is_made` says of an entry whether
    /// its client has made it. A payload that the header does not name is nobody's.
    pub(crate) fn see(
        &mut self,
        (id, header): (BlockId, &Header),
        payload: &[u8],
        is_made: impl Fn(&[u8]) -> bool,
    ) {
        let height = header.height.number();
        let empty = || Known::Blocks(Vec::new());
        let Known::Blocks(blocks) = self.heights.entry(height).or_insert_with(empty) else {
            return;
        };
        let is_known = blocks.iter().any(|block| block.id == id);
        if is_known || *blake3::hash(payload).as_bytes() != header.payload_hash {
            return;
        }
        if let Ok(commands) = PayloadView::parse(payload) {
            let mut block = Block {
                id,
                commands: Vec::with_capacity(commands.len()),
                calls: Vec::new(),
            };
            for (index, view) in (0..).zip(commands.iter()) {
                write_calls(&context(header, index, &view), &view, &mut block.calls);
                block.commands.push(Seen {
                    session: SessionId(*view.session),
                    seq: view.seq,
                    is_made: is_made(view.entry),
                    calls_end: block.calls.len(),
                });
            }
            blocks.push(block);
        }
    }

    /// A validator tells what came of the commands of a final block: of each of them, in their
    /// order. What the block asks, when it is the first that tells, since the others have to tell
    /// the same (`results`); nothing more of that height is kept from there on.
    pub(crate) fn told(
        &mut self,
        (height, id): (u64, BlockId),
        results: &[CommandResult],
    ) -> Result<Option<Asked>, Violation> {
        let blocks = match self.heights.insert(height, Known::Told) {
            Some(Known::Told) => return Ok(None),
            Some(Known::Blocks(blocks)) => blocks,
            None => Vec::new(),
        };
        let block = blocks.into_iter().find(|block| block.id == id);
        let block = block.ok_or_else(|| {
            let what = format!(
                "the payload of the final block {id:?} of height {height} never was on the wire"
            );
            Violation::new("authors", what)
        })?;
        let of = |seen: &Seen| (seen.session, seen.seq);
        let told = results.iter().map(|result| (result.session, result.seq));
        if !block.commands.iter().map(of).eq(told) {
            let commands: Vec<_> = block.commands.iter().map(of).collect();
            let what = format!("height {height} of {commands:?} comes to {results:?}");
            return Err(Violation::new("authors", what));
        }
        Ok(Some(block.asked(results)))
    }
}

impl Block {
    /// What it asks when this came of its commands.
    fn asked(self, results: &[CommandResult]) -> Asked {
        let is_applied = |result: &CommandResult| result.outcome == Outcome::Applied;
        let calls = if results.iter().all(is_applied) {
            Calls::of(&self.calls)
        } else {
            let mut begin = 0;
            let mut applied = Vec::new();
            for (seen, result) in self.commands.iter().zip(results) {
                let from = std::mem::replace(&mut begin, seen.calls_end);
                if is_applied(result) {
                    applied.extend_from_slice(&self.calls[from..seen.calls_end]);
                }
            }
            Calls::of(&applied)
        };
        Asked {
            made: self.commands.iter().map(|seen| seen.is_made).collect(),
            calls,
        }
    }
}

fn context(header: &Header, index: u32, view: &CommandView<'_>) -> Context {
    Context {
        height: header.height.number(),
        index,
        time_ns: header.time_ns,
        session: SessionId(*view.session),
        seq: view.seq,
        lane: Lane::from_u8(view.lane as u8).unwrap_or(Lane::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use quorate::results::Place;
    use quorate_consensus::payload::{self, Entry, PayloadBuilder, encode_entry};

    const SESSION: SessionId = SessionId([1; 16]);

    fn entry(seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entry = Entry {
            lane: payload::Lane::Order,
            session: &SESSION.0,
            seq,
            signature: None,
            body: b"body",
        };
        encode_entry(&entry, &mut bytes);
        bytes
    }

    /// A block of two commands, with the numbers 2 and 3.
    fn block() -> (Header, Vec<u8>) {
        let mut builder = PayloadBuilder::new();
        builder.push_entry(&entry(2)).unwrap();
        builder.push_entry(&entry(3)).unwrap();
        let payload = builder.finish();
        let header = Header {
            payload_hash: *blake3::hash(&payload).as_bytes(),
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            ..SAMPLE
        };
        (header, payload.to_vec())
    }

    fn result(seq: u64, outcome: Outcome) -> CommandResult {
        let here = Place {
            height: 1,
            index: u32::try_from(seq).unwrap() - 2,
        };
        CommandResult {
            session: SESSION,
            seq,
            outcome,
            applied: (outcome == Outcome::Applied).then_some(here),
            mark: None,
            finality_ns: 0,
        }
    }

    #[test]
    fn only_what_its_client_has_made_is_its_client_s() {
        let (header, payload) = block();
        let told = [2, 3].map(|seq| result(seq, Outcome::Applied));
        let made = entry(3);
        let of = (1, header.id());
        let mut authors = Authors::default();
        authors.see((header.id(), &header), b"other bytes", |_| true);
        assert!(authors.told(of, &told).is_err(), "never seen");
        let mut authors = Authors::default();
        authors.see((header.id(), &header), &payload, |entry| entry == made);
        let asked = authors.told(of, &told).unwrap().unwrap();
        assert_eq!(asked.made, [false, true]);
        authors.see((header.id(), &header), &payload, |_| true);
        assert_eq!(authors.told(of, &told), Ok(None), "it was told before");
    }

    #[test]
    fn what_is_told_of_more_or_fewer_or_other_commands_than_there_are_is_found() {
        let [two, three, four] = [2, 3, 4].map(|seq| result(seq, Outcome::Applied));
        let bob = CommandResult {
            session: SessionId([2; 16]),
            ..three
        };
        let told = |results: &[CommandResult]| {
            let (header, payload) = block();
            let mut authors = Authors::default();
            authors.see((header.id(), &header), &payload, |_| true);
            authors.told((1, header.id()), results).is_ok()
        };
        assert!(told(&[two, three]));
        let others: [&[CommandResult]; 6] = [
            &[],
            &[two],
            &[two, three, four],
            &[three, two],
            &[two, four],
            &[two, bob],
        ];
        for other in others {
            assert!(!told(other), "{other:?}");
        }
    }

    #[test]
    fn what_was_told_to_be_applied_is_to_be_handed_over_and_nothing_else() {
        let calls = |outcomes: [Outcome; 2]| {
            let (header, payload) = block();
            let results = [result(2, outcomes[0]), result(3, outcomes[1])];
            let mut authors = Authors::default();
            authors.see((header.id(), &header), &payload, |_| true);
            let asked = authors.told((1, header.id()), &results).unwrap();
            asked.unwrap().calls
        };
        let written = |seqs: &[u64]| {
            let mut bytes = Vec::new();
            for &seq in seqs {
                let context = Context {
                    height: 1,
                    index: u32::try_from(seq).unwrap() - 2,
                    time_ns: SAMPLE.time_ns,
                    session: SESSION,
                    seq,
                    lane: Lane::Order,
                };
                crate::checks::handed::write_apply(&context, b"body", &mut bytes);
            }
            Calls::of(&bytes)
        };
        let (yes, no) = (Outcome::Applied, Outcome::Duplicate);
        assert_eq!(calls([yes, yes]), written(&[2, 3]));
        assert_eq!(calls([no, yes]), written(&[3]));
        assert_eq!(calls([yes, no]), written(&[2]));
        assert_eq!(calls([no, no]), written(&[]));
    }
}
