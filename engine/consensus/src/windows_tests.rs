//! ParentReady: what is handed on piece by piece is what its definition says, and thousands of
//! parents cost a walk a record when they come and nothing in the turns after. Steps are counted:
//! each look at a block of a tree is one.

extern crate std;

use super::*;
use crate::certificate::SignedRecord;
use crate::header::HEADER_VERSION;
use crate::input::Input;
use crate::machine::{Config, Disposition, Durability, PeerFault, Restored};
use crate::message::Get;
use crate::record::Record;
use crate::signing::ValidatorKey;
use crate::timers::TimerConfig;
use crate::trust::Authenticated;
use crate::types::{Epoch, Stake};
use crate::validators::{SetParameters, Validator, ValidatorSet};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec;

const NOW: Now = Now {
    mono_ns: 1_000_000_000,
    wall_ns: 1_000_000_000,
};
const OWN: u16 = 5;

fn v(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

fn w(number: u64) -> Window {
    Window::new(number)
}

/// Six equal validators, F = P = 1: Q = 4, FB = 3, AMP = 2.
fn six(slots: u32) -> Arc<ValidatorSet> {
    let key = |seed: u8| ValidatorKey::from_seed(&[seed; 32]).public();
    let validators = (1..=6).map(|seed| Validator::new(key(seed), Stake::new(1)));
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::new(1),
        window_slots: slots,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    Arc::new(ValidatorSet::new(parameters, validators.collect()).expect("a valid set"))
}

/// A validator past its fence.
fn running(set: &Arc<ValidatorSet>) -> Consensus {
    let mut restored = Restored::fresh(set);
    restored.lease.lease = Some(w(100));
    let config = Config {
        own: v(OWN),
        set: Arc::clone(set),
        durability: Durability::Sync,
        timers: TimerConfig {
            progress_ns: 1 << 50,
            progress_max_ns: 1 << 50,
            ..TimerConfig::laptop()
        },
        incarnation: 1,
        nonce_seed: [3; 32],
        snapshot_heights: 0,
    };
    let mut effects = Effects::default();
    let mut consensus = Consensus::new(config, restored, NOW, &mut effects);
    for peer in 0..OWN {
        consensus.handle(NOW, Input::PeerUp(v(peer)), &mut effects);
        let answer = Message::FenceAnswer {
            incarnation: 1,
            held: Vec::new(),
        };
        let message = Authenticated::assert_authenticated(v(peer), answer);
        consensus.handle(NOW, Input::Message(message), &mut effects);
    }
    consensus
}

/// The next blocks of a chain, unlike those of another `salt`.
fn chain(set: &ValidatorSet, window: u64, on: Header, count: u32, salt: u8) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for index in 0..count {
        let below = headers.last().copied().unwrap_or(on);
        headers.push(Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *set.chain_id(),
            epoch: set.epoch(),
            set_hash: *set.set_hash(),
            window: w(window),
            index: Index::new(index),
            height: below.height.next(),
            time_ns: below.time_ns + 1,
            parent_id: if index == 0 && window == 0 {
                set.genesis().id
            } else {
                below.id()
            },
            payload_hash: [salt; 32],
            payload_bytes: 0,
        });
    }
    headers
}

/// What stands for genesis below a chain of window 0.
fn genesis_header(set: &ValidatorSet) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: set.epoch(),
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::ZERO,
        height: set.genesis().height,
        time_ns: set.genesis_time_ns(),
        parent_id: set.genesis().id,
        payload_hash: [0; 32],
        payload_bytes: 0,
    }
}

fn at(header: &Header) -> (Index, BlockId) {
    (header.index, header.id())
}

/// Places blocks as their leader's, with or without their bodies.
fn place(consensus: &mut Consensus, headers: &[Header], has_body: impl Fn(&Header) -> bool) {
    let set = consensus.config.set.clone();
    for header in headers {
        let state = consensus.window_mut(header.window).expect("in range");
        let connected = state.tally.connect(&set, header, header.id());
        let (place, _) = connected.expect("it follows its parent");
        state.tally.tree.block_mut(place).authentic = true;
        state.tally.tree.set_body(place, has_body(header));
        state.is_dirty = true;
    }
}

