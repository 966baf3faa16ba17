//! What others said last in windows that were dropped: a validator may come back with a disk that
//! is older than that, and would speak there again (R12).
//!
//! Owns two records of each validator, the newest and the newest that it signed. Never: counts or
//! judges one.

use crate::message::HeldRecord;
use crate::types::ValidatorIndex;
use alloc::vec::Vec;

/// Records kept of one validator.
pub(crate) const LAST_WORDS_MAX: usize = 2;

#[derive(Debug)]
pub(crate) struct LastWords {
    of: Vec<Words>,
}

#[derive(Clone, Debug, Default)]
struct Words {
    newest: Option<HeldRecord>,
    signed: Option<HeldRecord>,
}

impl LastWords {
    pub(crate) fn new(validators: usize) -> Self {
        Self {
            of: (0..validators).map(|_| Words::default()).collect(),
        }
    }

    /// The last words of a validator in windows that were dropped, if it was heard in any: the
    /// signed one alone where it is the newest.
    pub(crate) fn of(&self, from: ValidatorIndex) -> impl Iterator<Item = &HeldRecord> {
        let Words { newest, signed } = &self.of[from.place()];
        let is_same = |one: &&HeldRecord| {
            let signed = signed.as_ref();
            signed.is_some_and(|signed| signed.window == one.window && signed.record == one.record)
        };
        let newest = newest.as_ref().filter(|one| !is_same(one));
        newest.into_iter().chain(signed)
    }

    /// Hears a record of a window that was dropped, or is about to be: whoever lags speaks there
    /// still. What came before is no later word. A signature is judged by who asks.
    pub(crate) fn hear(&mut self, from: ValidatorIndex, held: HeldRecord) {
        let words = &mut self.of[from.place()];
        if held.signature.is_some() && is_later(words.signed.as_ref(), &held) {
            words.signed = Some(held.clone());
        }
        if is_later(words.newest.as_ref(), &held) {
            words.newest = Some(held);
        }
    }
}

/// Whether a record was said after the one that is held, as far as it can be known without headers.
fn is_later(held: Option<&HeldRecord>, newer: &HeldRecord) -> bool {
    held.is_none_or(|held| {
        let extends =
            held.record.may_extend_to(&newer.record) && held.record.also_may_grow_to(&newer.record);
        newer.window > held.window || newer.window == held.window && extends
    })
}
