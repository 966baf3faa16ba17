//! A leader whose clock is far ahead or far behind, in turn.
//!
//! Owns the clock of its own machine. Its blocks are valid: time above the parent's is all that
//! validity asks.

use super::Actor;
use super::deeds::{CLOCK, Deed, Done};
use super::stage::{Stage, Wish};

const MS: i64 = 1_000_000;

/// The one with the wrong time.
#[derive(Debug, Default)]
pub(crate) struct TimeLiar {
    until_ns: u64,
}

impl Actor for TimeLiar {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Rigged, CLOCK)]
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if stage.now_ns < self.until_ns {
            return;
        }
        self.until_ns = stage.now_ns + stage.dice.between(5, 200) * 1_000_000;
        let choices = [
            400 * MS,
            501 * MS,
            3_000 * MS,
            3_600_000 * MS,
            -400 * MS,
            -6_000 * MS,
            -3_600_000 * MS,
            0,
        ];
        let offset_ns = stage.dice.one_of(&choices).unwrap_or(0);
        stage.wishes.push(Wish::Clock(offset_ns));
    }
}
