//! When the next batch of signatures begins.
//!
//! Owns the pause after a batch. A signature alone costs four to five times what it costs in a
//! large batch, so whoever checks one by one as they come does as much for a few commands as for
//! many, and has no time left for the rest. The pause is several times what the last batch took, as
//! measured here and now, so that checks have a bounded share of the time until batches are large
//! enough, whatever the machine and whoever else is on it: after one signature a third of a
//! millisecond or so, so that a lone command, or a thousand a second, wait for nothing; when
//! processors are short batches grow, and when they are large there is no pause.
//! Never: reads a clock, or holds back a batch that is large enough.

use super::CheckedAhead;

/// Bytes of commands that make a batch large enough: with two hundred signatures one costs hardly
/// more than with many.
const ENOUGH_BYTES: usize = 128 * 1024;
/// Signatures of a batch after which there is no pause, since more were waiting.
const ENOUGH_COMMANDS: usize = 192;
/// Pause after a single signature, in times of what it took; one more for each further signature,
/// up to the other.
const PAUSE_RATIO_LONE: u64 = 3;
const PAUSE_RATIO_MAX: u64 = 8;
/// Longest pause.
const PAUSE_MAX_NS: u64 = 8_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next_ns: u64,
}

impl Pace {
    /// Whether a batch may begin when so many bytes of commands wait for it.
    pub(crate) const fn is_due(&self, now_ns: u64, waiting_bytes: usize) -> bool {
        now_ns >= self.deadline_ns(waiting_bytes)
    }

    /// When a batch of so many bytes may begin, by the monotonic clock.
    pub(crate) const fn deadline_ns(&self, waiting_bytes: usize) -> u64 {
        if waiting_bytes >= ENOUGH_BYTES {
            0
        } else {
            self.next_ns
        }
    }

    /// Notes a batch that ended then.
    pub(crate) fn note(&mut self, ended_ns: u64, batch: CheckedAhead) {
        let Some(others) = batch.count.checked_sub(1) else {
            return;
        };
        let pause_ns = if batch.count >= ENOUGH_COMMANDS {
            0
        } else {
            let ratio = (PAUSE_RATIO_LONE + others as u64).min(PAUSE_RATIO_MAX);
            batch.took_ns.saturating_mul(ratio).min(PAUSE_MAX_NS)
        };
        self.next_ns = ended_ns.saturating_add(pause_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of so many signatures where `one_ns` is what one of many costs, and the first as
    /// much as three.
    fn batch(count: usize, one_ns: u64) -> CheckedAhead {
        CheckedAhead {
            count,
            is_good: true,
            took_ns: (count as u64 + 2) * one_ns,
        }
    }

    #[test]
    fn lone_commands_wait_for_nothing() {
        let mut pace = Pace::default();
        for now_ns in (0..100).map(|ms| ms * 1_000_000) {
            assert!(pace.is_due(now_ns, 200));
            let lone = batch(1, 30_000);
            pace.note(now_ns + lone.took_ns, lone);
        }
    }

    /// Commands of 512 bytes each `every_ns`, for a second: how many batches, and the part of the
    /// time that they take.
    fn second(every_ns: u64, one_ns: u64) -> (u64, f64) {
        let (mut pace, mut waiting, mut batches, mut spent_ns, mut free_ns) =
            (Pace::default(), 0, 0, 0, 0);
        let mut began_ns = 0;
        for now_ns in (0..1_000_000_000 / every_ns).map(|number| number * every_ns) {
            waiting += 1;
            if now_ns >= free_ns && pace.is_due(now_ns, waiting * 620) {
                let batch = batch(waiting, one_ns);
                free_ns = now_ns + batch.took_ns;
                pace.note(free_ns, batch);
                assert!(now_ns - began_ns <= PAUSE_MAX_NS + batch.took_ns + every_ns);
                (waiting, began_ns) = (0, free_ns);
                batches += 1;
                spent_ns += batch.took_ns;
            }
        }
        (batches, spent_ns as f64 / 1e9)
    }

    #[test]
    fn batches_grow_with_what_comes_and_with_what_they_cost_here() {
        let (few, _) = second(500_000, 20_000);
        assert!(few >= 1_000, "2,000 a second: {few} batches");
        let (many, share) = second(50_000, 20_000);
        assert!(many <= 20_000 / 32, "20,000 a second: {many} batches");
        assert!(share < 0.45, "{share} of the time");
        let (slow, _) = second(125_000, 60_000);
        assert!(
            slow <= 8_000 / 32,
            "8,000 a second where each costs thrice: {slow}"
        );
    }

    #[test]
    fn a_batch_that_is_large_enough_begins_at_once_and_is_followed_by_no_pause() {
        let mut pace = Pace::default();
        pace.note(0, batch(10, 20_000));
        assert!(!pace.is_due(1, ENOUGH_BYTES - 1));
        assert!(pace.is_due(1, ENOUGH_BYTES));
        pace.note(1, batch(ENOUGH_COMMANDS, 20_000));
        assert!(pace.is_due(1, 1));
    }

    #[test]
    fn a_batch_without_commands_changes_nothing() {
        let mut pace = Pace::default();
        pace.note(0, batch(10, 20_000));
        let due_ns = pace.deadline_ns(1);
        pace.note(due_ns - 1, batch(0, 20_000));
        assert_eq!(pace.deadline_ns(1), due_ns);
    }
}
