//! One window: its blocks, its votes, what this validator says in it.
//!
//! Owns the state of a window and the rules that need nothing outside it (R3 to R7 in `rules`).
//! Never: entering windows, finality across windows, messages.

pub(crate) mod logged;
pub(crate) mod parents;
pub(crate) mod predicates;
pub(crate) mod rules;
pub(crate) mod tally;
pub(crate) mod tree;

use crate::certificate::Certificate;
use crate::evidence::SignedHeader;
use crate::header::Header;
use crate::limits;
use crate::record::Record;
use crate::types::{BlockId, Index, Point, Window};
use crate::validators::ValidatorSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use logged::Logged;
pub(crate) use parents::ReadyParent;
use parents::{HandedOn, Parents};
use tally::Tally;
use tree::BlockPlace;

/// State of one window.
#[derive(Debug)]
pub(crate) struct WindowState {
    pub(crate) window: Window,
    pub(crate) tally: Tally,
    /// PR of this window. Empty until evidence comes.
    pub(crate) parents: Parents,
    /// How far the next window has been handed what it may stand on.
    pub(crate) handed_on: HandedOn,
    /// Block of index 0 below everything that is final here, once something is.
    pub(crate) final_first: Option<BlockPlace>,
    /// What this validator means to have said, logged or on its way to the log.
    pub(crate) own: Record,
    /// Block of the own tip.
    pub(crate) own_tip: Option<BlockPlace>,
    /// The log holds a record, and the block of its tip cannot be placed: what depends on its chain
    /// may not be said.
    pub(crate) is_frozen: bool,
    /// Blocks of the log that cannot be placed yet.
    pub(crate) logged: Logged,
    /// Last record handed to the journal.
    pub(crate) persisted: Record,
    /// Last record that is durable, hence counted and sent.
    pub(crate) durable: Record,
    /// Whether `durable` has not been sent since it changed.
    pub(crate) is_unsent: bool,
    /// Record handed out for signing.
    pub(crate) signing: Option<Record>,
    /// When something unsigned first stood here.
    pub(crate) unsigned_since_ns: Option<u64>,
    /// A signature is wanted at once.
    pub(crate) sign_now: bool,
    /// When a record was last handed out for signing.
    pub(crate) signed_at_ns: Option<u64>,
    /// When the progress timer fires.
    pub(crate) timer_ns: Option<u64>,
    /// Highest notarized index at which the timer was last restarted.
    pub(crate) timer_notarized: Option<Index>,
    /// Blocks refused as invalid, to be compared with what others vote for. Bound:
    /// `BLOCKS_PER_POSITION_MAX`, and those behind which stake of AMP was when they came, until the
    /// alarm.
    pub(crate) refused: Vec<(Index, BlockId)>,
    /// The leader broke a rule on its own channel: stop.
    pub(crate) leader_fault: bool,
    /// The progress timer has fired here once.
    pub(crate) timed_out: bool,
    /// When the highest notarized block not yet final was first seen notarized.
    pub(crate) notarized_since_ns: Option<u64>,
    /// When its Final gets a frame of its own, if it waits for that.
    pub(crate) final_due_ns: Option<u64>,
    /// When the next block's header time comes within reach, by the monotonic clock.
    pub(crate) arrives_ns: Option<u64>,
    /// Own votes or others' changed: rules are to be judged again.
    pub(crate) is_dirty: bool,
    /// Signed records changed: proofs are to be looked for again.
    pub(crate) is_signed_dirty: bool,
    /// Verified certificates of this window, kept to be served. Bound: one Skip, one Certified a
    /// block that can be certified.
    pub(crate) certificates: Vec<Certificate>,
    /// Lowest index skipped by a verified certificate.
    pub(crate) skip_fact: Option<Index>,
    /// Blocks certified by a verified certificate, with their header time.
    pub(crate) certified_facts: Vec<(Point, u64)>,
    /// How often a verified certificate said something new.
    pub(crate) fact_changes: u64,
    /// Headers with the leader's good signature, for E1. Bound: `SIGNED_HEADERS_MAX`.
    pub(crate) signed_headers: Vec<SignedHeader>,
    /// The own stop was sent, with what goes along.
    pub(crate) is_stop_sent: bool,
    /// Inline certificates of the leader's first block that were checked. Bound:
    /// `BLOCKS_PER_POSITION_MAX`.
    pub(crate) justifications: u8,
    /// Certificates behind the parents were sent to the leader once.
    pub(crate) is_announced: bool,
    /// What was known when it was last found that nothing shows a parent.
    pub(crate) unshown_at: Option<(BlockId, u64)>,
    /// Blocks of the leader that came before their parents. Bound: `PIPELINE_BLOCKS`.
    pub(crate) early: Vec<(Header, Arc<[u8]>)>,
}

