//! Sessions that their clients close and open anew: one visit after the other, of the same key.
//!
//! Owns the numbers of a client's openings, when it closes, and what it has of the visit before, to
//! be sent again. An opening's number is a time, so that of each visit is above all numbers of the
//! visits before. Never: sends anything (`clients`), or knows what became of it (`checks`).

use quorate::lanes::Rejection;
use quorate::sessions::OPENING_LIFE_NS;

use crate::dice::Dice;
use crate::plan::WALL_START_NS;

/// Of so many of a hundred commands of an open session one closes it.
const CLOSE_PERCENT: u64 = 8;
/// So many of a hundred openings say that they are of a time to come.
const FAR_PERCENT: u64 = 30;
/// In so many of a hundred of its ticks a client sends something of the visit before again.
const REPLAY_PERCENT: u64 = 15;
/// Such an opening is ahead by so much more than it may be: longer than any run goes on.
const FAR_NS: u64 = 100_000_000_000;
/// Entries of a visit that are kept to be sent again: its first ones.
const KEPT_MAX: usize = 16;

/// What a command does with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It opens it, and its number is a time at which it may be opened.
    Opens,
    /// It would open it, and its number is of a time that is far ahead throughout the run.
    OpensTooFar,
    /// It ends it.
    Closes,
    /// It is for the application.
    Commands,
}

impl Deed {
    /// Whether it is flagged as an opening.
    pub(crate) const fn opens(self) -> bool {
        matches!(self, Self::Opens | Self::OpensTooFar)
    }
}

/// What a validator's refusal says to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session has ended, as the client wished: all that was before its end was applied.
    Ended,
    /// It has its reason, and the client goes on.
    Expected,
    /// There is no reason for it.
    Unfounded,
}

/// A client's present visit, and what is left of the last one.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Number of its opening.
    opening: u64,
    /// Number of the command that ends it, until that is known to have been applied.
    closes_at: Option<u64>,
    is_closed: bool,
    /// An opening of a time to come that nobody has refused yet.
    far: Option<u64>,
    /// Last number of the visit before.
    ended: Option<u64>,
    said: Vec<Vec<u8>>,
    said_before: Vec<Vec<u8>>,
}

impl Visit {
    /// The number and the deed of the next command behind `last_seq`; none while the client waits
    /// for the end of its session, or for what becomes of its opening. `is_opened`: the opening is
    /// known to have been applied. `may_close`: there are commands left to open a session with.
    pub(crate) fn next(
        &mut self,
        (last_seq, now_ns): (u64, u64),
        (is_opened, may_close): (bool, bool),
        dice: &mut Dice,
    ) -> Option<(u64, Deed)> {
        if self.closes_at.is_some() || self.far.is_some() {
            return None;
        }
        if self.is_closed {
            let wall_ns = WALL_START_NS.saturating_add(now_ns);
            if dice.percent(FAR_PERCENT) {
                let far = wall_ns + OPENING_LIFE_NS + FAR_NS;
                self.far = Some(far);
                return Some((far, Deed::OpensTooFar));
            }
            self.is_closed = false;
            self.opening = wall_ns.max(last_seq + 1);
            return Some((self.opening, Deed::Opens));
        }
        let seq = last_seq + 1;
        if is_opened && may_close && dice.percent(CLOSE_PERCENT) {
            self.closes_at = Some(seq);
            return Some((seq, Deed::Closes));
        }
        Some((seq, Deed::Commands))
    }

    /// Number of the opening.
    pub(crate) const fn opening(&self) -> u64 {
        self.opening
    }

    /// The client has made this command of the visit.
    pub(crate) fn keep(&mut self, entry: &[u8]) {
        if self.said.len() < KEPT_MAX {
            self.said.push(entry.to_vec());
        }
    }

    /// Now and then, what is to be sent again of the visit before.
    pub(crate) fn replay(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        if self.said_before.is_empty() || !dice.percent(REPLAY_PERCENT) {
            return None;
        }
        match dice.below(3) {
            0 => self.said_before.first().cloned(),
            1 => Some(self.said_before.concat()),
            _ => {
                let place = dice.place(self.said_before.len());
                self.said_before.get(place).cloned()
            }
        }
    }

    /// Whether this is the number of the command that ends the visit.
    pub(crate) fn closes_at(&self, seq: u64) -> bool {
        self.closes_at == Some(seq)
    }

    /// The visit is known to have ended.
    pub(crate) fn end(&mut self) {
        self.ended = self.closes_at.take();
        self.is_closed = true;
        self.said_before = std::mem::take(&mut self.said);
    }

    /// Nobody will take this opening. Whether it was the one of a time to come.
    pub(crate) fn give_up_far(&mut self, seq: u64) -> bool {
        self.far.take_if(|far| *far == seq).is_some()
    }