fn say(consensus: &mut Consensus, from: u16, window: u64, record: &Record, is_signed: bool) {
    let mut effects = Effects::default();
    if is_signed {
        let signed = SignedRecord {
            validator: v(from),
            record: record.clone(),
            signature: [0; 64],
        };
        consensus.take_signed_record(NOW, w(window), signed, &mut effects);
    } else {
        consensus.count_record(v(from), w(window), record, &mut effects);
    }
}

fn stop() -> Record {
    Record {
        stop: true,
        ..Record::default()
    }
}

fn looks(consensus: &Consensus) -> u64 {
    let states = consensus.windows.values();
    states.map(|state| state.tally.tree.looks.get()).sum()
}

/// Ends a turn; how many looks at blocks it took, and what was to be done.
fn settle(consensus: &mut Consensus) -> (u64, Effects) {
    let (before, mut effects) = (looks(consensus), Effects::default());
    consensus.handle(NOW, Input::Settle, &mut effects);
    (looks(consensus) - before, effects)
}

const SLOTS: u32 = 512;
const LOOKS_A_BLOCK: u64 = 100;

/// A validator below which every block of two whole windows is a parent.
struct Equivocated {
    consensus: Consensus,
    both: [Vec<Header>; 2],
    /// Looks that it took to come to this.
    steps: u64,
    effects: Effects,
}

/// A leader has brought two whole windows of blocks, one to each half: who voted for one falls back
/// to the other, and to the skip of all. Everything is a parent of the next window.
fn equivocated(has_body: impl Fn(&Header) -> bool + Copy) -> Equivocated {
    let set = six(SLOTS);
    let mut consensus = running(&set);
    let both = [1, 2].map(|salt| chain(&set, 0, genesis_header(&set), SLOTS, salt));
    for headers in &both {
        place(&mut consensus, headers, has_body);
    }
    let (before, ends) = (
        looks(&consensus),
        [0, 1].map(|one: usize| at(&both[one][SLOTS as usize - 1])),
    );
    for from in 0..4_u16 {
        let (own, other) = (usize::from(from % 2), usize::from(1 - from % 2));
        let record = Record {
            tip: Some(ends[own]),
            also: vec![ends[other]],
            skip_fallback: Some(Index::ZERO),
            ..Record::default()
        };
        say(&mut consensus, from, 0, &record, true);
    }
    let (_, effects) = settle(&mut consensus);
    assert_eq!(consensus.entered, Some(w(1)));
    let steps = looks(&consensus) - before;
    Equivocated {
        consensus,
        both,
        steps,
        effects,
    }
}

fn parents(consensus: &Consensus, window: u64) -> BTreeSet<(BlockId, bool)> {
    let parents = consensus.windows[&w(window)].parents.downward();
    parents
        .map(|parent| (parent.point.id, parent.signed))
        .collect()
}

