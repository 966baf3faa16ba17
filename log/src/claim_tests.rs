//! A claim in one thread; tests/loom.rs has the model.

use crate::claim::Claim;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[test]
fn a_claim_is_free_again_when_its_last_holder_is_gone() {
    let taken = Arc::new(AtomicBool::new(false));
    let claim = Claim::take(&taken).unwrap();
    let second = Arc::clone(&claim);
    assert!(Claim::take(&taken).is_none());
    drop(claim);
    assert!(Claim::take(&taken).is_none());
    drop(second);
    assert!(Claim::take(&taken).is_some());
}
