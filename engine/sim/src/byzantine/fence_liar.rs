//! Tells whoever restarts that it has said what it never said, or that nothing is known of it.
//!
//! Owns false answers to the fence of R12 and to the question of R13.

use quorate_consensus::message::{HeldRecord, Message, OwnAnswer, RecoverAnswer};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done, Occasion};
use super::stage::Stage;

/// The false witness.
#[derive(Debug, Default)]
pub(crate) struct FenceLiar {
    window: Window,
}

impl FenceLiar {
    fn lies(&self, stage: &mut Stage<'_>) -> Vec<HeldRecord> {
        (0..stage.dice.below(4)).map(|_| self.held(stage)).collect()
    }

    fn held(&self, stage: &mut Stage<'_>) -> HeldRecord {
        let is_far = stage.dice.percent(30);
        let window = if is_far {
            self.window.plus(stage.dice.below(1_000))
        } else {
            self.window
        };
        let record = Record {
            tip: Some((Index::ZERO, BlockId::new([stage.dice.bytes16()[0]; 32]))),
            stop: stage.dice.percent(50),
            ..Record::default()
        };
        let signature = stage
            .dice
            .percent(50)
            .then(|| stage.sign_record(window, &record));
        HeldRecord {
            window,
            record,
            signature,
        }
    }
}

impl FenceLiar {
    /// A lower window than it ever voted in, one that nothing proves, or an answer to another
    /// question; signed.
    fn answer(&self, stage: &mut Stage<'_>, asker: ValidatorIndex, answer: &mut RecoverAnswer) {
        match stage.dice.below(4) {
            0 => {
                answer.window = Window::ZERO;
                answer.certificates.clear();
            }
            1 => answer.window = answer.window.plus(1 + stage.dice.below(1_000)),
            2 => answer.nonce[0] ^= 1,
            _ => {}
        }
        let said = OwnAnswer {
            asker,
            nonce: answer.nonce,
            window: answer.window,
        };
        answer.signature = stage.sign_answer(&said);
    }
}

impl Actor for FenceLiar {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Made, "fence"), (Deed::Changed, "fence")]
    }

    fn deeds_at(&self, occasion: Occasion) -> &'static [Done] {
        match occasion {
            Occasion::Fork => &[],
            Occasion::Loss => &[(Deed::Changed, "recover")],
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        match &mut message {
            Message::FenceAnswer { held, .. } => {
                *held = self.lies(stage);
            }
            Message::RecoverAnswer(answer) => self.answer(stage, to, answer),
            _ => {}
        }
        stage.send(to, message);
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        match &message {
            Message::Status(status) => self.window = self.window.max(status.window),
            // Asked once, it answers more than once, and each time something else.
            Message::FenceAsk { incarnation } => {
                let incarnation = *incarnation;
                for _ in 0..stage.dice.below(4) {
                    let held = self.lies(stage);
                    stage.send(from, Message::FenceAnswer { incarnation, held });
                }
            }
            _ => {}
        }
        Some(message)
    }
}
