//! Evidence against a validator from its own signed records (2.10).
//!
//! Owns the search for a contradiction between what is held and what came. Never: counting; what
//! accuses changes nothing here.

use crate::certificate::{SignatureBytes, SignedRecord};
use crate::evidence::Evidence;
use crate::header::Header;
use crate::limits;
use crate::record::Record;
use crate::types::{BlockId, Index, Window};
use crate::validators::ValidatorSet;
use crate::verify::check_evidence;
use crate::window::WindowState;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// E3 when the record contradicts itself, E2 when it and one that is held are not ordered, as far
/// as the headers that are here show it.
pub(crate) fn accuse(
    set: &ValidatorSet,
    state: &WindowState,
    signed: &SignedRecord,
) -> Option<Evidence> {
    if !signed.record.is_consistent(set.slots()) {
        return Some(Evidence::OneRecord {
            epoch: set.epoch(),
            window: state.window,
            record: Box::new(signed.clone()),
        });
    }
    let voter = state.tally.voter(signed.validator)?;
    let held = voter.signed.iter().chain(&voter.signed_before);
    held.filter(|(held, _)| *held != signed.record)
        .find_map(|held| accuse_of_two(set, state, held, signed))
}

/// E2 when a record and an earlier one of the same validator are not ordered, as far as the
/// headers that are here show it.
pub(crate) fn accuse_of_two(
    set: &ValidatorSet,
    state: &WindowState,
    (held, signature): &(Record, SignatureBytes),
    signed: &SignedRecord,
) -> Option<Evidence> {
    // The steady state, a longer chain of first votes; and an earlier record that came late, which
    // must not cost more than it says: whoever sends it could do so for ever.
    if extends(state, held, &signed.record) || extends(state, &signed.record, held) {
        return None;
    }
    let held = SignedRecord {
        validator: signed.validator,
        record: held.clone(),
        signature: *signature,
    };
    let headers = branch_headers(state, &held, signed);
    let evidence = two_records(set, state.window, held, signed.clone(), headers);
    check_evidence(set, &evidence).is_ok().then_some(evidence)
}

/// Whether `newer` plainly extends `older`, as far as can be told without its headers.
fn extends(state: &WindowState, older: &Record, newer: &Record) -> bool {
    // A fallback grows along its chain with each block.
    let still_stands = |old: &(Index, BlockId)| {
        let is_above =
            |new: &(Index, BlockId)| new.0 > old.0 && is_on_chain(state, Some(*old), Some(*new));
        newer.also.iter().any(|new| new == old || is_above(new))
    };
    older.may_extend_to(newer)
        && older.also.iter().all(still_stands)
        && is_on_chain(state, older.tip, newer.tip)
}

fn two_records(
    set: &ValidatorSet,
    window: Window,
    held: SignedRecord,
    new: SignedRecord,
    headers: Vec<Header>,
) -> Evidence {
    Evidence::TwoRecords {
        epoch: set.epoch(),
        window,
        validator: new.validator,
        records: Box::new([held, new]),
        headers,
    }
}

/// Whether the old tip lies on the new one's chain, or this cannot be told yet.
fn is_on_chain(
    state: &WindowState,
    old: Option<(Index, BlockId)>,
    new: Option<(Index, BlockId)>,
) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    let tree = &state.tally.tree;
    let Some(top) = tree.find_connected(new.0, new.1) else {
        return true;
    };
    tree.ancestor_at(top, old.0)
        .is_none_or(|at| tree.block(at).id == old.1)
}

/// Headers of every chain that the two records name, those above the lowest place named.
fn branch_headers(state: &WindowState, one: &SignedRecord, other: &SignedRecord) -> Vec<Header> {
    let tree = &state.tally.tree;
    let named = |signed: &SignedRecord| -> Vec<(Index, BlockId)> {
        let record = &signed.record;
        record.tip.iter().chain(&record.also).copied().collect()
    };
    let mut tops = named(one);
    tops.extend(named(other));
    let lowest = tops.iter().map(|&(index, _)| index).min();
    let mut places: Vec<_> = tops
        .iter()
        .filter_map(|&(index, id)| tree.find_connected(index, id))
        .flat_map(|top| {
            tree.chain(top)
                .take_while(|&at| lowest.is_none_or(|lowest| tree.block(at).index >= lowest))
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    places.truncate(limits::CERTIFICATE_HEADERS_MAX);
    places
        .into_iter()
        .filter_map(|at| tree.block(at).header)
        .collect()
}