#[test]
fn two_windows_of_parents_cost_a_walk_a_record_and_nothing_in_the_turns_after() {
    let Equivocated {
        mut consensus,
        both,
        steps,
        ..
    } = equivocated(|_| true);
    let blocks = u64::from(2 * SLOTS);
    let genesis = consensus.config.set.genesis().id;
    let all = both.iter().flatten().map(|header| (header.id(), true));
    let all: BTreeSet<(BlockId, bool)> = all.chain([(genesis, true)]).collect();
    assert_eq!(parents(&consensus, 1), all);
    assert!(steps < blocks * LOOKS_A_BLOCK, "{steps}");
    let (steps, _) = settle(&mut consensus);
    assert!(steps < 100, "{steps} in a turn in which nothing has come");
    for from in 0..4 {
        say(&mut consensus, from, 1, &stop(), false);
        let (steps, _) = settle(&mut consensus);
        let is_enough = from == 3;
        assert_eq!(consensus.entered, Some(w(1 + u64::from(is_enough))));
        // Each of them is looked at for what is missing below it, once.
        let most = if is_enough { 20 * blocks } else { 100 };
        assert!(steps < most, "{steps} after the stop of {from}");
    }
    let counted: BTreeSet<(BlockId, bool)> = all.iter().map(|&(id, _)| (id, false)).collect();
    assert_eq!(parents(&consensus, 2), counted);
    for from in 0..4 {
        say(&mut consensus, from, 1, &stop(), true);
        let (steps, _) = settle(&mut consensus);
        assert!(steps < 20 * blocks, "{steps} after the signature of {from}");
    }
    assert_eq!(parents(&consensus, 2), all);
    // What has been said of the window below is looked at once more.
    say(&mut consensus, 4, 0, &stop(), true);
    let (steps, _) = settle(&mut consensus);
    assert!(steps < blocks * LOOKS_A_BLOCK, "{steps}");
    let (steps, _) = settle(&mut consensus);
    assert!(steps < 100, "{steps}");
}

#[test]
fn a_first_vote_among_thousands_of_parents_looks_at_the_chain_of_one() {
    let Equivocated {
        mut consensus,
        both,
        ..
    } = equivocated(|_| true);
    let set = consensus.config.set.clone();
    let on = both[1][SLOTS as usize - 7];
    let next = chain(&set, 1, on, 1, 3);
    place(&mut consensus, &next, |_| true);
    let (steps, _) = settle(&mut consensus);
    assert_eq!(consensus.windows[&w(1)].own.tip, Some(at(&next[0])));
    assert!(steps < 10 * u64::from(SLOTS), "{steps}");
}

/// The bodies that each request asks for.
fn bodies_asked(effects: &Effects) -> Vec<BTreeSet<BlockId>> {
    let mut asked = Vec::new();
    for effect in effects {
        if let Effect::Send {
            message: Message::Get(Get::Bodies(blocks)),
            ..
        } = effect
        {
            asked.push(blocks.iter().map(|block| block.id).collect());
        }
    }
    asked
}

#[test]
fn r3_what_a_further_parent_lacks_is_asked_for_though_those_before_lacked_nothing() {
    let set = six(8);
    let mut consensus = running(&set);
    let [held, missing] = [1, 2].map(|salt| chain(&set, 0, genesis_header(&set), 8, salt));
    place(&mut consensus, &held, |_| true);
    place(&mut consensus, &missing, |_| false);
    let mut record = Record {
        tip: Some(at(&held[7])),
        ..Record::default()
    };
    for from in 0..4 {
        say(&mut consensus, from, 0, &record, true);
    }
    let (_, effects) = settle(&mut consensus);
    assert_eq!(consensus.entered, Some(w(1)));
    assert!(bodies_asked(&effects).is_empty());
    record.also = vec![at(&missing[7])];
    for from in 0..4 {
        say(&mut consensus, from, 0, &record, true);
    }
    let (_, effects) = settle(&mut consensus);
    let all: BTreeSet<BlockId> = missing.iter().map(Header::id).collect();
    assert!(bodies_asked(&effects).contains(&all), "below the parent");
}

