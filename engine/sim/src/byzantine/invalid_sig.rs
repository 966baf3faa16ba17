//! Good channels and bad signatures: what it says counts, and nobody else can be shown it.
//!
//! Owns the damage to every signature that leaves, the own ones and those in certificates, always
//! or in every other window.

use quorate_consensus::certificate::SignatureBytes;
use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The signer of nothing.
#[derive(Debug, Default)]
pub(crate) struct InvalidSig;

fn spoil(stage: &mut Stage<'_>, signature: &mut SignatureBytes) {
    let place = stage.dice.place(signature.len());
    signature[place] ^= 1 << stage.dice.below(8);
}

impl Actor for InvalidSig {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "vote"),
            (Deed::Changed, "certificates"),
            (Deed::Changed, "signature"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        match &mut message {
            Message::Vote(vote) if vote.window.number() % 3 != 2 => {
                if let Some(signature) = &mut vote.signature {
                    spoil(stage, signature);
                }
            }
            Message::HeaderSignature { signature, .. } => spoil(stage, signature),
            Message::Certificates(certificates) => {
                for certificate in certificates {
                    let place = stage.dice.place(certificate.records.len());
                    if let Some(signed) = certificate.records.get_mut(place) {
                        spoil(stage, &mut signed.signature);
                    }
                }
            }
            Message::Propose(propose) => {
                for certificate in &mut propose.justification {
                    if let Some(signed) = certificate.records.first_mut() {
                        spoil(stage, &mut signed.signature);
                    }
                }
            }
            _ => {}
        }
        stage.send(to, message);
    }
}
