//! Another epoch: everything as it should be, but for a validator set that does not exist.
//!
//! Owns the change of epochs in own words, in a part of them.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The one that is ahead of its time.
#[derive(Debug, Default)]
pub(crate) struct Reconfigurer;

impl Actor for Reconfigurer {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "propose"),
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Changed, "certificates"),
            (Deed::Changed, "headers"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if stage.dice.percent(50) {
            return stage.send(to, message);
        }
        let next = stage.set.epoch().next();
        match &mut message {
            Message::Propose(propose) => {
                propose.header.epoch = next;
                for certificate in &mut propose.justification {
                    certificate.epoch = next;
                }
            }
            Message::Vote(vote) => vote.epoch = next,
            Message::Status(status) => status.epoch = next,
            Message::Certificates(certificates) => {
                for certificate in certificates {
                    certificate.epoch = next;
                }
            }
            Message::Headers { headers, .. } | Message::History(headers) => {
                for header in headers {
                    header.epoch = next;
                }
            }
            Message::Block { header, .. } => header.epoch = next,
            Message::HeaderSignature { header, signature } => {
                header.epoch = next;
                *signature = stage.sign_header(header);
            }
            _ => {}
        }
        stage.send(to, message);
    }
}
