//! Restarted from an older copy of its disk, and deaf to those who know better.
//!
//! Owns the times of copies and restarts, and hides from its replica what the fence of R12 would
//! tell it: so what its first life said is forgotten, and its second says something else.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{DISK, Deed, Done};
use super::stage::{Stage, Wish};

const MS: u64 = 1_000_000;

/// The one that forgets.
#[derive(Debug, Default)]
pub(crate) struct Amnesiac {
    copied: bool,
    next_ns: u64,
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
        if let Message::FenceAnswer { held, .. } = &mut message {
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
