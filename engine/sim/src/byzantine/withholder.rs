//! A leader that shows its blocks to as few as it dares, and a voter that votes late.
//!
//! Owns the choice of those who are shown a window's blocks: weight Q, just less, AMP, or one
//! validator. In every other four windows headers and certificates go to everybody, and bodies to
//! nobody who asks, whoever made them. The own vote leaves only when others have given up waiting,
//! in whatever message it stands.

use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Stake, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, own_record};

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

/// Whether all is shown of a window but bodies to those who ask for them.
fn withholds_bodies(window: Window) -> bool {
    (window.number() / 4) % 2 == 1
}

/// The own vote leaves later, in a message of its own.
fn say_late(stage: &mut Stage<'_>, to: ValidatorIndex, window: Window, record: Record) {
    let vote = Vote {
        epoch: stage.set.epoch(),
        window,
        record,
        signature: None,
    };
    let delay_ns = stage.dice.between(20, 300) * MS;
    stage.send_later(to, Message::Vote(vote), delay_ns);
}

fn propose(stage: &mut Stage<'_>, to: ValidatorIndex, mut propose: Propose) {
    let header = propose.header;
    let window = header.window;
    if !is_chosen(stage, window, to) {
        if withholds_bodies(window) {
            let signature = stage.sign_header(&header);
            stage.send(to, Message::HeaderSignature { header, signature });
            let headers = vec![header];
            stage.send(to, Message::Headers { window, headers });
        }
        return;
    }
    if let Some(record) = propose.record.take() {
        say_late(stage, to, window, record);
    }
    stage.send(to, Message::Propose(propose));
}

impl Actor for Withholder {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Withheld, "propose"),
            (Deed::Withheld, "block"),
            (Deed::Withheld, "signature"),
            (Deed::Delayed, "vote"),
            (Deed::Made, "headers"),
            (Deed::Changed, "status"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        match message {
            Message::Propose(one) => return propose(stage, to, one),
            Message::HeaderSignature { header, .. } => {
                let window = header.window;
                if withholds_bodies(window) || is_chosen(stage, window, to) {
                    stage.send(to, message);
                }
                return;
            }
            // Whoever was not shown a block does not get it for the asking either.
            Message::Block { header, .. } => {
                let window = header.window;
                let is_shown = !stage.leads(window) || is_chosen(stage, window, to);
                if is_shown && !withholds_bodies(window) {
                    stage.send(to, message);
                }
                return;
            }
            Message::Vote(_) => {
                let delay_ns = stage.dice.between(20, 300) * MS;
                return stage.send_later(to, message, delay_ns);
            }
            _ => {}
        }
        if let Some((window, record)) = own_record(&mut message) {
            let record = std::mem::take(record);
            say_late(stage, to, window, record);
        }
        stage.send(to, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byzantine::stage::{Outgoing, Plot, Words};
    use crate::dice::Dice;
    use crate::keyring::Keyring;
    use crate::plan::{Plan, RunOptions};
    use quorate_consensus::header::{HEADER_VERSION, Header};
    use quorate_consensus::message::Status;
    use quorate_consensus::types::{BlockId, Height, Index, Point};

    const OWN: ValidatorIndex = ValidatorIndex::new(0);

    /// What leaves when the replica says this to each of three peers.
    fn said(message: &Message) -> Vec<Outgoing> {
        let plan = Plan {
            stakes: vec![1; 4],
            fault: 1,
            slack: 0,
            ..Plan::draw(&RunOptions::default())
        };
        let ring = Keyring::new(4, plan.scheme);
        let set = plan.set(ring.keys()).unwrap();
        let mut plot = Plot::new(vec![OWN]);
        let mut stage = Stage {
            own: OWN,
            set: &set,
            key: &ring.keys()[0],
            now_ns: 0,
            dice: &mut Dice::new(1, "withholder"),
            plot: &mut plot,
            out: Vec::new(),
            wishes: Vec::new(),
        };
        for peer in stage.peers() {
            Withholder.say(&mut stage, peer, message.clone());
        }
        stage.out
    }

    fn record() -> Record {
        Record {
            stop: true,
            ..Record::default()
        }
    }

    fn header(window: u64) -> Header {
        Header {
            version: HEADER_VERSION,
            window: Window::new(window),
            ..crate::checks::SAMPLE
        }
    }

    fn proposal(window: u64) -> Message {
        Message::Propose(Propose {
            header: header(window),
            payload: b"body".as_slice().into(),
            justification: Vec::new(),
            record: Some(record()),
        })
    }

    fn status() -> Message {
        let point = Point {
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::ZERO,
            id: BlockId::new([0; 32]),
        };
        Message::Status(Status {
            epoch: quorate_consensus::types::Epoch::ZERO,
            finalized: point,
            proven: point,
            window: Window::ZERO,
            record: record(),
            gap: None,
            ready: Vec::new(),
            flushed: Height::ZERO,
            abstains: false,
            recovering: false,
            no_proposals: false,
        })
    }

    fn messages(said: Vec<Outgoing>, is_late: bool) -> Vec<Message> {
        let chosen = said.into_iter().filter(|one| (one.delay_ns > 0) == is_late);
        let words = chosen.map(|one| match one.words {
            Words::Message(message) => *message,
            Words::Bytes(_) => panic!("no message"),
        });
        words.collect()
    }

    #[test]
    fn no_message_shows_the_own_vote_in_time_and_each_shows_it_late() {
        for message in [status(), proposal(0)] {
            let mut late = messages(said(&message), true);
            assert!(!late.is_empty(), "{message:?}");
            for vote in &mut late {
                assert_eq!(
                    own_record(vote).map(|found| found.1.clone()),
                    Some(record())
                );
            }
            let mut in_time = messages(said(&message), false);
            assert_eq!(in_time.len(), late.len());
            for message in &mut in_time {
                let shown = own_record(message).map(|found| found.1.clone());
                assert!(shown.is_none_or(|shown| shown == Record::default()));
            }
        }
    }

    #[test]
    fn in_every_other_four_windows_all_see_headers_and_nobody_gets_a_body_for_the_asking() {
        let block = |window| Message::Block {
            header: header(window),
            payload: b"body".as_slice().into(),
        };
        assert!(!said(&block(0)).is_empty());
        assert!(said(&block(4)).is_empty());
        let is_headers = |message: &Message| matches!(message, Message::Headers { .. });
        let is_body = |message: &Message| matches!(message, Message::Propose(_));
        let shown = messages(said(&proposal(4)), false);
        let bodies = shown.iter().filter(|one| is_body(one)).count();
        let headers = shown.iter().filter(|one| is_headers(one)).count();
        assert!(bodies > 0 && headers > 0);
        assert_eq!(bodies + headers, 3);
        let shown = messages(said(&proposal(0)), false);
        assert!(shown.iter().all(is_body) && shown.len() < 3);
    }
}
