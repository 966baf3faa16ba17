//! What others said last in windows that were dropped: a validator may come back with a disk that
//! is older than that, and would speak there again (R12).
//!
//! Owns one record of each validator. Never: counts or judges one.

use crate::certificate::SignatureBytes;
use crate::message::HeldRecord;
use crate::record::Record;
use crate::types::{ValidatorIndex, Window};
use alloc::vec::Vec;

#[derive(Debug)]
pub(crate) struct LastWords {
    of: Vec<Option<HeldRecord>>,
}

impl LastWords {
    pub(crate) fn new(validators: usize) -> Self {
        Self {
            of: (0..validators).map(|_| None).collect(),
        }
    }

    /// The last word of a validator in windows that were dropped, if it was heard in any.
    pub(crate) fn of(&self, from: ValidatorIndex) -> Option<&HeldRecord> {
        self.of[from.place()].as_ref()
    }

    /// Keeps the newest record of a window that is about to be dropped.
    pub(crate) fn keep(&mut self, from: ValidatorIndex, held: HeldRecord) {
        self.of[from.place()] = Some(held);
    }

    /// Hears a record of a window that was dropped: whoever lags still speaks there. What is said
    /// again, and what came before, is no later word. The signature is judged by who asks.
    pub(crate) fn hear(
        &mut self,
        from: ValidatorIndex,
        window: Window,
        record: &Record,
        signature: Option<SignatureBytes>,
    ) {
        if record.is_empty() {
            return;
        }
        let word = &mut self.of[from.place()];
        if let Some(last) = word {
            let is_same = last.window == window && last.record == *record;
            let is_later = window > last.window
                || window == last.window
                    && last.record.may_extend_to(record)
                    && last.record.also_may_grow_to(record);
            if !is_later || is_same && signature.is_none() {
                return;
            }
        }
        *word = Some(HeldRecord {
            window,
            record: record.clone(),
            signature,
        });
    }
}