/// The lowest body of each chain is missing: every one of the parents lacks it.
#[test]
fn what_thousands_of_parents_lack_is_looked_for_and_asked_for_once() {
    let Equivocated {
        mut consensus,
        both,
        steps,
        effects,
    } = equivocated(|header| header.index != Index::ZERO);
    let blocks = u64::from(2 * SLOTS);
    assert!(steps < blocks * LOOKS_A_BLOCK, "{steps}");
    let lowest: BTreeSet<BlockId> = both.iter().map(|chain| chain[0].id()).collect();
    let asked = bodies_asked(&effects);
    // Of each chain as a block that honest voters stand on, and as one below a parent.
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked.iter().all(|blocks| blocks.is_subset(&lowest)));
    let (steps, _) = settle(&mut consensus);
    assert!(steps < 20 * blocks, "{steps}");
    let before = looks(&consensus);
    let found = consensus.parent_to_build_on(w(1));
    let genesis = consensus.config.set.genesis();
    assert_eq!(found.map(|parent| parent.point), Some(genesis));
    let steps = looks(&consensus) - before;
    assert!(steps < 20 * blocks, "{steps}");
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// What one voter says of a window, each record an extension of the one before.
fn ladder(random: &mut Random, chains: &[Vec<Header>]) -> Vec<Record> {
    let own = random.below(chains.len());
    let (own, other) = (&chains[own], &chains[1 - own]);
    let mut records = Vec::new();
    let mut record = Record::default();
    for header in &own[..random.below(own.len() + 1)] {
        record.tip = Some(at(header));
        records.push(record.clone());
    }
    record.stop = true;
    records.push(record.clone());
    for header in &other[..random.below(other.len() + 1)] {
        record.also = vec![at(header)];
        records.push(record.clone());
    }
    for from in (0..own.len()).rev().take(random.below(own.len() + 1)) {
        record.skip_fallback = Some(Index::new(u32::try_from(from).expect("a small window")));
        records.push(record.clone());
    }
    records
}

/// PR of the window above one, out of its definition and what is counted, and what is signed.
fn by_definition(consensus: &Consensus, window: u64) -> BTreeSet<(BlockId, bool)> {
    let set = &consensus.config.set;
    let (state, quorum) = (&consensus.windows[&w(window)], set.thresholds().quorum);
    let tally = &state.tally;
    let clears = |start: Option<Index>, index: Index| {
        index.next().number() == set.slots() || start.is_some_and(|start| start <= index.next())
    };
    let (skip, signed_skip) = (tally.skip_start(set), tally.signed_skip_start(set));
    let signed_support = |place| -> Stake {
        let voters = tally.voters(set).filter_map(|(_, stake, voter)| {
            let (record, _) = voter.signed.as_ref()?;
            tally.record_supports(record, place).then_some(stake)
        });
        voters.sum()
    };
    let mut all = BTreeSet::new();
    for place in tally.certified_from(set, Index::ZERO) {
        let block = tally.tree.block(place);
        if clears(skip, block.index) {
            let is_signed = clears(signed_skip, block.index) && signed_support(place) >= quorum;
            all.insert((block.id, is_signed));
        }
    }
    if skip == Some(Index::ZERO) {
        let is_signed = signed_skip == Some(Index::ZERO);
        let parents = parents(consensus, window);
        all.extend(parents.into_iter().map(|(id, at)| (id, at && is_signed)));
    }
    all
}

