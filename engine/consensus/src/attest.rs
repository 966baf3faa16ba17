//! Attested state roots (protocol.md 5.6): own statements out, peers' statements counted.
//!
//! Owns the newest verified statement of each validator for a few heights, the certificates that
//! follow, and the comparison with the own state. Never: a condition of a vote; nothing here
//! delays or changes one.

use crate::attestation::{Divergence, StateCertificate, StateStatement, differences};
use crate::certificate::SignatureBytes;
use crate::effect::{Alarm, Destination, Effect, Effects};
use crate::limits;
use crate::machine::{Consensus, Disposition, Ignored, PeerFault};
use crate::message::Message;
use crate::own_states::{Compared, OwnStates};
use crate::types::{Height, Stake, ValidatorIndex};
use crate::verify::Claim;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Statements that can be compared: of one height, with a snapshot or without.
type Key = (Height, bool);

type Signed = (StateStatement, SignatureBytes);

const fn key_of(statement: &StateStatement) -> Key {
    (statement.height, statement.snapshot.is_some())
}

/// What has been attested of late.
#[derive(Debug, Default)]
pub(crate) struct Attestations {
    /// Verified statements by validator, the own ones too. Bound: `ATTESTED_ROOTS_MAX` without and
    /// `ATTESTED_SNAPSHOTS_MAX` with a snapshot each; the lowest heights go.
    held: BTreeMap<ValidatorIndex, BTreeMap<Key, Signed>>,
    /// Heights with a certificate. Bounded as the statements of one validator are.
    certified: BTreeMap<Key, StateStatement>,
    /// Own state, signed or not. Bounded as the statements of one validator are.
    own: BTreeMap<Key, StateStatement>,
    /// What snapshots are compared with.
    states: OwnStates,
    /// The newest own state that a certificate has as well.
    common: Option<StateStatement>,
    /// Said once a run: a state that went apart stays so.
    has_diverged: bool,
}

/// Keeps the highest statements of each kind.
fn thin<T>(kept: &mut BTreeMap<Key, T>) {
    for (kind, max) in [
        (false, limits::ATTESTED_ROOTS_MAX),
        (true, limits::ATTESTED_SNAPSHOTS_MAX),
    ] {
        let keys: Vec<Key> = kept.keys().copied().filter(|key| key.1 == kind).collect();
        for key in keys.iter().take(keys.len().saturating_sub(max)) {
            kept.remove(key);
        }
    }
}

impl Attestations {
    /// Beginning with what the start executed again.
    pub(crate) fn restored(states: Vec<(Height, [u8; 32])>, snapshot_heights: u64) -> Self {
        Self {
            states: OwnStates::restored(states, snapshot_heights),
            ..Self::default()
        }
    }

    /// Everybody who says this, with their signatures.
    fn certificate(&self, statement: &StateStatement) -> StateCertificate {
        let key = key_of(statement);
        let signed = |(&validator, held): (&ValidatorIndex, &BTreeMap<Key, Signed>)| {
            let (said, signature) = held.get(&key)?;
            (said == statement).then_some((validator, *signature))
        };
        StateCertificate {
            statement: statement.clone(),
            signatures: self.held.iter().filter_map(signed).collect(),
        }
    }

    fn newest(&self, validator: ValidatorIndex, with_snapshot: bool) -> Option<&Signed> {
        let held = self.held.get(&validator)?;
        let mut newest = held.iter().rev();
        newest
            .find(|(key, _)| key.1 == with_snapshot)
            .map(|(_, signed)| signed)
    }
}

impl Consensus {
    /// The own state after a block: to be signed, and told to all.
    pub(crate) fn handle_state(
        &mut self,
        statement: StateStatement,
        effects: &mut Effects,
    ) -> Disposition {
        if statement.sections.len() > limits::STATE_SECTIONS_MAX {
            return Disposition::Ignored(Ignored::Full);
        }
        if statement.snapshot.is_some() {
            self.judge_snapshot(statement, effects);
            return Disposition::Applied;
        }
        let waited = self.attestations.states.take(&statement);
        self.attest(statement, effects);
        if let Some(snapshot) = waited {
            self.judge_snapshot(snapshot, effects);
        }
        Disposition::Applied
    }

