//! What the script says in the name of a Byzantine validator.
//!
//! Owns the making of its blocks and records; its key is real, so its signatures are good. Never:
//! lets it forge anybody else's word.

use quorate_consensus::effect::Destination;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::types::{Height, Index, ValidatorIndex, Window};

use super::command::Saying;
use super::line::Line;
use super::names::{NamedBlock, payload_named, v};
use super::stage::Stage;

impl Stage {
    /// A Byzantine validator says something to some others; it is in flight then.
    pub(crate) fn say_as(
        &mut self,
        from: ValidatorIndex,
        to: &[ValidatorIndex],
        what: &Saying,
    ) -> Result<(), String> {
        if !self.member(from).is_byzantine {
            return Err(format!("{} is honest: it speaks for itself", v(from)));
        }
        let message = match what {
            Saying::Propose {
                name,
                window,
                parent,
            } => {
                if !self.names.holds(name) {
                    self.make_block(name, *window, parent)?;
                }
                let block = self.names.block(name)?;
                Message::Propose(Propose {
                    header: block.header,
                    payload: block.payload.clone(),
                    justification: Vec::new(),
                    record: None,
                })
            }
            Saying::Vote { window, record } => {
                let record = self.names.record_of(record)?;
                let signature = Some(self.sign_record(from, *window, &record));
                Message::Vote(Vote {
                    epoch: self.set.epoch(),
                    window: *window,
                    record,
                    signature,
                })
            }
            Saying::Signature { name } => {
                let header = self.names.block(name)?.header;
                let signature = self.sign_header(from, &header);
                Message::HeaderSignature { header, signature }
            }
        };
        let receivers: Vec<ValidatorIndex> = to.iter().copied().filter(|&to| to != from).collect();
        let (before, names, after) = self.names.message(&message);
        let line = Line::about(from, "->", before, names, &after);
        self.lines
            .push(line.with(" to ", receivers.iter().copied()));
        for to in receivers {
            self.send(from, Destination::Peer(to), &message);
        }
        Ok(())
    }

    /// A block as its leader would make it, on any parent the script names.
    fn make_block(&mut self, name: &str, window: Window, parent: &str) -> Result<(), String> {
        let (parent_id, height, time_ns, index) = if parent == "genesis" {
            let genesis = self.set.genesis();
            let time_ns = self.set.genesis_time_ns();
            (genesis.id, Height::ZERO, time_ns, Index::ZERO)
        } else {
            let below = self.names.block(parent)?;
            let is_inside = below.header.window == window;
            let index = if is_inside {
                below.header.index.next()
            } else {
                Index::ZERO
            };
            (below.id, below.header.height, below.header.time_ns, index)
        };
        let payload = payload_named(name);
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *self.set.chain_id(),
            epoch: self.set.epoch(),
            set_hash: *self.set.set_hash(),
            window,
            index,
            height: height.next(),
            time_ns: time_ns + 1,
            parent_id,
            payload_hash: *blake3::hash(&payload).as_bytes(),
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        };
        let id = header.id();
        self.names.learn(
            name,
            NamedBlock {
                id,
                header,
                payload,
            },
        );
        Ok(())
    }
}
