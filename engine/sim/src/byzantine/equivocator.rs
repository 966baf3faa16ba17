//! Two blocks for every position of an own window, one shown to each half, and votes for both.
//!
//! Owns the second branch and the own words about it. Never: a third branch, or a block that is
//! invalid: each half sees a leader without fault until it compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::header::Header;
use quorate_consensus::message::{Get, Message, Propose};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, change_record};

/// The leader of two faces.
#[derive(Debug, Default)]
pub(crate) struct Equivocator {
    /// By the name of an own block: its twin on the other branch.
    twins: BTreeMap<BlockId, Header>,
    payloads: BTreeMap<BlockId, Arc<[u8]>>,
}

impl Equivocator {
    fn fork(&mut self, stage: &mut Stage<'_>, propose: &Propose) -> Propose {
        let id = propose.header.id();
        let header = match self.twins.get(&id) {
            Some(header) => *header,
            None => self.make_twin(stage, &propose.header),
        };
        let mut record = propose.record.clone();
        if let Some(record) = &mut record {
            self.translate(record);
        }
        let payload = Arc::clone(&propose.payload);
        self.payloads.insert(header.id(), Arc::clone(&payload));
        Propose {
            header,
            payload,
            justification: propose.justification.clone(),
            record,
        }
    }

    fn make_twin(&mut self, stage: &mut Stage<'_>, own: &Header) -> Header {
        let mut header = *own;
        header.time_ns += 1;
        if let Some(parent) = self.twins.get(&own.parent_id) {
            header.parent_id = parent.id();
            header.time_ns = header.time_ns.max(parent.time_ns + 1);
        }
        self.twins.insert(own.id(), header);
        let tops = [(own.index, own.id()), (header.index, header.id())];
        stage.plot.note_fork(own.window, tops);
        header
    }

    /// The record as if the other branch were the own one.
    fn translate(&self, record: &mut Record) {
        let twin = |id: &mut BlockId| {
            if let Some(header) = self.twins.get(id) {
                *id = header.id();
            }
        };
        if let Some((_, id)) = &mut record.tip {
            twin(id);
        }
        record.also.iter_mut().for_each(|(_, id)| twin(id));
        record.also.sort_unstable();
    }

    /// Headers of the other branch for whoever asks for them.
    fn headers(&self, window: Window, top: BlockId) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut id = top;
        while let Some(header) = self.twins.values().find(|header| header.id() == id) {
            if header.window != window {
                break;
            }
            headers.push(*header);
            id = header.parent_id;
        }
        headers.reverse();
        headers
    }

    fn show(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message, other: bool) {
        let mut message = message;
        if other {
            match &mut message {
                Message::Propose(propose) => *propose = self.fork(stage, propose),
                Message::HeaderSignature { header, signature } => {
                    if let Some(twin) = self.twins.get(&header.id()) {
                        *header = *twin;
                        *signature = stage.sign_header(twin);
                    }
                }
                other => {
                    change_record(stage, other, |_, record| self.translate(record));
                }
            }
        }
        stage.send(to, message);
    }
}

impl Actor for Equivocator {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "propose"),
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Changed, "signature"),
            (Deed::Made, "propose"),
            (Deed::Made, "headers"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        let window = match &message {
            Message::Propose(propose) => propose.header.window,
            Message::HeaderSignature { header, .. } => header.window,
            Message::Vote(vote) => vote.window,
            Message::Status(status) => status.window,
            _ => return stage.send(to, message),
        };
        if !stage.leads(window) {
            return stage.send(to, message);
        }
        if let Message::Propose(propose) = &message {
            self.fork(stage, propose);
        }
        let is_votable = matches!(
            message,
            Message::Propose(_) | Message::HeaderSignature { .. }
        );
        // Fellows see both branches; now and then an honest validator does, and can prove it.
        if is_votable && (stage.is_fellow(to) || stage.dice.percent(8)) {
            self.show(stage, to, message.clone(), false);
            self.show(stage, to, message, true);
            return;
        }
        let other = stage.is_other_side(window, to);
        self.show(stage, to, message, other);
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        match &message {
            Message::Get(Get::Headers { window, id, .. }) => {
                let headers = self.headers(*window, *id);
                if !headers.is_empty() {
                    let window = *window;
                    stage.send(from, Message::Headers { window, headers });
                }
            }
            Message::Get(Get::Bodies(blocks)) => {
                for block in blocks {
                    let header = self.twins.values().find(|header| header.id() == block.id);
                    if let (Some(header), Some(payload)) = (header, self.payloads.get(&block.id)) {
                        let (header, payload) = (*header, Arc::clone(payload));
                        stage.send(from, Message::Block { header, payload });
                    }
                }
            }
            _ => {}
        }
        Some(message)
    }
}
