//! What somebody honest called durable is on the disks that it takes, if all power goes.
//!
//! Owns the highest height that was told, and the judgement of the disks (protocol.md 3, "Durable
//! finality"): proof and blocks on stake 2F + 1, of which Byzantine validators may have claimed
//! their own part without having it. Never: asks a running validator what it has flushed.

use super::Violation;

/// What was told.
#[derive(Debug)]
pub(crate) struct Durable {
    fault: u128,
    told: u64,
}

/// One validator's share in what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) stake: u64,
    /// Up to this height it can show the chain; none of a Byzantine validator, which has what it
    /// likes.
    pub(crate) height: Option<u64>,
}

impl Durable {
    /// Of a chain that begins after `height`.
    pub(crate) fn new(fault: u64, height: u64) -> Self {
        Self {
            fault: u128::from(fault),
            told: height,
        }
    }

    /// Somebody honest says that everything up to this height is durable.
    pub(crate) fn tell(&mut self, height: u64) {
        self.told = self.told.max(height);
    }

    /// The highest height told so far.
    pub(crate) const fn told(&self) -> u64 {
        self.told
    }

    /// Judges what all validators have, `of` what, when everything up to `told` was durable.
    pub(crate) fn judge(
        &self,
        of: &'static str,
        told: u64,
        shares: &[Share],
    ) -> Result<(), Violation> {
        let holds = |share: &&Share| share.height.is_none_or(|height| height >= told);
        let holders = shares.iter().filter(holds);
        let weight: u128 = holders.map(|share| u128::from(share.stake)).sum();
        if weight > 2 * self.fault {
            return Ok(());
        }
        let what = format!(
            "height {told} was durable, and {of} of stake {weight} at most have it, where F is {}: \
             {shares:?}",
            self.fault
        );
        Err(Violation::new("durable", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(heights: &[Option<u64>]) -> bool {
        let mut durable = Durable::new(1, 0);
        durable.tell(7);
        durable.tell(5);
        let share = |&height: &Option<u64>| Share { stake: 1, height };
        let shares: Vec<Share> = heights.iter().map(share).collect();
        durable.judge("disks", durable.told(), &shares).is_ok()
    }

    #[test]
    fn what_was_told_has_to_be_on_stake_2f_plus_1_with_what_liars_may_have_claimed() {
        assert!(judged(&[Some(7), Some(8), Some(7), Some(0)]));
        assert!(!judged(&[Some(7), Some(8), Some(6), Some(0)]));
        assert!(judged(&[Some(7), Some(7), None, Some(6)]));
        assert!(!judged(&[Some(7), Some(5), None, Some(6)]));
    }
}