/// Signed headers kept for each window.
pub(crate) const SIGNED_HEADERS_MAX: usize = 4;

impl WindowState {
    pub(crate) fn new(window: Window, validators: usize) -> Self {
        Self {
            window,
            tally: Tally::new(validators),
            parents: Parents::default(),
            handed_on: HandedOn::default(),
            final_first: None,
            own: Record::default(),
            own_tip: None,
            is_frozen: false,
            logged: Logged::default(),
            persisted: Record::default(),
            durable: Record::default(),
            is_unsent: false,
            signing: None,
            unsigned_since_ns: None,
            sign_now: false,
            signed_at_ns: None,
            timer_ns: None,
            timer_notarized: None,
            refused: Vec::new(),
            leader_fault: false,
            timed_out: false,
            notarized_since_ns: None,
            final_due_ns: None,
            arrives_ns: None,
            is_dirty: true,
            is_signed_dirty: false,
            certificates: Vec::new(),
            skip_fact: None,
            certified_facts: Vec::new(),
            fact_changes: 0,
            signed_headers: Vec::new(),
            is_stop_sent: false,
            justifications: 0,
            is_announced: false,
            unshown_at: None,
            early: Vec::new(),
        }
    }

    /// Whether no further first vote can be cast here: `closed(w)`.
    pub(crate) fn is_closed(&self, slots: u32) -> bool {
        self.own.is_closed(slots)
    }

