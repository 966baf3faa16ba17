//! A leader and gateway that makes up commands of clients, in a chain where these are signed.
//!
//! Owns the ways of making them up, without the client's key. Its own replica checks no signature
//! (`member`), so what it takes in stands in its blocks; those are valid, since validity never
//! depends on a signature. Some it hands to honest validators, as a gateway would.

use quorate_consensus::message::Message;
use quorate_consensus::payload::{CommandView, Entry, encode_flagged_entry, parse_entries};
use quorate_consensus::signing::Signer as _;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// Of so many of a hundred commands that it is to put into a block it makes up another one.
const FORGED_PERCENT: u64 = 50;
/// Entries of clients remembered.
const KEPT_MAX: usize = 16;
/// Bytes of the key that an opening command's body begins with.
const KEY_BYTES: usize = 32;

/// The one that signs for others.
#[derive(Debug, Default)]
pub(crate) struct Forger {
    /// What clients made, to be made into something else.
    heard: Vec<Vec<u8>>,
}

impl Forger {
    fn remember(&mut self, stage: &mut Stage<'_>, entry: &[u8]) {
        if self.heard.len() >= KEPT_MAX {
            let place = stage.dice.place(self.heard.len());
            self.heard.swap_remove(place);
        }
        self.heard.push(entry.to_vec());
    }
}

/// Another command in the name of the client of `view`: of the same number or the next one.
fn forge(stage: &mut Stage<'_>, view: &CommandView<'_>, is_same_number: bool) -> Vec<u8> {
    let mut body = view.body.to_vec();
    let seq = if is_same_number || view.is_open() {
        view.seq
    } else {
        view.seq.saturating_add(1)
    };
    let manner = stage.dice.below(5);
    if manner != 4 {
        body.push(b'!');
    }
    let signature = match manner {
        0 => None,
        1 => Some([7; 64]),
        // That of the true command, under another body.
        2 => view.signature.copied(),
        // A good one, of the wrong key.
        3 => Some(stage.key.sign(&body)),
        // The true command with a bit of its signature changed.
        _ => view.signature.map(|signature| {
            let mut changed = *signature;
            changed[stage.dice.place(changed.len())] ^= 1;
            changed
        }),
    };
    let entry = Entry {
        lane: view.lane,
        session: view.session,
        seq,
        signature: signature.as_ref(),
        body: &body,
    };
    debug_assert!(!view.is_open() || body.len() >= KEY_BYTES, "the key stays");
    let mut bytes = Vec::new();
    encode_flagged_entry(&entry, view.flags, &mut bytes);
    bytes
}

impl Actor for Forger {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Misheard, "forward"), (Deed::Made, "forward")]
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        _: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        let Message::Forward(entries) = &message else {
            return Some(message);
        };
        let Ok(commands) = parse_entries(entries) else {
            return Some(message);
        };
        let mut taken = Vec::with_capacity(entries.len());
        for view in commands {
            self.remember(stage, view.entry);
            if stage.dice.percent(FORGED_PERCENT) {
                taken.extend(forge(stage, &view, true));
            } else {
                taken.extend_from_slice(view.entry);
            }
        }
        Some(Message::Forward(taken.into()))
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if self.heard.is_empty() || !stage.dice.percent(10) {
            return;
        }
        let place = stage.dice.place(self.heard.len());
        let entry = self.heard[place].clone();
        let Some(view) = parse_entries(&entry).ok().and_then(|mut all| all.next()) else {
            return;
        };
        let is_same_number = stage.dice.percent(50);
        let forged = forge(stage, &view, is_same_number);
        let to = stage.any_peer();
        stage.send(to, Message::Forward(forged.into()));
    }
}