    /// A snapshot is taken of a second instance that executed the same blocks. One of another
    /// state is not attested: all might write the same one, where the application forgets a part
    /// of its state in snapshots, and then let the log go for it.
    fn judge_snapshot(&mut self, snapshot: StateStatement, effects: &mut Effects) {
        let height = snapshot.height;
        match self.attestations.states.compare(&snapshot) {
            Compared::Same => self.attest(snapshot, effects),
            Compared::Waits => {}
            Compared::Forgotten => self.alarm(Alarm::StateUncompared(height), effects),
            Compared::Other => self.alarm_snapshot(&snapshot, effects),
        }
    }

    fn alarm_snapshot(&self, snapshot: &StateStatement, effects: &mut Effects) {
        let height = snapshot.height;
        match self.attestations.own.get(&(height, false)) {
            Some(other) => self.alarm_state(height, other, snapshot, effects),
            // Of a state that long ago a hash is left, which does not tell where it differs.
            None => {
                let section = None;
                self.alarm(Alarm::StateDiffers { height, section }, effects);
            }
        }
    }

    fn attest(&mut self, statement: StateStatement, effects: &mut Effects) {
        let key = key_of(&statement);
        self.attestations.own.insert(key, statement.clone());
        thin(&mut self.attestations.own);
        self.compare_state(key, effects);
        self.judge_states(effects);
        effects.push(Effect::SignState(statement));
    }

    pub(crate) fn handle_state_signed(
        &mut self,
        statement: StateStatement,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        let message = Message::Attestation {
            statement: statement.clone(),
            signature,
        };
        effects.push(Effect::Send {
            to: Destination::All,
            message,
        });
        self.take_attestation(self.config.own, statement, signature, effects);
        Disposition::Applied
    }

    /// What a peer says of its state. Signatures are checked only of what would be kept.
    pub(crate) fn handle_attestation(
        &mut self,
        from: ValidatorIndex,
        statement: StateStatement,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        let height = statement.height.number();
        if height == 0 || !height.is_multiple_of(limits::STATE_HEIGHTS) {
            return Disposition::Fault(PeerFault::InvalidAttestation);
        }
        let key = key_of(&statement);
        if let Some(held) = self.attestations.held.get(&from) {
            if held.contains_key(&key) {
                return Disposition::Ignored(Ignored::Stale);
            }
            let max = match key.1 {
                true => limits::ATTESTED_SNAPSHOTS_MAX,
                false => limits::ATTESTED_ROOTS_MAX,
            };
            let mut alike = held.keys().filter(|other| other.1 == key.1);
            let lowest = alike.next().copied();
            if alike.count() + 1 >= max && lowest.is_some_and(|lowest| key < lowest) {
                return Disposition::Ignored(Ignored::OutOfRange);
            }
        }
        let claim = Claim::State {
            validator: from,
            statement,
            signature,
        };
        match self.ask_check(from, claim, effects) {
            true => Disposition::Applied,
            false => Disposition::Ignored(Ignored::Full),
        }
    }

    pub(crate) fn take_attestation(
        &mut self,
        validator: ValidatorIndex,
        statement: StateStatement,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) {
        let key = key_of(&statement);
        let certified = self.attestations.certified.get(&key);
        let joins = validator == self.config.own && certified == Some(&statement);
        let held = self.attestations.held.entry(validator).or_default();
        // The first statement of a height counts: a second one is a contradiction of its author.
        held.entry(key).or_insert((statement, signature));
        thin(held);
        self.certify_state(key, effects);
        // Snapshots' certificates are for those that have them, whoever signed.
        if joins && !key.1 {
            self.prove_with_own(key, effects);
        }
        self.judge_states(effects);
    }

