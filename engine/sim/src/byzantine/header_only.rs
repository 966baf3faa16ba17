//! Headers without bodies: a leader whose blocks are known, signed and voted for, and not there.
//!
//! Owns the headers of own blocks and their showing. Never: a body, whoever asks for one.

use std::collections::BTreeMap;

use quorate_consensus::header::Header;
use quorate_consensus::message::{Get, Message};
use quorate_consensus::types::{BlockId, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The leader of empty promises.
#[derive(Debug, Default)]
pub(crate) struct HeaderOnly {
    headers: BTreeMap<BlockId, Header>,
}

impl Actor for HeaderOnly {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Withheld, "propose"),
            (Deed::Withheld, "block"),
            (Deed::Made, "signature"),
            (Deed::Made, "headers"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        match message {
            Message::Propose(propose) => {
                let header = propose.header;
                self.headers.insert(header.id(), header);
                let signature = stage.sign_header(&header);
                stage.send(to, Message::HeaderSignature { header, signature });
                let window = header.window;
                let headers = vec![header];
                stage.send(to, Message::Headers { window, headers });
                if let Some(record) = propose.record {
                    stage.vote(to, window, record, true);
                }
            }
            // Some blocks it does give, so that chains begin well and end in nothing.
            Message::Block { header, payload } if header.index.number().is_multiple_of(4) => {
                stage.send(to, Message::Block { header, payload });
            }
            Message::Block { .. } => {}
            other => stage.send(to, other),
        }
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        if let Message::Get(Get::Headers { window, id, .. }) = &message
            && let Some(header) = self.headers.get(id)
        {
            let (window, headers) = (*window, vec![*header]);
            stage.send(from, Message::Headers { window, headers });
        }
        Some(message)
    }
}
