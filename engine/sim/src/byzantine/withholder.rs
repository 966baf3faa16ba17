//! A leader that shows its blocks to as few as it dares, and a voter that votes late.
//!
//! Owns the choice of those who are shown a window's blocks: weight Q, just less, AMP, or one
//! validator. Own votes leave only when others have given up waiting.

use quorate_consensus::message::Message;
use quorate_consensus::types::{Stake, ValidatorIndex, Window};

use super::Actor;
use super::stage::Stage;

const MS: u64 = 1_000_000;

/// The leader that keeps its blocks to itself.
#[derive(Debug, Default)]
pub(crate) struct Withholder;

/// Whether a peer is among the chosen of a window.
fn is_chosen(stage: &Stage<'_>, window: Window, peer: ValidatorIndex) -> bool {
    let thresholds = stage.set.thresholds();
    let (wanted, is_below) = match window.number() % 4 {
        0 => (thresholds.quorum, false),
        1 => (thresholds.quorum, true),
        2 => (thresholds.amplify, false),
        _ => (Stake::new(1), false),
    };
    let mut weight = stage.set.stake(stage.own);
    let peers = stage.peers();
    let start = usize::try_from(window.number()).unwrap_or(0) % peers.len().max(1);
    for &one in peers.iter().cycle().skip(start).take(peers.len()) {
        let mut more = weight;
        more.add(stage.set.stake(one));
        if weight >= wanted || (is_below && more >= wanted) {
            return false;
        }
        if one == peer {
            return true;
        }
        weight = more;
    }
    false
}

impl Actor for Withholder {
    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        match &message {
            Message::Propose(propose) => {
                let window = propose.header.window;
                if is_chosen(stage, window, to) {
                    stage.send(to, message);
                }
            }
            Message::HeaderSignature { header, .. } => {
                let window = header.window;
                if is_chosen(stage, window, to) {
                    stage.send(to, message);
                }
            }
            // Whoever was not shown a block does not get it for the asking either.
            Message::Block { header, .. } => {
                let window = header.window;
                if !stage.leads(window) || is_chosen(stage, window, to) {
                    stage.send(to, message);
                }
            }
            Message::Vote(_) => {
                let delay_ns = stage.dice.between(20, 300) * MS;
                stage.send_later(to, message, delay_ns);
            }
            _ => stage.send(to, message),
        }
    }
}
