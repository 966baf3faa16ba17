//! One validator's consensus under messages of a Byzantine peer, with honest peers beside it.
//!
//! Owns what an input says: a run of the messages that honest peers once sent, in their order, of
//! anything the Byzantine peer makes up, and of time that passes. The honest peers never heard of
//! the validator under test, so whatever it says itself, they have contradicted nothing, and no
//! more than F is Byzantine: what must not be, must not be here. Never: judges by a signature of
//! its own; the Byzantine peer may sign anything, and nobody else's signature can be made up.

mod peers;

use crate::decoder::{Cap, Decoder, Verdict};
use peers::{BYZANTINE, Heard, LINK_MS, Member, UNDER_TEST, heard};
use quorate_consensus::input::Input;
use quorate_consensus::machine::Disposition;
use quorate_consensus::message::Message;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::wire;

/// The next message that an honest peer sent.
const HONEST: u8 = 0;
/// One of the Byzantine peer: four bytes of length and the message follow.
const MADE_UP: u8 = 1;
/// Time passes: a byte of milliseconds follows.
const TIME: u8 = 2;
/// Events of one input; what is behind is not looked at.
const EVENTS_MAX: usize = 400;

/// The machine itself with its windows, whose number the rules bound, and what peers said once.
const CAP: Cap = Cap {
    base_bytes: 1 << 20,
    per_byte: 64,
};

pub(crate) fn decoders() -> Vec<Decoder> {
    let heard = [false, true].map(heard);
    let corpus = (0..).zip(&heard).map(|(number, run)| input(number, run));
    vec![Decoder {
        name: "consensus.machine",
        share: 1,
        is_text: false,
        corpus: corpus.collect(),
        cap: CAP,
        decode: Box::new(move |input| decode(&heard, input)),
        mend: None,
    }]
}

/// The run as it was: its number, and each event in turn.
fn input(number: u8, run: &Heard) -> Vec<u8> {
    let mut bytes = vec![number];
    for event in &run.events {
        match event {
            None => bytes.extend_from_slice(&[TIME, LINK_MS]),
            Some((from, _)) if *from != BYZANTINE => bytes.push(HONEST),
            Some((_, message)) => {
                let mut made_up = Vec::new();
                wire::encode(message, &mut made_up);
                let length = u32::try_from(made_up.len()).unwrap_or(u32::MAX);
                bytes.push(MADE_UP);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&made_up);
            }
        }
    }
    bytes
}

/// Accepted when some message was of use; refused when it ends in what is no event.
fn decode(heard: &[Heard], input: &[u8]) -> Verdict {
    let Some((run, mut rest)) = input
        .split_first()
        .and_then(|(number, rest)| Some((heard.get(usize::from(*number))?, rest)))
    else {
        return Verdict::Refused;
    };
    let said = run.events.iter().flatten();
    let mut honest = said.filter(|(from, _)| *from != BYZANTINE);
    let mut member = Member::new(UNDER_TEST);
    let mut is_of_use = false;
    for _ in 0..EVENTS_MAX {
        let Some((event, after)) = Event::split(rest) else {
            break;
        };
        rest = after;
        let said = match event {
            Event::Time(ms) => {
                member.pass(u64::from(ms));
                continue;
            }
            Event::Honest => match honest.next() {
                Some((from, message)) => (*from, message.clone()),
                None => continue,
            },
            Event::MadeUp(message) => (BYZANTINE, *message),
        };
        let message = Authenticated::assert_authenticated(said.0, said.1);
        is_of_use |= member.input(Input::Message(message)) == Disposition::Applied;
        member.settle();
        member.must_agree(&run.finalized);
    }
    match is_of_use && rest.is_empty() {
        true => Verdict::Accepted,
        false => Verdict::Refused,
    }
}

enum Event {
    Honest,
    MadeUp(Box<Message>),
    Time(u8),
}

impl Event {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            HONEST => Some((Self::Honest, rest)),
            MADE_UP => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let (message, rest) = rest.split_at_checked(length)?;
                let message = wire::decode(message).ok()?.into_message();
                Some((Self::MadeUp(Box::new(message)), rest))
            }
            TIME => {
                let (ms, rest) = rest.split_first()?;
                Some((Self::Time(*ms), rest))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_reach_finality_at_the_validator_under_test_with_and_without_the_byzantine_peer() {
        for is_silent in [false, true] {
            let run = heard(is_silent);
            assert!(run.finalized.len() > 3, "{}", run.finalized.len());
            let mut member = Member::new(UNDER_TEST);
            for event in &run.events {
                match event {
                    None => member.pass(u64::from(LINK_MS)),
                    Some((from, message)) => {
                        let message = Authenticated::assert_authenticated(*from, message.clone());
                        member.input(Input::Message(message));
                        member.settle();
                    }
                }
            }
            member.must_agree(&run.finalized);
            assert!(member.finalized.len() > 2, "{}", member.finalized.len());
        }
    }

    #[test]
    #[should_panic(expected = "two blocks are final")]
    fn another_block_than_that_of_the_others_is_found() {
        let run = heard(false);
        let mut member = Member::new(UNDER_TEST);
        let (height, _) = run.finalized.iter().next().unwrap();
        let other = quorate_consensus::types::BlockId::new([1; 32]);
        member.finalized.insert(*height, other);
        member.must_agree(&run.finalized);
    }
}
