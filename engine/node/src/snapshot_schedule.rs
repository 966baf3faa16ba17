//! At which heights snapshots are taken.
//!
//! Owns the choice. A snapshot is worth something once others attest it, and they are not all
//! equally far: one that makes room for the next before they came to its height was taken in vain.
//! So the interval doubles while that happens, and halves again when it no longer does. Intervals
//! of one length times a power of two have heights in common, whatever each validator's power is,
//! so that validators of different pace still meet. Never: anything of which another validator must
//! choose alike; each may choose as it likes, and only finds fewer who attest what it took.

use quorate_consensus::attestation::StateCertificate;

use crate::roots::ROOT_HEIGHTS;

/// Certificates kept for snapshots that are not taken yet.
const CERTIFICATES_MAX: usize = 4;
/// How often the interval doubles at most: 64 times the configured one. A validator whose snapshots
/// nobody attests still starts from its own.
const DOUBLINGS_MAX: u32 = 6;

/// See the module.
#[derive(Debug)]
pub(crate) struct SnapshotSchedule {
    /// The configured interval; no snapshots at intervals when 0.
    every_heights: u64,
    /// How often it is doubled at present.
    doublings: u32,
    /// Height of a snapshot that is wanted out of turn.
    asked: Option<u64>,
    /// Of snapshots that others took and this one did not come to yet.
    certificates: Vec<StateCertificate>,
}

impl SnapshotSchedule {
    pub(crate) const fn new(every_heights: u64) -> Self {
        Self {
            every_heights,
            doublings: 0,
            asked: None,
            certificates: Vec::new(),
        }
    }

    /// The next height above `height` at which one is due: a multiple of the interval as it is
    /// now, one that was asked for, or one that others attest already, which is not taken in vain.
    pub(crate) fn next_due(&self, height: u64) -> Option<u64> {
        let interval = self.every_heights.saturating_mul(1 << self.doublings);
        let regular = height
            .checked_div(interval)
            .map(|passed| passed.saturating_add(1).saturating_mul(interval));
        let attested = self.certificates.iter().map(height_of);
        let attested = attested.filter(|&at| at > height && self.is_regular(at));
        attested.chain(self.asked).chain(regular).min()
    }

    fn is_regular(&self, height: u64) -> bool {
        self.every_heights > 0 && height.is_multiple_of(self.every_heights)
    }

    /// Asks for one out of turn: of the newest state whose root is attested above `height`, when
    /// the newest block has the height `newest`.
    pub(crate) const fn ask(&mut self, height: u64, newest: u64) {
        let passed = newest - newest % ROOT_HEIGHTS;
        self.asked = Some(if passed > height {
            passed
        } else {
            passed.saturating_add(ROOT_HEIGHTS)
        });
    }

    /// The one that was asked for is taken, or failed to be.
    pub(crate) const fn forget_asked(&mut self) {
        self.asked = None;
    }

    /// Keeps a certificate until `height`, where this validator stands, has come to its own. Of
    /// more than there is room for those stay that are come to first: who is slower than the others
    /// would else find all of them gone whenever it gets there.
    pub(crate) fn wait_for(&mut self, certificate: StateCertificate, height: u64) {
        self.certificates.retain(|kept| height_of(kept) > height);
        self.certificates.push(certificate);
        self.certificates.sort_by_key(height_of);
        self.certificates.truncate(CERTIFICATES_MAX);
    }

    /// Those kept, each of which may be for what was just taken.
    pub(crate) fn take_certificates(&mut self) -> Vec<StateCertificate> {
        std::mem::take(&mut self.certificates)
    }

    /// What became of the snapshots before: whether one goes that nobody attested in its time, or
    /// whether the last one is attested by the time of this.
    pub(crate) fn adapt(&mut self, is_late: bool, is_timely: bool) {
        if is_late {
            self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        } else if is_timely {
            self.doublings = self.doublings.saturating_sub(1);
        }
    }
}

fn height_of(certificate: &StateCertificate) -> u64 {
    certificate.statement.height.number()
}

#[cfg(test)]
mod tests {
    use quorate_consensus::attestation::StateStatement;
    use quorate_consensus::types::{BlockId, Height};

    use super::*;

    fn certificate(height: u64) -> StateCertificate {
        StateCertificate {
            statement: StateStatement {
                height: Height::new(height),
                id: BlockId::new([3; 32]),
                sections: Vec::new(),
                snapshot: Some([4; 32]),
            },
            signatures: Vec::new(),
        }
    }

    #[test]
    fn the_interval_doubles_while_snapshots_are_taken_in_vain_and_halves_when_they_are_not() {
        let mut schedule = SnapshotSchedule::new(64);
        let steps = [
            (false, false, 64),
            (true, false, 128),
            (true, false, 256),
            (false, false, 256),
            (false, true, 128),
            (false, true, 64),
            (false, true, 64),
        ];
        for (is_late, is_timely, due) in steps {
            schedule.adapt(is_late, is_timely);
            assert_eq!(schedule.next_due(0), Some(due));
            assert_eq!(schedule.next_due(due), Some(2 * due));
        }
        for _ in 0..100 {
            schedule.adapt(true, false);
        }
        assert_eq!(schedule.next_due(7), Some(64 << DOUBLINGS_MAX));
    }

    #[test]
    fn nothing_overflows_at_the_end_of_all_heights() {
        let mut schedule = SnapshotSchedule::new(u64::MAX - 63);
        schedule.adapt(true, false);
        assert_eq!(schedule.next_due(u64::MAX - 1), Some(u64::MAX));
    }

    #[test]
    fn what_others_attest_already_is_due_whatever_the_interval_is() {
        let mut schedule = SnapshotSchedule::new(64);
        for _ in 0..3 {
            schedule.adapt(true, false);
        }
        for height in [192, 200, 320] {
            schedule.wait_for(certificate(height), 100);
        }
        assert_eq!(schedule.next_due(100), Some(192));
        // Out of turn at another validator: not at this one.
        assert_eq!(schedule.next_due(192), Some(320));
        assert_eq!(schedule.next_due(320), Some(512));
        let mut never = SnapshotSchedule::new(0);
        never.wait_for(certificate(192), 100);
        assert_eq!(never.next_due(100), None);
    }

    /// A validator that is always behind by more than there is room for still meets some.
    #[test]
    fn certificates_that_are_come_to_first_stay() {
        let mut schedule = SnapshotSchedule::new(64);
        for number in (3..=20).rev().chain(21..40) {
            schedule.wait_for(certificate(64 * number), 128);
        }
        let kept: Vec<u64> = schedule.certificates.iter().map(height_of).collect();
        assert_eq!(kept, [192, 256, 320, 384]);
        // What was passed makes room, taken or not.
        schedule.wait_for(certificate(64 * 40), 320);
        let kept: Vec<u64> = schedule.certificates.iter().map(height_of).collect();
        assert_eq!(kept, [384, 64 * 40]);
    }
}
