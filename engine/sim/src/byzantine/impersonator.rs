//! Words in another's name: records, headers, proposals and evidence that others never made.
//!
//! Owns the forgeries, each with the own signature or with bytes of chance in place of theirs.

use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::evidence::{Evidence, SignedHeader};
use quorate_consensus::header::Header;
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The forger.
#[derive(Debug, Default)]
pub(crate) struct Impersonator {
    window: Window,
    header: Option<Header>,
}

impl Impersonator {
    fn forged(&self, stage: &Stage<'_>, record: &Record, by: ValidatorIndex) -> SignedRecord {
        SignedRecord {
            validator: by,
            record: record.clone(),
            signature: stage.sign_record(self.window, record),
        }
    }

    /// A certificate of everybody's records, all but one of them made up.
    fn certificate(&self, stage: &mut Stage<'_>) -> Message {
        let from = Index::ZERO;
        let (record, target, headers) = match self.header {
            Some(header) if stage.dice.percent(50) => {
                let (index, id) = (header.index, header.id());
                let record = Record {
                    tip: Some((index, id)),
                    fin: Some(index),
                    ..Record::default()
                };
                (record, Target::Final { index, id }, vec![header])
            }
            _ => {
                let record = Record {
                    stop: true,
                    ..Record::default()
                };
                (record, Target::Skip { from }, Vec::new())
            }
        };
        let window = match target {
            Target::Skip { .. } => self.window,
            _ => self.header.map_or(self.window, |header| header.window),
        };
        let all = stage.set.indices();
        let records = all.map(|by| self.forged(stage, &record, by)).collect();
        Message::Certificates(vec![Certificate {
            epoch: stage.set.epoch(),
            window,
            target,
            records,
            headers,
        }])
    }

    /// Two records that somebody else never signed.
    fn evidence(&self, stage: &Stage<'_>, against: ValidatorIndex) -> Evidence {
        let stopped = Record {
            stop: true,
            ..Record::default()
        };
        let voted = Record {
            tip: self.header.map(|header| (header.index, header.id())),
            ..Record::default()
        };
        let records = [stopped, voted].map(|record| self.forged(stage, &record, against));
        Evidence::TwoRecords {
            epoch: stage.set.epoch(),
            window: self.window,
            validator: against,
            records: Box::new(records),
            headers: Vec::new(),
        }
    }

    fn two_headers(stage: &Stage<'_>, header: Header) -> Evidence {
        let mut second = header;
        second.time_ns += 1;
        let signed = [header, second].map(|header| SignedHeader {
            header,
            signature: stage.sign_header(&header),
        });
        Evidence::TwoHeaders(Box::new(signed))
    }
}

impl Actor for Impersonator {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Made, "propose"),
            (Deed::Made, "vote"),
            (Deed::Made, "certificates"),
            (Deed::Made, "signature"),
            (Deed::Made, "evidence"),
        ]
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        match &message {
            Message::Propose(propose) => {
                self.header = Some(propose.header);
                self.window = propose.header.window;
                // Somebody else's block once more, as if it were the own one, with another time.
                if stage.dice.percent(10) {
                    let mut forged = propose.clone();
                    forged.header.time_ns += 1;
                    forged.record = None;
                    let to = stage.any_peer();
                    stage.send(to, Message::Propose(forged));
                }
            }
            Message::Status(status) => self.window = self.window.max(status.window),
            Message::Vote(vote) if stage.dice.percent(5) => {
                // A peer's own record comes back to others over the own channel, as its record.
                let to = stage.any_peer();
                if to != from {
                    stage.send(to, Message::Vote(vote.clone()));
                }
            }
            _ => {}
        }
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if !stage.dice.percent(15) {
            return;
        }
        let to = stage.any_peer();
        let message = match (stage.dice.below(4), self.header) {
            (0, Some(header)) => {
                let mut header = header;
                header.time_ns += stage.dice.below(2);
                let signature = stage.sign_header(&header);
                Message::HeaderSignature { header, signature }
            }
            (1, Some(header)) => Message::Evidence(Self::two_headers(stage, header)),
            (2, _) => {
                let against = stage.any_peer();
                Message::Evidence(self.evidence(stage, against))
            }
            _ => self.certificate(stage),
        };
        stage.send(to, message);
    }
}
