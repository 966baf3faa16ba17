//! Which blocks' signatures are being checked, for whoever must wait for one.
//!
//! Owns how many parts of each are left. Never: checks anything.

use parking_lot::{Condvar, Mutex};
use quorate_consensus::types::BlockId;
use std::collections::HashMap;
use std::sync::Arc;

/// The blocks whose signatures workers are checking.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(pub(super) Arc<(Mutex<HashMap<BlockId, usize>>, Condvar)>);

impl InFlight {
    pub(super) fn begin(&self, id: BlockId, parts: usize) {
        *self.0.0.lock().entry(id).or_insert(0) += parts;
    }

    pub(super) fn end(&self, id: &BlockId) {
        let (parts, ended) = &*self.0;
        let mut parts = parts.lock();
        let left = parts.get_mut(id).map(|left| {
            *left = left.saturating_sub(1);
            *left
        });
        if left == Some(0) {
            parts.remove(id);
            ended.notify_all();
        }
    }

    /// Waits until no worker checks this block; at once when none does.
    pub(crate) fn wait(&self, id: &BlockId) {
        let (parts, ended) = &*self.0;
        let mut parts = parts.lock();
        while parts.contains_key(id) {
            ended.wait(&mut parts);
        }
    }
}
