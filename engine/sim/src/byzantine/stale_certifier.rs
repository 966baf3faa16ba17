//! Certificates of before, and good ones with another target written over them.
//!
//! Owns the certificates that came and went. Their records are real; what they are said to prove
//! is not what they prove, or nothing new.

use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::message::Message;
use quorate_consensus::types::{Index, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// Certificates kept.
const KEPT_MAX: usize = 64;

/// The one with old papers.
#[derive(Debug, Default)]
pub(crate) struct StaleCertifier {
    kept: Vec<Certificate>,
}

impl StaleCertifier {
    fn keep(&mut self, stage: &mut Stage<'_>, message: &Message) {
        let Message::Certificates(certificates) = message else {
            return;
        };
        for certificate in certificates {
            if self.kept.len() >= KEPT_MAX {
                let place = stage.dice.place(self.kept.len());
                self.kept.swap_remove(place);
            }
            self.kept.push(certificate.clone());
        }
    }

    /// One of the kept ones, as it was or for something else.
    fn stale(&self, stage: &mut Stage<'_>) -> Option<Certificate> {
        let place = stage.dice.place(self.kept.len());
        let mut certificate = self.kept.get(place)?.clone();
        match (stage.dice.below(5), certificate.target) {
            (0, Target::Skip { .. }) => certificate.target = Target::Skip { from: Index::ZERO },
            (0 | 1, Target::Certified { index, id }) => {
                certificate.target = Target::Final { index, id };
            }
            (1, Target::Final { .. }) => certificate.target = Target::Skip { from: Index::ZERO },
            (2, _) => certificate.window = certificate.window.next(),
            (3, _) => drop(certificate.records.pop()),
            _ => {}
        }
        Some(certificate)
    }
}

impl Actor for StaleCertifier {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "propose"),
            (Deed::Changed, "certificates"),
            (Deed::Made, "certificates"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        self.keep(stage, &message);
        if let Message::Certificates(certificates) = &mut message
            && stage.dice.percent(60)
        {
            *certificates = self.stale(stage).into_iter().collect();
        }
        if let Message::Propose(propose) = &mut message
            && !propose.justification.is_empty()
        {
            propose.justification = self.stale(stage).into_iter().collect();
        }
        stage.send(to, message);
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        _: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        self.keep(stage, &message);
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if stage.dice.percent(25)
            && let Some(certificate) = self.stale(stage)
        {
            let to = stage.any_peer();
            stage.send(to, Message::Certificates(vec![certificate]));
        }
    }
}
