//! Commands that come in order, and those that do not: what is written down of both is the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::lanes::pool::Handle;

const SESSIONS: u8 = 4;
const SEQ_MAX: u64 = 2_000;
const LEADER: ValidatorIndex = ValidatorIndex::new(1);

/// A pool, and what is known of it in the plainest way.
struct Plain {
    lanes: Lanes,
    /// What is held, by session and number: its lane, whether a client of this validator sent it,
    /// and whether the leader has been sent it.
    held: BTreeMap<(u8, u64), (WireLane, bool, bool)>,
    /// The last number of each that is final, and the lowest that nobody has sent.
    last: [u64; SESSIONS as usize],
    next: [u64; SESSIONS as usize],
    /// Blocks that are not final, lowest first.
    blocks: Vec<Arc<[u8]>>,
    now_ns: u64,
    random: u64,
}

impl Plain {
    fn new() -> Self {
        let mut lanes = pool();
        (0..SESSIONS).for_each(|client| lanes.restore_session(id(client), 1));
        lanes.set_leader(Some(LEADER));
        Self {
            lanes,
            held: BTreeMap::new(),
            last: [1; SESSIONS as usize],
            next: [2; SESSIONS as usize],
            blocks: Vec::new(),
            now_ns: 1,
            random: 7,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        let random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = random.wrapping_add(1);
        (self.random >> 33) % end
    }

    /// A command comes: mostly the next of its session, or one near it.
    fn come(&mut self) {
        let client = self.below(u64::from(SESSIONS)) as u8;
        let place = client as usize;
        let seq = match self.below(8) {
            0 => self.last[place] + 1 + self.below(12),
            1 => self.next[place] + 1,
            _ => self.next[place],
        };
        let lane = match self.below(6) {
            0 => WireLane::Cancel,
            1 => WireLane::Price,
            _ => WireLane::Order,
        };
        let text = vec![b'x'; self.below(200) as usize];
        // Whoever sends a number again sends the same.
        let held = self.held.get(&(client, seq)).copied();
        if held.is_some() {
            return;
        }
        let bytes = entry(client, seq, lane, &text);
        let is_local = self.below(3) > 0;
        match is_local {
            true => assert_eq!(
                submit(&mut self.lanes, self.now_ns, &[bytes]),
                [Verdict::Accepted]
            ),
            false if self.below(2) == 0 => hand_on(&mut self.lanes, self.now_ns, &bytes),
            false => {
                let payload = payload_of(&[bytes]);
                let taken = self.lanes.take_abandoned(self.now_ns, &payload);
                taken.expect("a block");
            }
        }
        self.held.insert((client, seq), (lane, is_local, false));
        while self.held.contains_key(&(client, self.next[place])) {
            self.next[place] += 1;
        }
    }

    fn build(&mut self) {
        self.blocks.extend(build(&mut self.lanes));
    }

    fn finalize(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let block = self.blocks.remove(0);
        let admitted = finalize(&mut self.lanes, self.now_ns, &block);
        let mut own = 0;
        for (session, seq) in contents(&block) {
            let client = (0..SESSIONS).find(|&client| id(client) == session);
            let client = client.expect("one of them");
            let (_, is_local, _) = self.held.remove(&(client, seq)).expect("it was held");
            own += usize::from(is_local);
            assert_eq!(seq, self.last[client as usize] + 1);
            self.last[client as usize] = seq;
        }
        assert_eq!(admitted.len(), own);
    }

    fn forward(&mut self) {
        let mut sent = BTreeSet::new();
        self.lanes.forward(self.now_ns, &mut |to, bytes| {
            assert_eq!(to, Destination::Peer(LEADER));
            for view in parse_entries(&bytes).expect("entries") {
                let is_new = sent.insert((*view.session, view.seq));
                assert!(is_new, "once");
            }
        });
        let mut wanted = BTreeSet::new();
        for (&(client, seq), (_, is_local, is_sent)) in &mut self.held {
            if *is_local && !*is_sent {
                *is_sent = true;
                wanted.insert((id(client).0, seq));
            }
        }
        assert_eq!(sent, wanted);
    }

    /// Holds all that the pool counts and lists against what it holds.
    fn check(&self) {
        let lanes = &self.lanes;
        let (mut gapped, mut bytes, mut found) = ([0; 4], 0, 0);
        let ages: BTreeSet<_> = lanes
            .ages
            .iter()
            .map(|timed| key_of(&timed.handle))
            .collect();
        let kept: Vec<_> = lanes.forwarding.kept.iter().map(key_of).collect();
        for client in 0..SESSIONS {
            let slot = lanes.places.get(&id(client)).expect("it is open");
            let session = &lanes.sessions[slot as usize];
            let is_missing = |seq: &u64| !self.held.contains_key(&(client, *seq));
            let ready_end = (session.chained_seq + 1..).find(is_missing);
            assert_eq!(Some(session.ready_end), ready_end);
            for seq in 1..SEQ_MAX {
                let command = session.command(seq);
                let known = self.held.get(&(client, seq));
                assert_eq!(command.is_some(), known.is_some(), "{client} {seq}");
                let (Some(command), Some(&(lane, is_local, _))) = (command, known) else {
                    continue;
                };
                assert_eq!(command.lane as u8, lane as u8);
                assert_eq!(command.is_gapped, seq >= session.ready_end);
                gapped[lane as usize] += usize::from(command.is_gapped);
                (bytes, found) = (bytes + command.entry.len(), found + 1);
                let key = key_of(&lanes.handle(slot, seq));
                assert!(command.is_gapped || ages.contains(&key), "its age is known");
                let times = kept.iter().filter(|other| **other == key).count();
                assert_eq!(times, usize::from(is_local));
            }
            assert_eq!(
                session.held(),
                self.held.range((client, 0)..(client + 1, 0)).count()
            );
            assert!(session.head().is_none() || session.is_lined_up);
        }
        assert_eq!((lanes.len(), lanes.bytes()), (found, bytes));
        assert_eq!(lanes.gaps.commands(), gapped.iter().sum::<usize>());
        for (lane, count) in (0..4).zip(gapped) {
            let lane = crate::state_machine::Lane::from_u8(lane).expect("a lane");
            assert_eq!(lanes.gaps.commands_in(lane), count);
        }
    }
}

fn key_of(handle: &Handle) -> (u32, u32, u64) {
    (handle.slot, handle.generation, handle.seq)
}

#[test]
fn whatever_order_commands_come_in_all_lists_and_counts_are_those_of_what_is_held() {
    let mut plain = Plain::new();
    for step in 0..4_000 {
        plain.now_ns += 1;
        match plain.below(20) {
            0 => plain.build(),
            1 => plain.finalize(),
            2 => plain.forward(),
            3 if plain.below(10) == 0 => {
                plain.blocks.clear();
                plain.lanes.unchain_all();
            }
            _ => plain.come(),
        }
        if step % 16 == 0 {
            plain.check();
        }
    }
    assert!(
        plain.last.iter().all(|last| *last > 100),
        "{:?}",
        plain.last
    );
    assert!(!plain.lanes.gaps.is_unused(), "some came out of order");
}

#[test]
fn commands_that_come_in_order_are_never_counted_as_waiting_for_a_number() {
    let mut lanes = pool();
    lanes.restore_session(id(1), 1);
    lanes.restore_session(id(2), 1);
    for first in (2..200).step_by(16) {
        for client in [1, 2] {
            let run: Vec<_> = (first..first + 16).map(|seq| order(client, seq)).collect();
            assert_eq!(submit(&mut lanes, first, &run), [Verdict::Accepted; 16]);
        }
        hand_on(&mut lanes, first, &order(1, first + 16));
        finalize(&mut lanes, first, &payload_of(&[order(1, first)]));
        let block = build(&mut lanes).expect("they wait");
        finalize(&mut lanes, first, &block);
    }
    assert!(lanes.gaps.is_unused());
    assert!(lanes.is_empty());
    submit(&mut lanes, 1_000, &[order(2, 300)]);
    assert!(!lanes.gaps.is_unused(), "this one waits");
}

#[test]
fn a_payload_that_has_other_commands_than_it_counts_is_told_as_the_check_of_it_tells() {
    let good = payload_of(&[order(1, 2), order(1, 3)]);
    let mut fewer = good.clone();
    fewer[..4].copy_from_slice(&1_u32.to_le_bytes());
    let mut more = good.clone();
    more[..4].copy_from_slice(&3_u32.to_le_bytes());
    let cut = good[..good.len() - 1].to_vec();
    for payload in [fewer, more, cut, Vec::new()] {
        let mut lanes = pool();
        lanes.restore_session(id(1), 1);
        assert!(PayloadView::parse(&payload).is_err());
        let finalized = lanes.finalize_block((1, 0), &payload, &mut Vec::new());
        assert!(finalized.is_err());
        assert!(lanes.chain_block(1, &payload).is_err());
    }
}
