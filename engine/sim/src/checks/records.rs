//! No validator ever sends two vote records about one window that are not ordered.
//!
//! Owns every record that each validator ever sent or signed, over all its lives, and the order
//! of records as protocol.md states it, in code of its own. Never: forgets a record because its
//! sender did.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quorate_consensus::evidence::Evidence;
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, Window};

use super::Violation;
use super::headers::HeaderBook;

/// The own record that a message carries, with its window.
pub(crate) fn own(message: &Message) -> Option<(Window, &Record)> {
    match message {
        Message::Vote(vote) => Some((vote.window, &vote.record)),
        Message::Status(status) => Some((status.window, &status.record)),
        Message::Propose(propose) => {
            let window = propose.header.window;
            propose.record.as_ref().map(|record| (window, record))
        }
        _ => None,
    }
}

/// The records of others that a message to `to` shows: whose, about which window, and what. Each
/// was said by that validator, to whoever shows it.
pub(crate) fn shown(to: Option<usize>, message: &Message) -> Vec<(usize, Window, &Record)> {
    match message {
        Message::FenceAnswer { held, .. } => {
            let shown = |asker| held.iter().map(move |one| (asker, one.window, &one.record));
            to.into_iter().flat_map(shown).collect()
        }
        Message::Evidence(evidence) => match evidence {
            Evidence::TwoHeaders(_) => Vec::new(),
            Evidence::TwoRecords {
                window,
                validator,
                records,
                ..
            } => {
                let said = records.iter().map(|signed| &signed.record);
                said.map(|record| (validator.place(), *window, record))
                    .collect()
            }
            Evidence::OneRecord { window, record, .. } => {
                vec![(record.validator.place(), *window, &record.record)]
            }
        },
        _ => Vec::new(),
    }
}

/// The recorder.
#[derive(Debug)]
pub(crate) struct Records {
    window_slots: u32,
    /// Distinct records, in the order in which they were first sent.
    sent: BTreeMap<(usize, Window), Vec<Record>>,
}

impl Records {
    pub(crate) const fn new(window_slots: u32) -> Self {
        Self {
            window_slots,
            sent: BTreeMap::new(),
        }
    }

    /// A validator says this about a window, to anybody.
    pub(crate) fn see(&mut self, validator: usize, window: Window, record: &Record) {
        if *record == Record::default() {
            return;
        }
        let known = self.sent.entry((validator, window)).or_default();
        if !known.iter().rev().any(|before| before == record) {
            known.push(record.clone());
        }
    }

    /// The highest window of which a validator has said anything.
    pub(crate) fn last(&self, validator: usize) -> Option<Window> {
        let all = (validator, Window::ZERO)..=(validator, Window::new(u64::MAX));
        let last = self.sent.range(all).next_back();
        last.map(|(&(_, window), _)| window)
    }

    /// Judges all that was said, now that all headers are known.
    pub(crate) fn finish(&self, headers: &HeaderBook) -> Vec<Violation> {
        let mut found = Vec::new();
        for ((validator, window), records) in &self.sent {
            let view = View {
                headers,
                window: *window,
            };
            for record in records {
                if !self.is_consistent(&view, record) {
                    let what = format!("v{validator} {window:?}: {record:?} contradicts itself");
                    found.push(Violation::new("records", what));
                }
            }
            if view.is_chain(records) {
                continue;
            }
            for (place, later) in records.iter().enumerate() {
                let unordered = records[..place]
                    .iter()
                    .find(|earlier| !view.is_ordered(earlier, later));
                if let Some(earlier) = unordered {
                    let what = format!(
                        "v{validator} {window:?}: {earlier:?} and then {later:?} are not ordered"
                    );
                    found.push(Violation::new("records", what));
                }
            }
        }
        found
    }

    fn is_consistent(&self, view: &View<'_>, record: &Record) -> bool {
        let last = self.window_slots.saturating_sub(1);
        let inside = |index: Index| index.number() <= last;
        let is_full = record.tip.is_some_and(|(index, _)| index.number() == last);
        let falls_back = record.skip_fallback.is_some() || !record.also.is_empty();
        let lowest_fallback = record
            .also
            .iter()
            .filter_map(|&(index, id)| view.first_difference(record.tip, index, id))
            .chain(record.skip_fallback)
            .min();
        let final_fits = match (record.fin, record.tip) {
            (None, _) => true,
            (Some(fin), Some((tip, _))) => {
                fin <= tip && lowest_fallback.is_none_or(|fallback| fin < fallback)
            }
            (Some(_), None) => false,
        };
        final_fits
            && (!falls_back || record.stop || is_full)
            && record.tip.is_none_or(|(index, _)| inside(index))
            && record.skip_fallback.is_none_or(inside)
            && record.also.iter().all(|&(index, _)| inside(index))
    }
}

/// Chains of one window.
struct View<'a> {
    headers: &'a HeaderBook,
    window: Window,
}