    /// Whether time alone calls for the rules to be judged again: a lone Final has waited, or a
    /// header from the future has arrived.
    pub(crate) fn is_due(&self, now: crate::types::Now) -> bool {
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ns >= at);
        due(self.final_due_ns) || due(self.arrives_ns)
    }

    /// Adds a parent, or the signed evidence for one already here. `true` when something changed.
    pub(crate) fn add_parent(&mut self, set: &ValidatorSet, parent: ReadyParent) -> bool {
        let last = set.slots().saturating_sub(1);
        let is_last = parent.point.window.next() == self.window
            && parent.point.index.number() == last
            && !set.is_genesis(&parent.point);
        let (is_changed, is_new) = self.parents.add(parent, is_last);
        self.is_dirty |= is_new;
        is_changed
    }

    /// The own tip's index.
    pub(crate) fn own_tip_index(&self) -> Option<Index> {
        self.own.tip.map(|(index, _)| index)
    }

    /// Whether a block that is said to be certified would be kept as such.
    pub(crate) fn wants_certified(&self, index: Index, id: BlockId) -> bool {
        let facts = &self.certified_facts;
        let has_room = facts.len() < limits::VALIDATORS_MAX;
        !facts.iter().any(|(held, _)| held.id == id)
            && (has_room || facts.iter().any(|(held, _)| held.index < index))
    }

    /// Keeps a block as certified. There are few where a window ends; of more than those, whoever
    /// brought them, the lowest makes room. `false` when there is nothing to keep.
    pub(crate) fn keep_certified(&mut self, point: Point, time_ns: u64) -> bool {
        let facts = &mut self.certified_facts;
        if facts.iter().any(|(held, _)| held.id == point.id) {
            return false;
        }
        if facts.len() >= limits::VALIDATORS_MAX {
            let places = facts.iter().enumerate();
            let Some((lowest, place)) = places.map(|(at, (held, _))| (held.index, at)).min() else {
                return false;
            };
            if lowest >= point.index {
                return false;
            }
            facts.remove(place);
        }
        facts.push((point, time_ns));
        self.fact_changes = self.fact_changes.saturating_add(1);
        true
    }

    /// Everything from this index on may be passed over, as a verified certificate says.
    pub(crate) fn keep_skip(&mut self, from: Index) {
        self.skip_fact = crate::windows::lowest(self.skip_fact, Some(from));
        self.fact_changes = self.fact_changes.saturating_add(1);
    }

    /// Keeps a verified certificate for serving, replacing what it makes redundant.
    pub(crate) fn keep_certificate(&mut self, certificate: Certificate) {
        use crate::certificate::Target;
        self.fact_changes = self.fact_changes.saturating_add(1);
        let same = |held: &Certificate| match (held.target, certificate.target) {
            (Target::Skip { from: held }, Target::Skip { from }) => from <= held,
            (held, target) => held == target,
        };
        self.certificates.retain(|held| !same(held));
        let headers = |held: &Certificate| held.headers.len();
        let mut headers_held: usize = self.certificates.iter().map(headers).sum();
        headers_held = headers_held.saturating_add(certificate.headers.len());
        while self.certificates.len() >= limits::VALIDATORS_MAX
            || headers_held > limits::CERTIFICATES_KEPT_HEADERS_MAX
        {
            // The lowest block is the one that a Skip bypasses last: it makes room.
            let index = |held: &Certificate| match held.target {
                Target::Certified { index, .. } => Some(index),
                Target::Skip { .. } | Target::Final { .. } => None,
            };
            let places = self.certificates.iter().enumerate();
            let lowest = places.filter_map(|(place, held)| Some((index(held)?, place)));
            let Some((_, place)) = lowest.min() else {
                break;
            };
            let removed = self.certificates.remove(place);
            headers_held = headers_held.saturating_sub(removed.headers.len());
        }
        self.certificates.push(certificate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Target;
    use crate::types::{Epoch, Height};

    fn certificate(target: Target) -> Certificate {
        Certificate {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            target,
            records: Vec::new(),
            headers: Vec::new(),
        }
    }

    fn skip(from: u32) -> Certificate {
        let from = Index::new(from);
        certificate(Target::Skip { from })
    }

    fn certified(index: u32) -> Certificate {
        let Point { index, id, .. } = point(index);
        certificate(Target::Certified { index, id })
    }

    fn point(index: u32) -> Point {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&index.to_le_bytes());
        Point {
            window: Window::ZERO,
            index: Index::new(index),
            height: Height::new(1),
            id: BlockId::new(id),
        }
    }

    #[test]
    fn a_skip_that_begins_lower_replaces_those_above() {
        let mut state = WindowState::new(Window::ZERO, 6);
        for from in [3, 5, 1] {
            state.keep_certificate(skip(from));
        }
        assert_eq!(state.certificates, [skip(1)]);
    }

    #[test]
    fn a_skip_that_begins_higher_takes_no_fact_back() {
        let mut state = WindowState::new(Window::ZERO, 6);
        for (from, fact) in [(3, 3), (1, 1), (5, 1)] {
            state.keep_skip(Index::new(from));
            assert_eq!(state.skip_fact, Some(Index::new(fact)));
        }
    }

    #[test]
    fn certificates_of_a_window_are_bounded_and_that_of_the_lowest_block_makes_room() {
        let mut state = WindowState::new(Window::ZERO, 6);
        let most = limits::VALIDATORS_MAX as u32;
        state.keep_certificate(skip(7));
        for index in 1..=most + 60 {
            state.keep_certificate(certified(index));
        }
        assert_eq!(state.certificates.len(), limits::VALIDATORS_MAX);
        assert!(state.certificates.contains(&skip(7)), "the only one");
        let lowest_held = 62;
        assert!(!state.certificates.contains(&certified(lowest_held - 1)));
        for index in lowest_held..=most + 60 {
            assert!(state.certificates.contains(&certified(index)), "{index}");
        }
    }

    #[test]
    fn headers_of_the_certificates_of_a_window_are_bounded() {
        let mut state = WindowState::new(Window::ZERO, 6);
        let header = Header {
            version: crate::header::HEADER_VERSION,
            flags: 0,
            chain_id: [0; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::new(1),
            time_ns: 1,
            parent_id: BlockId::new([1; 32]),
            payload_hash: [0; 32],
            payload_bytes: 0,
        };
        let longest = |index: u32| Certificate {
            headers: [header].repeat(limits::CERTIFICATE_HEADERS_MAX),
            ..certified(index)
        };
        state.keep_certificate(skip(9));
        for index in 1..=6 {
            state.keep_certificate(longest(index));
        }
        let held = state.certificates.iter().map(|held| held.headers.len());
        assert_eq!(held.sum::<usize>(), limits::CERTIFICATES_KEPT_HEADERS_MAX);
        for index in 3..=6 {
            assert!(state.certificates.contains(&longest(index)), "{index}");
        }
        assert!(state.certificates.contains(&skip(9)));
    }

    #[test]
    fn facts_of_certified_blocks_are_bounded_and_the_lowest_makes_room() {
        let mut state = WindowState::new(Window::ZERO, 6);
        let most = limits::VALIDATORS_MAX as u32;
        for index in 1..=most {
            assert!(state.keep_certified(point(index), 0));
        }
        assert!(!state.keep_certified(point(0), 0), "lower than all");
        let wants = |state: &WindowState, index| {
            let Point { index, id, .. } = point(index);
            state.wants_certified(index, id)
        };
        assert!(
            !wants(&state, 0),
            "so its signatures are not checked either"
        );
        assert!(wants(&state, most + 1) && !wants(&state, 5));
        assert!(state.keep_certified(point(most + 1), 0));
        let mut held = state.certified_facts.iter().map(|(held, _)| *held);
        assert!(!held.any(|held| held == point(1)));
        assert_eq!(state.certified_facts.len(), limits::VALIDATORS_MAX);
    }
}
