//! Another chain: headers of another set or chain, and signatures under another genesis.
//!
//! Owns the change of names in own words, in a part of them.

use quorate_consensus::header::Header;
use quorate_consensus::message::Message;
use quorate_consensus::signing::{Signer as _, domains, record_message};
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// Bytes of a chain's id: the genesis hash stands behind domain and chain id.
const CHAIN_ID_BYTES: usize = 32;

/// The one that is on another chain.
#[derive(Debug, Default)]
pub(crate) struct WrongChain;

fn misname(stage: &mut Stage<'_>, header: &mut Header) {
    if stage.dice.percent(50) {
        header.chain_id[0] ^= 1;
    } else {
        header.set_hash[31] ^= 0x80;
    }
}

impl Actor for WrongChain {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "propose"),
            (Deed::Changed, "vote"),
            (Deed::Changed, "headers"),
            (Deed::Changed, "signature"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if stage.dice.percent(50) {
            return stage.send(to, message);
        }
        match &mut message {
            Message::Propose(propose) => misname(stage, &mut propose.header),
            Message::Block { header, .. } => misname(stage, header),
            Message::HeaderSignature { header, signature } => {
                misname(stage, header);
                *signature = stage.sign_header(header);
            }
            Message::Headers { headers, .. } | Message::History(headers) => {
                headers.iter_mut().for_each(|header| misname(stage, header));
            }
            Message::Vote(vote) if vote.signature.is_some() => {
                let mut bytes = Vec::new();
                record_message(stage.set, stage.own, vote.window, &vote.record, &mut bytes);
                bytes[domains::RECORD.len() + CHAIN_ID_BYTES] ^= 1;
                vote.signature = Some(stage.key.sign(&bytes));
            }
            _ => {}
        }
        stage.send(to, message);
    }
}
