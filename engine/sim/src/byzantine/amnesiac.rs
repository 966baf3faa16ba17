//! Restarted from an older copy of its disk, and in half of the runs deaf to those who know better.
//!
//! Owns the times of copies and restarts. A deaf one hides from its replica what the fence of R12
//! would tell it: so what its first life said is forgotten, and its second says something else. The
//! replica of one that listens has to notice.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{DISK, Deed, Done};
use super::stage::{Stage, Wish};
use crate::dice::Dice;

const MS: u64 = 1_000_000;
/// So many of a hundred runs have one that listens to its fence.
const LISTENS_PERCENT: u64 = 50;
/// Seeds that tests have for what they once found: it was deaf then.
const DEAF_SEEDS: [u64; 3] = [160, 20_394, 150_050];

/// The one that forgets.
#[derive(Debug)]
pub(crate) struct Amnesiac {
    listens: bool,
    copied: bool,
    next_ns: u64,
}

impl Amnesiac {
    /// From a stream of its own, so that a deaf one does what it did before any listened.
    pub(crate) fn new(seed: u64) -> Self {
        let listens = Dice::new(seed, "amnesiac listens").percent(LISTENS_PERCENT);
        Self {
            listens: listens && !DEAF_SEEDS.contains(&seed),
            copied: false,
            next_ns: 0,
        }
    }
}

impl Actor for Amnesiac {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Rigged, DISK), (Deed::Misheard, "fence")]
    }

    fn hear(
        &mut self,
        _: &mut Stage<'_>,
        _: ValidatorIndex,
        mut message: Message,
    ) -> Option<Message> {
        if let Message::FenceAnswer { held, .. } = &mut message
            && !self.listens
        {
            held.clear();
        }
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if stage.now_ns < self.next_ns {
            return;
        }
        self.next_ns = stage.now_ns + stage.dice.between(10, 150) * MS;
        if self.copied {
            stage.wishes.push(Wish::RestoreDisk);
        }
        // Some copies are kept over several restarts.
        if !self.copied || stage.dice.percent(40) {
            self.copied = true;
            stage.wishes.push(Wish::CopyDisk);
        }
    }
}