#[test]
fn r1_what_is_handed_on_piece_by_piece_is_what_parent_ready_is_defined_as() {
    const WINDOWS: u64 = 3;
    let set = six(4);
    let mut sizes = BTreeSet::new();
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut consensus = running(&set);
        let mut chains = Vec::new();
        let mut said = Vec::new();
        let mut shown = vec![BTreeSet::new(); 2];
        for window in 0..WINDOWS {
            let on = genesis_header(&set);
            chains.push([1, 2].map(|salt| chain(&set, window, on, 4, salt)));
            let own = &chains[usize::try_from(window).expect("a small number")];
            let ladders = (0..6).map(|_| (ladder(&mut random, own), 0, 0));
            said.push(ladders.collect::<Vec<_>>());
            assert!(consensus.window_mut(w(window)).is_some());
        }
        for _ in 0..400 {
            let window = random.below(said.len());
            let number = window as u64;
            if random.below(8) == 0 {
                let end = random.below(5);
                let headers = &chains[window][random.below(2)][..end];
                place(&mut consensus, headers, |_| true);
            }
            let voter = random.below(6);
            let (records, counted, signed) = &mut said[window][voter];
            let from = u16::try_from(voter).expect("a small number");
            let (at, is_signed) = if random.below(2) == 0 {
                (counted, false)
            } else {
                (signed, true)
            };
            if let Some(record) = records.get(*at) {
                say(&mut consensus, from, number, record, is_signed);
                *at += 1;
            }
            let mut effects = Effects::default();
            consensus.count_pending(&mut effects);
            while consensus.extend_ready() {}
            for below in 0..WINDOWS - 1 {
                let now = by_definition(&consensus, below);
                // What signed records have shown once stays shown, also while the headers of a
                // later record of the same voter are missing.
                let shown = &mut shown[usize::try_from(below).expect("a small number")];
                shown.extend(now.iter().filter(|(_, at)| *at).map(|(id, _)| *id));
                let expected: BTreeSet<(BlockId, bool)> = now
                    .iter()
                    .map(|(id, _)| (*id, shown.contains(id)))
                    .collect();
                let held = parents(&consensus, below + 1);
                assert_eq!(held, expected, "{seed} {below}");
                sizes.insert(expected.len());
            }
        }
    }
    assert!(sizes.contains(&0) && sizes.last() >= Some(&5), "{sizes:?}");
}

/// Above the bound only what is held already grows: to refuse that would be to halt.
#[test]
fn windows_that_certificates_speak_of_are_bounded_and_those_that_are_held_go_on() {
    let mut consensus = running(&six(4));
    for window in 0..2 * limits::WINDOWS_LIVE_MAX as u64 {
        let is_held = consensus.windows.contains_key(&w(window));
        let has_room = consensus.windows.len() < limits::WINDOWS_LIVE_MAX;
        let taken = consensus.proven_window_mut(w(window)).is_some();
        assert_eq!(taken, is_held || has_room, "{window}");
    }
    assert_eq!(consensus.windows.len(), limits::WINDOWS_LIVE_MAX);
    assert!(consensus.proven_window_mut(w(0)).is_some());
}

#[test]
fn blocks_that_were_refused_are_remembered_up_to_a_bound() {
    let mut consensus = running(&six(4));
    let mut effects: Vec<Effect> = Vec::new();
    for mark in 0..5 {
        let block = (Index::ZERO, BlockId::new([mark; 32]));
        let fault = PeerFault::InvalidBlock;
        let refused = consensus.refuse_leader(w(0), Some(block), fault, &mut effects);
        assert_eq!(refused, Disposition::Fault(fault));
    }
    let refused = &consensus.windows[&w(0)].refused;
    assert_eq!(refused.len(), usize::from(limits::BLOCKS_PER_POSITION_MAX));
}

/// Whoever keeps blocks for this validator may let the others go, and no block on which it counts.
#[test]
fn a_block_is_counted_on_in_a_window_that_is_held_and_while_it_waits_to_be_delivered() {
    let set = six(8);
    let mut consensus = running(&set);
    let low = chain(&set, 0, genesis_header(&set), 1, 1)[0];
    let header = |window| Header {
        window: w(window),
        height: Height::new(4 + window),
        ..low
    };
    consensus.proven.window = w(7);
    consensus
        .windows
        .entry(w(5))
        .or_insert_with(|| WindowState::new(w(5), 6));
    consensus.windows.remove(&w(6));
    let (held, gone, live) = (header(5), header(6), header(7));
    assert!(consensus.counts_on(&held, held.id()), "its window is there");
    assert!(consensus.counts_on(&live, live.id()), "it may be built on");
    assert!(!consensus.counts_on(&gone, gone.id()));
    let path = FinalPath::Fast;
    consensus.delivery.push(gone.id(), gone, path, true);
    assert!(consensus.counts_on(&gone, gone.id()), "it waits");
    assert!(
        !consensus.counts_on(&gone, low.id()),
        "another one of its height"
    );
}