    /// Weight AMP alike includes an honest validator.
    fn certify_state(&mut self, key: Key, effects: &mut Effects) {
        if self.attestations.certified.contains_key(&key) {
            return;
        }
        let held = self.attestations.held.values();
        let mut said = held.filter_map(|held| held.get(&key));
        let Some(certificate) = said.find_map(|said| self.proof_of(&said.0)) else {
            return;
        };
        let statement = certificate.statement.clone();
        self.attestations.certified.insert(key, statement);
        thin(&mut self.attestations.certified);
        effects.push(Effect::StateProven(certificate));
        self.compare_state(key, effects);
    }

    /// The certificate of all who say this now, where they are enough.
    fn proof_of(&self, statement: &StateStatement) -> Option<StateCertificate> {
        let set = &self.config.set;
        let certificate = self.attestations.certificate(statement);
        let signers = certificate.signatures.iter();
        let weight: Stake = signers.map(|&(signer, _)| set.stake(signer)).sum();
        (weight >= set.thresholds().amplify).then_some(certificate)
    }

    /// Others proved this state before the own word was signed. With that in it the certificate is
    /// one that a later start of this validator cannot deny, whatever the others come to. Of those
    /// who proved it some may have said so much since that their word of it is not kept.
    fn prove_with_own(&self, key: Key, effects: &mut Effects) {
        let statement = self.attestations.certified.get(&key);
        if let Some(certificate) = statement.and_then(|statement| self.proof_of(statement)) {
            effects.push(Effect::StateProven(certificate));
        }
    }

    /// Drift is found: the own state is another than an honest validator's.
    fn compare_state(&mut self, key: Key, effects: &mut Effects) {
        let kept = &self.attestations;
        let (Some(own), Some(proven)) = (kept.own.get(&key), kept.certified.get(&key)) else {
            return;
        };
        if own != proven {
            self.alarm_state(key.0, own, proven, effects);
            return;
        }
        let is_newer = |common: &StateStatement| common.height < own.height;
        if !key.1 && self.attestations.common.as_ref().is_none_or(is_newer) {
            self.attestations.common = Some(own.clone());
        }
    }

    /// Whether the own state is another than what decisive weight attests, at the lowest height
    /// where it is; said once.
    fn judge_states(&mut self, effects: &mut Effects) {
        if self.attestations.has_diverged {
            return;
        }
        let mut own = self.attestations.own.iter().filter(|(key, _)| !key.1);
        let Some((own, proven)) = own.find_map(|(_, own)| Some((own, self.decisive(own)?))) else {
            return;
        };
        let common = self.attestations.common.as_ref();
        let divergence = Divergence {
            common: common.filter(|common| common.height < own.height).cloned(),
            own: own.clone(),
            proven,
        };
        self.attestations.has_diverged = true;
        effects.push(Effect::Diverged(Box::new(divergence)));
    }

    /// Another state of this height that decides against the own one. AMP of it includes an honest
    /// validator. It must also outweigh the own state together with everybody who has not spoken,
    /// so that one faulty build and F liars, who are AMP, do not silence those who are right
    /// merely because they were heard first; whoever is still silent when the own state is 64
    /// heights further counts for nobody.
    fn decisive(&self, own: &StateStatement) -> Option<StateCertificate> {
        let kept = &self.attestations;
        let (set, key) = (&self.config.set, key_of(own));
        let said = |validator| kept.held.get(&validator).and_then(|held| held.get(&key));
        let is_passed = kept.own.keys().any(|other| !other.1 && *other > key);
        let mut for_own = Stake::ZERO;
        let mut others: Vec<StateCertificate> = Vec::new();
        for validator in set.indices() {
            if validator == self.config.own {
                for_own.add(set.stake(validator));
                continue;
            }
            match said(validator) {
                None if is_passed => {}
                None => for_own.add(set.stake(validator)),
                Some((statement, _)) if statement == own => for_own.add(set.stake(validator)),
                Some((statement, signature)) => {
                    let signer = (validator, *signature);
                    let alike = others.iter_mut().find(|one| one.statement == *statement);
                    match alike {
                        Some(alike) => alike.signatures.push(signer),
                        None => others.push(StateCertificate {
                            statement: statement.clone(),
                            signatures: alloc::vec![signer],
                        }),
                    }
                }
            }
        }
        let weighs = |one: &StateCertificate| -> Stake {
            let signers = one.signatures.iter();
            signers.map(|&(signer, _)| set.stake(signer)).sum()
        };
        let decides = |one: &StateCertificate| {
            let weight = weighs(one);
            weight >= set.thresholds().amplify && weight > for_own
        };
        others.into_iter().find(|one| decides(one))
    }