impl View<'_> {
    fn is_ordered(&self, one: &Record, other: &Record) -> bool {
        self.extends(one, other) || self.extends(other, one)
    }

    /// Whether these are ordered among each other, shown by neighbours alone: saying all that
    /// another says is transitive where every chain is known, and all are that lie below one that
    /// is. `false` proves nothing.
    fn is_chain(&self, records: &[Record]) -> bool {
        let is_known = |record: &Record| {
            let mut named = record.tip.iter().chain(&record.also);
            named.all(|&(_, id)| self.headers.is_whole(self.window, id))
        };
        let mut by_age: Vec<&Record> = records.iter().collect();
        by_age.sort_by_key(|record| {
            let tip = record.tip.map(|(index, _)| index);
            let lowest = record.skip_fallback.map(Reverse);
            (tip, record.stop, record.fin, lowest, record.also.len())
        });
        by_age.last().is_none_or(|last| is_known(last))
            && by_age.windows(2).all(|pair| self.extends(pair[0], pair[1]))
    }

    /// Whether `newer` says all that `older` says, and more.
    fn extends(&self, older: &Record, newer: &Record) -> bool {
        let tip_grows = match (older.tip, newer.tip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((index, id)), Some((_, newer_id))) => self.is_below(index, id, newer_id),
        };
        let stop_stays = !older.stop || (newer.stop && newer.tip == older.tip);
        let final_rises = match (older.fin, newer.fin) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(older), Some(newer)) => older <= newer,
        };
        let skip_falls = match (older.skip_fallback, newer.skip_fallback) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(older), Some(newer)) => newer <= older,
        };
        let also_covers = older.also.iter().all(|&(index, id)| {
            let mut chains = newer.also.iter();
            chains.any(|&(_, newer_id)| self.is_below(index, id, newer_id))
        });
        tip_grows && stop_stays && final_rises && skip_falls && also_covers
    }

    /// Whether the chain of `above` holds `id` at `index`. A chain whose headers never were on the
    /// wire proves nothing and is given the benefit of the doubt.
    fn is_below(&self, index: Index, id: BlockId, above: BlockId) -> bool {
        if above == id {
            return true;
        }
        match self.headers.ancestor_at(self.window, above, index) {
            Some(ancestor) => ancestor == id,
            None => !self.headers.is_whole(self.window, above),
        }
    }

    /// The lowest index at which the chain of `id` is not the chain of the tip.
    fn first_difference(
        &self,
        tip: Option<(Index, BlockId)>,
        index: Index,
        id: BlockId,
    ) -> Option<Index> {
        let Some((tip_index, tip)) = tip else {
            return Some(Index::ZERO);
        };
        if !self.headers.is_whole(self.window, id) || !self.headers.is_whole(self.window, tip) {
            return None;
        }
        (0..=index.number()).map(Index::new).find(|&at| {
            at > tip_index
                || self.headers.ancestor_at(self.window, tip, at)
                    != self.headers.ancestor_at(self.window, id, at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use quorate_consensus::header::Header;
    use quorate_consensus::types::Height;

    const W: Window = Window::ZERO;

    fn header(parent: BlockId, index: u32, mark: u8) -> Header {
        Header {
            index: Index::new(index),
            height: Height::new(u64::from(index) + 1),
            time_ns: u64::from(index) + 1,
            parent_id: parent,
            payload_hash: [mark; 32],
            ..SAMPLE
        }
    }

    /// a0 - a1 and a0 - b1 in one window.
    fn book() -> (HeaderBook, [(Index, BlockId); 3]) {
        let mut book = HeaderBook::default();
        let a0 = book.add(&header(BlockId::new([0; 32]), 0, 1));
        let a1 = book.add(&header(a0, 1, 1));
        let b1 = book.add(&header(a0, 1, 2));
        let at = Index::new;
        (book, [(at(0), a0), (at(1), a1), (at(1), b1)])
    }

    fn tip(tip: (Index, BlockId)) -> Record {
        Record {
            tip: Some(tip),
            ..Record::default()
        }
    }

    fn found(records: &[Record], book: &HeaderBook) -> usize {
        let mut recorder = Records::new(8);
        records.iter().for_each(|record| recorder.see(0, W, record));
        recorder.finish(book).len()
    }

    #[test]
    fn a_record_that_grows_is_good_also_when_older_ones_are_sent_again() {
        let (book, [a0, a1, b1]) = book();
        let stopped = Record {
            stop: true,
            ..tip(a1)
        };
        let fallen = Record {
            also: vec![b1],
            skip_fallback: Some(Index::new(1)),
            fin: Some(Index::ZERO),
            ..stopped.clone()
        };
        let history = [tip(a0), tip(a1), stopped.clone(), tip(a0), fallen, stopped];
        assert_eq!(found(&history, &book), 0);
    }

    #[test]
    fn the_last_window_is_the_highest_of_that_validator() {
        let (_, [a0, ..]) = book();
        let mut recorder = Records::new(8);
        assert_eq!(recorder.last(1), None);
        for (validator, window) in [(1, 7), (1, 3), (0, 9), (2, 8)] {
            recorder.see(validator, Window::new(window), &tip(a0));
        }
        recorder.see(1, Window::new(8), &Record::default());
        assert_eq!(
            recorder.last(1),
            Some(Window::new(7)),
            "an empty one says nothing"
        );
        assert_eq!(recorder.last(0), Some(Window::new(9)));
        assert_eq!(recorder.last(3), None);
    }

    #[test]
    fn tips_on_two_branches_are_found() {
        let (book, [_, a1, b1]) = book();
        assert_eq!(found(&[tip(a1), tip(b1)], &book), 1);
    }

    #[test]
    fn a_tip_after_a_stop_is_found() {
        let (book, [a0, a1, _]) = book();
        let stopped = Record {
            stop: true,
            ..tip(a0)
        };
        assert_eq!(found(&[stopped.clone(), tip(a1)], &book), 1);
        let empty_stop = Record {
            stop: true,
            ..Record::default()
        };
        assert_eq!(found(&[empty_stop, tip(a0)], &book), 1);
    }

    #[test]
    fn a_final_that_falls_or_an_also_that_goes_is_found() {
        let (book, [_, a1, b1]) = book();
        let with = |fin, also: &[(Index, BlockId)]| Record {
            stop: true,
            fin,
            also: also.to_vec(),
            ..tip(a1)
        };
        let unordered = [with(Some(Index::ZERO), &[]), with(None, &[b1])];
        assert_eq!(found(&unordered, &book), 1);
    }

    #[test]
    fn a_skip_fallback_that_rises_or_goes_is_found() {
        let (book, [_, a1, b1]) = book();
        let with = |skip: Option<u32>, also: &[(Index, BlockId)]| Record {
            stop: true,
            skip_fallback: skip.map(Index::new),
            also: also.to_vec(),
            ..tip(a1)
        };
        let before = with(Some(2), &[]);
        // Each says more than the one before in `also`, so that it can be no older one.
        for (skip, count) in [(Some(1), 0), (Some(2), 0), (Some(3), 1), (None, 1)] {
            let after = with(skip, &[b1]);
            assert_eq!(found(&[before.clone(), after], &book), count, "{skip:?}");
        }
    }

    #[test]
    fn a_final_at_or_above_a_fallback_is_found() {
        let (book, [_, a1, b1]) = book();
        let rule_x = Record {
            stop: true,
            fin: Some(Index::new(1)),
            also: vec![b1],
            ..tip(a1)
        };
        assert_eq!(found(&[rule_x], &book), 1);
        let skipped = Record {
            stop: true,
            fin: Some(Index::new(1)),
            skip_fallback: Some(Index::new(1)),
            ..tip(a1)
        };
        assert_eq!(found(&[skipped], &book), 1);
    }

    #[test]
    fn a_record_without_a_tip_is_judged_and_an_empty_one_says_nothing() {
        let (book, [_, _, b1]) = book();
        assert_eq!(found(&[Record::default()], &book), 0);
        let fallen = Record {
            also: vec![b1],
            ..Record::default()
        };
        assert_eq!(found(&[fallen], &book), 1, "its window is open");
        let skipped = Record {
            skip_fallback: Some(Index::ZERO),
            ..Record::default()
        };
        assert_eq!(found(&[skipped], &book), 1, "the same");
        let ended = Record {
            fin: Some(Index::ZERO),
            ..Record::default()
        };
        assert_eq!(found(&[ended], &book), 1, "nothing was voted for");
    }

    #[test]
    fn evidence_and_answers_of_the_fence_show_what_their_subjects_said() {
        use quorate_consensus::certificate::SignedRecord;
        use quorate_consensus::message::HeldRecord;
        use quorate_consensus::types::{Epoch, ValidatorIndex};

        let (_, [a0, a1, b1]) = book();
        let held = HeldRecord {
            window: W,
            record: tip(a0),
            signature: None,
        };
        let answer = |held| Message::FenceAnswer {
            incarnation: 1,
            held,
        };
        let message = answer(vec![held]);
        assert_eq!(shown(Some(3), &message), [(3, W, &tip(a0))]);
        assert_eq!(shown(Some(3), &answer(Vec::new())), []);
        let validator = ValidatorIndex::new(2);
        let signed = |record| SignedRecord {
            validator,
            record,
            signature: [0; 64],
        };
        let two = Message::Evidence(Evidence::TwoRecords {
            epoch: Epoch::ZERO,
            window: W,
            validator,
            records: Box::new([signed(tip(a1)), signed(tip(b1))]),
            headers: Vec::new(),
        });
        let both = [(2, W, &tip(a1)), (2, W, &tip(b1))];
        assert_eq!(shown(None, &two), both);
        let one = Message::Evidence(Evidence::OneRecord {
            epoch: Epoch::ZERO,
            window: W,
            record: Box::new(signed(tip(b1))),
        });
        assert_eq!(shown(None, &one), [(2, W, &tip(b1))]);
    }

    #[test]
    fn a_fallback_in_an_open_window_is_found() {
        let (book, [_, a1, b1]) = book();
        let open = Record {
            also: vec![b1],
            ..tip(a1)
        };
        assert_eq!(found(&[open], &book), 1);
    }
}
