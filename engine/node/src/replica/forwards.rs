//! What peers may have on its way to the pool, in a chain whose commands are signed.
//!
//! Owns, for each peer, a bound on the forwarded commands that are being checked, and a pause for
//! whoever forwarded what no client has signed. An honest peer has a bounded part of its commands
//! at the leader, so beyond somewhat more than that nothing is taken: what is honest is here
//! already, or comes again. Never: drops a connection. An honest peer checks before it forwards,
//! but by the key of the client's connection, and here the key is the one of the session that it
//! names: whoever finds two keys of one name, by 2^64 trials, could make that peer seem at fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quorate_consensus::types::ValidatorIndex;

/// A run counts as so many bytes at least: what goes with it has its size as well.
const RUN_BYTES_MIN: usize = 1024;
/// How long nothing is taken of a peer that forwarded what nobody has signed. A batch for each such
/// pause is a hundredth of the time.
const PAUSE_NS: u64 = 1_000_000_000;

/// Commands that a peer forwarded, before they enter the pool; or that stood in blocks, before they
/// enter it again.
#[derive(Clone, Debug)]
pub struct ForwardedRun {
    /// The peer; this validator itself where they stood in blocks.
    pub(crate) from: ValidatorIndex,
    /// A run of entries.
    pub(crate) entries: Arc<[u8]>,
    /// What it takes of its peer's bound; none of what stood in blocks, which the pool bounds.
    passage: Option<Arc<Passage>>,
}

impl ForwardedRun {
    /// Of this validator itself.
    pub(crate) const fn of_blocks(own: ValidatorIndex, entries: Arc<[u8]>) -> Self {
        Self {
            from: own,
            entries,
            passage: None,
        }
    }

    /// Something in it is not signed: what came of this peer up to now is not to be looked at.
    /// Whether there is such a peer.
    pub(crate) fn find_fault(&self) -> bool {
        let Some(passage) = &self.passage else {
            return false;
        };
        passage.of.faults.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Whether a fault of its peer was found since it came.
    pub(crate) fn is_void(&self) -> bool {
        let passage = self.passage.as_ref();
        passage.is_some_and(|passage| passage.of.faults.load(Ordering::Relaxed) != passage.faults)
    }
}

/// What a peer has on its way. Shared between the stage that takes it in and those that check.
#[derive(Debug, Default)]
struct OnTheWay {
    bytes: AtomicUsize,
    faults: AtomicU64,
}

/// A run's part of it, until it is dropped.
#[derive(Debug)]
struct Passage {
    of: Arc<OnTheWay>,
    bytes: usize,
    /// Faults found when it came.
    faults: u64,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct ForwardIntake {
    peers: Vec<Peer>,
    bytes_max: usize,
    left_out: u64,
}

#[derive(Debug, Default)]
struct Peer {
    on_the_way: Arc<OnTheWay>,
    paused_until_ns: u64,
}

impl ForwardIntake {
    /// For so many validators, each of which has `forward_bytes_max` of commands at the leader at
    /// most: half as much more makes room for its cancels, and for what it tells everybody.
    pub(super) fn new(validators: usize, forward_bytes_max: usize) -> Self {
        Self {
            peers: (0..validators).map(|_| Peer::default()).collect(),
            bytes_max: forward_bytes_max.saturating_add(forward_bytes_max / 2),
            left_out: 0,
        }
    }

    /// Takes a peer's run on, if there is room for it. One alone always finds some.
    pub(super) fn take(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        entries: Arc<[u8]>,
    ) -> Option<ForwardedRun> {
        let peer = self.peers.get(from.place())?;
        let bytes = entries.len().max(RUN_BYTES_MIN);
        let on_the_way = peer.on_the_way.bytes.load(Ordering::Relaxed);
        let is_room = on_the_way == 0 || on_the_way.saturating_add(bytes) <= self.bytes_max;
        if now_ns < peer.paused_until_ns || !is_room {
            self.left_out += 1;
            return None;
        }
        peer.on_the_way.bytes.fetch_add(bytes, Ordering::Relaxed);
        let passage = Passage {
            of: Arc::clone(&peer.on_the_way),
            bytes,
            faults: peer.on_the_way.faults.load(Ordering::Relaxed),
        };
        Some(ForwardedRun {
            from,
            entries,
            passage: Some(Arc::new(passage)),
        })
    }

    /// Takes nothing of this peer for a while: something of it was not signed.
    pub(super) fn pause(&mut self, now_ns: u64, from: ValidatorIndex) {
        if let Some(peer) = self.peers.get_mut(from.place()) {
            peer.paused_until_ns = now_ns.saturating_add(PAUSE_NS);
        }
    }

    /// Runs that found no room.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1024 * 1024;
    const PEER: ValidatorIndex = ValidatorIndex::new(2);

    fn taken(intake: &mut ForwardIntake, from: ValidatorIndex, bytes: usize) -> Vec<ForwardedRun> {
        let entries: Arc<[u8]> = vec![0; bytes].into();
        let runs = (0..4096).map_while(|_| intake.take(0, from, Arc::clone(&entries)));
        runs.collect()
    }

    #[test]
    fn a_peer_has_a_bounded_part_on_its_way_and_takes_none_of_another_s() {
        let mut intake = ForwardIntake::new(4, MAX);
        let large = taken(&mut intake, PEER, MAX / 2);
        assert_eq!((large.len(), intake.left_out()), (3, 1));
        assert_eq!(taken(&mut intake, ValidatorIndex::new(3), MAX).len(), 1);
        // Until what it has there is done with.
        drop(large);
        let small = taken(&mut intake, PEER, 40);
        assert_eq!(small.len(), (MAX + MAX / 2) / RUN_BYTES_MIN);
        drop(small);
        assert_eq!(taken(&mut intake, PEER, 4 * MAX).len(), 1, "one alone");
    }

    #[test]
    fn what_a_peer_at_fault_has_on_its_way_is_void_and_nothing_is_taken_for_a_while() {
        let mut intake = ForwardIntake::new(4, MAX);
        let entries: Arc<[u8]> = vec![0; 40].into();
        let run = intake.take(0, PEER, Arc::clone(&entries)).unwrap();
        let behind = run.clone();
        let other = intake.take(0, ValidatorIndex::new(3), Arc::clone(&entries));
        assert!(!behind.is_void());
        assert!(run.find_fault());
        intake.pause(5, PEER);
        assert!(behind.is_void() && !other.unwrap().is_void());
        assert!(
            intake
                .take(4 + PAUSE_NS, PEER, Arc::clone(&entries))
                .is_none()
        );
        let later = intake.take(5 + PAUSE_NS, PEER, Arc::clone(&entries));
        assert!(!later.unwrap().is_void());
        let own = ForwardedRun::of_blocks(ValidatorIndex::new(0), entries);
        assert!(!own.find_fault() && !own.is_void(), "blocks may hold it");
    }
}