    fn alarm_state(
        &self,
        height: Height,
        one: &StateStatement,
        other: &StateStatement,
        effects: &mut Effects,
    ) {
        let section = differences(one, other).next();
        self.alarm(
            Alarm::StateDiffers {
                height,
                section: section.and_then(|place| u16::try_from(place).ok()),
            },
            effects,
        );
    }

    /// What a peer may have missed, while it was away or since it had no room for it: the newest
    /// own statements. To who has them they cost no check.
    pub(crate) fn tell_state(&self, peer: ValidatorIndex, effects: &mut Effects) {
        for with_snapshot in [false, true] {
            let newest = self.attestations.newest(self.config.own, with_snapshot);
            if let Some((statement, signature)) = newest {
                effects.push(Effect::Send {
                    to: Destination::Peer(peer),
                    message: Message::Attestation {
                        statement: statement.clone(),
                        signature: *signature,
                    },
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Config, Durability, Restored};
    use crate::signing::ValidatorKey;
    use crate::timers::TimerConfig;
    use crate::types::{BlockId, Epoch, Now};
    use crate::validators::{SetParameters, Validator, ValidatorSet};
    use alloc::sync::Arc;
    use alloc::vec;

    /// The only validator of its chain: each statement of its own is proven by itself.
    fn alone() -> Consensus {
        let key = ValidatorKey::from_seed(&[1; 32]).public();
        let parameters = SetParameters {
            chain_id: [7; 32],
            genesis_hash: [9; 32],
            epoch: Epoch::ZERO,
            fault: Stake::ZERO,
            slack: Stake::ZERO,
            window_slots: 4,
            turn_windows: 1,
            crash_only: true,
            genesis_time_ns: 1_000,
        };
        let set = ValidatorSet::new(parameters, vec![Validator::new(key, Stake::new(1))]);
        let set = Arc::new(set.expect("a valid set"));
        let config = Config {
            own: ValidatorIndex::new(0),
            set: Arc::clone(&set),
            durability: Durability::Async,
            timers: TimerConfig::laptop(),
            incarnation: 1,
            nonce_seed: [3; 32],
            snapshot_heights: 0,
        };
        let now = Now {
            mono_ns: 1_000_000_000,
            wall_ns: 1_000_000_000,
        };
        Consensus::new(config, Restored::fresh(&set), now, &mut Effects::default())
    }

    #[test]
    fn of_proven_states_those_of_the_highest_heights_are_kept() {
        let mut consensus = alone();
        let mut effects = Effects::default();
        for height in 1..=100 {
            for snapshot in [None, Some([8; 32])] {
                let statement = StateStatement {
                    height: Height::new(height),
                    id: BlockId::new([3; 32]),
                    sections: vec![[1; 32]],
                    snapshot,
                };
                let own = consensus.config.own;
                consensus.take_attestation(own, statement, [0; 64], &mut effects);
            }
        }
        let is_proven = |effect: &&Effect| matches!(effect, Effect::StateProven(_));
        assert_eq!(effects.iter().filter(is_proven).count(), 200);
        for (kind, max) in [
            (false, limits::ATTESTED_ROOTS_MAX),
            (true, limits::ATTESTED_SNAPSHOTS_MAX),
        ] {
            let kept = consensus.attestations.certified.keys();
            let kept = kept.filter(|key| key.1 == kind);
            let heights: Vec<u64> = kept.map(|key| key.0.number()).collect();
            let highest: Vec<u64> = (101 - max as u64..=100).collect();
            assert_eq!(heights, highest);
        }
    }
}
