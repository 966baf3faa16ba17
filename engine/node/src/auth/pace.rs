//! When the next batch of signatures begins.
//!
//! Owns the pause after a small batch. A signature alone costs four to five times what it costs in
//! a batch, so whoever checks one by one as they come does as much for a few commands as for many,
//! and has no time left for the rest. The pause grows with what the last batch had: after one
//! signature it is a third of a millisecond, so that a lone command, or a thousand a second, wait
//! for nothing; under load batches grow until they are large enough, and then there is none.
//! Never: reads a clock, or holds back a batch that is large enough.

/// Bytes of commands that make a batch large enough: with a hundred signatures one costs hardly
/// more than with many.
const ENOUGH_BYTES: usize = 64 * 1024;
/// Signatures of a batch after which there is no pause, since more were waiting.
const ENOUGH_COMMANDS: usize = 96;
/// Pause after a batch, and for each of its signatures: about eight times what they cost.
const PAUSE_NS: u64 = 300_000;
const PAUSE_PER_COMMAND_NS: u64 = 80_000;
/// Longest pause.
const PAUSE_MAX_NS: u64 = 4_000_000;

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

    /// Notes a batch that began now.
    pub(crate) fn note(&mut self, now_ns: u64, commands: usize) {
        if commands == 0 {
            return;
        }
        let per_command = PAUSE_PER_COMMAND_NS.saturating_mul(commands as u64);
        let pause = if commands >= ENOUGH_COMMANDS {
            0
        } else {
            PAUSE_NS.saturating_add(per_command).min(PAUSE_MAX_NS)
        };
        self.next_ns = now_ns.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_commands_wait_for_nothing() {
        let mut pace = Pace::default();
        for now_ns in (0..100).map(|ms| ms * 1_000_000) {
            assert!(pace.is_due(now_ns, 200));
            pace.note(now_ns, 1);
        }
    }

    #[test]
    fn what_comes_fast_makes_large_batches_and_no_batch_waits_longer_than_the_bound() {
        // 20,000 commands a second of 512 bytes: one each 50 microseconds.
        let (mut pace, mut waiting, mut batches, mut began_ns) = (Pace::default(), 0, 0, 0);
        for number in 0..20_000_u64 {
            let now_ns = number * 50_000;
            waiting += 1;
            if pace.is_due(now_ns, waiting * 620) {
                pace.note(now_ns, waiting);
                assert!(now_ns - began_ns <= PAUSE_MAX_NS + 50_000);
                (waiting, began_ns) = (0, now_ns);
                batches += 1;
            }
        }
        assert!(batches <= 20_000 / 64, "{batches} batches");
    }

    #[test]
    fn a_batch_that_is_large_enough_begins_at_once() {
        let mut pace = Pace::default();
        pace.note(0, 10);
        assert!(!pace.is_due(1, ENOUGH_BYTES - 1));
        assert!(pace.is_due(1, ENOUGH_BYTES));
        pace.note(1, ENOUGH_COMMANDS);
        assert!(pace.is_due(1, 1));
    }
}