    /// What a validator's refusal of a command means. `is_clock_good`: that of the validator.
    pub(crate) fn judge(&self, seq: u64, rejection: Rejection, is_clock_good: bool) -> Refusal {
        let is_old = self.ended.is_some_and(|ended| seq <= ended);
        let is_own = seq >= self.opening;
        let is_expected = match rejection {
            Rejection::SessionEnded if self.closes_at(seq) => return Refusal::Ended,
            Rejection::SessionEnded => {
                is_old || (is_own && self.closes_at.is_some_and(|end| seq <= end))
            }
            // Validators judge openings at the door by their own clocks.
            Rejection::OpeningTooFarAhead | Rejection::OpeningTooOld if !is_clock_good => true,
            Rejection::OpeningTooFarAhead => self.far == Some(seq),
            // One that is behind knows a visit before this one, and may hold another's opening.
            Rejection::SessionOpen | Rejection::TooFarAhead => self.ended.is_some(),
            Rejection::Conflict => {
                let is_opening = seq == self.opening || self.far == Some(seq);
                self.ended.is_some() && (is_old || is_opening)
            }
            _ => false,
        };
        if is_expected {
            Refusal::Expected
        } else {
            Refusal::Unfounded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(visit: &mut Visit, last_seq: u64, dice: &mut Dice) -> (u64, Deed) {
        visit.next((last_seq, 77), (true, true), dice).unwrap()
    }

    /// A visit that has been closed by its number 9.
    fn closed(dice: &mut Dice) -> Visit {
        let mut visit = Visit::default();
        visit.keep(b"opening");
        visit.keep(b"command");
        while next(&mut visit, 8, dice) != (9, Deed::Closes) {}
        visit
    }

    #[test]
    fn a_session_is_opened_anew_above_all_it_had_and_nothing_is_made_before_its_end_is_known() {
        let mut dice = Dice::new(1, "visits");
        let mut visit = closed(&mut dice);
        assert_eq!(visit.next((9, 77), (true, true), &mut dice), None);
        assert!(visit.closes_at(9) && visit.replay(&mut dice).is_none());
        visit.end();
        let mut far = 0;
        loop {
            match next(&mut visit, 9, &mut dice) {
                (seq, Deed::OpensTooFar) => {
                    assert!(seq > WALL_START_NS + OPENING_LIFE_NS);
                    assert_eq!(visit.next((9, 78), (true, true), &mut dice), None);
                    assert!(!visit.give_up_far(seq + 1) && visit.give_up_far(seq));
                    far += 1;
                }
                (seq, deed) => {
                    assert_eq!((seq, deed), (WALL_START_NS + 77, Deed::Opens));
                    break;
                }
            }
            assert!(far < 100, "an opening in time comes");
        }
        let again = (0..1_000).filter_map(|_| visit.replay(&mut dice));
        let again: std::collections::BTreeSet<Vec<u8>> = again.collect();
        assert!(again.contains(&b"opening"[..]) && again.contains(&b"openingcommand"[..]));
        assert_eq!(visit.opening(), WALL_START_NS + 77);
        let seq = visit.opening();
        for _ in 0..1_000 {
            let unopened = visit.next((seq, 80), (false, true), &mut dice);
            assert_eq!(unopened, Some((seq + 1, Deed::Commands)));
            let last = visit.next((seq, 80), (true, false), &mut dice);
            assert_eq!(last, Some((seq + 1, Deed::Commands)));
        }
    }

    #[test]
    fn a_refusal_is_expected_for_what_it_is_true_of_alone() {
        let mut dice = Dice::new(1, "visits");
        let mut visit = Visit::default();
        let ended = Rejection::SessionEnded;
        assert_eq!(visit.judge(1, ended, true), Refusal::Unfounded);
        assert_eq!(
            visit.judge(2, Rejection::TooFarAhead, true),
            Refusal::Unfounded
        );
        assert_eq!(
            visit.judge(1, Rejection::SessionOpen, true),
            Refusal::Unfounded
        );
        visit = closed(&mut dice);
        assert_eq!(visit.judge(9, ended, true), Refusal::Ended);
        assert_eq!(visit.judge(8, ended, true), Refusal::Expected);
        assert_eq!(visit.judge(10, ended, true), Refusal::Unfounded);
        visit.end();
        while next(&mut visit, 9, &mut dice).1 != Deed::Opens {
            visit.far = None;
        }
        let seq = visit.opening();
        assert_eq!(visit.judge(9, ended, true), Refusal::Expected);
        assert_eq!(visit.judge(seq, ended, true), Refusal::Unfounded);
        let open = Rejection::SessionOpen;
        assert_eq!(visit.judge(seq, open, true), Refusal::Expected);
        let conflict = Rejection::Conflict;
        assert_eq!(visit.judge(seq, conflict, true), Refusal::Expected);
        assert_eq!(visit.judge(seq + 1, conflict, true), Refusal::Unfounded);
        let old = Rejection::OpeningTooOld;
        assert_eq!(visit.judge(seq, old, true), Refusal::Unfounded);
        assert_eq!(visit.judge(seq, old, false), Refusal::Expected);
        let far = Rejection::OpeningTooFarAhead;
        assert_eq!(visit.judge(seq, far, true), Refusal::Unfounded);
        visit.far = Some(seq + 1);
        assert_eq!(visit.judge(seq + 1, far, true), Refusal::Expected);
    }
}
