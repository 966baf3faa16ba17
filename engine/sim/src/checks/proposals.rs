//! No honest leader makes two blocks for one position, in any of its lives.
//!
//! Owns the first block seen of every position.

use std::collections::BTreeMap;

use quorate_consensus::header::Header;
use quorate_consensus::types::{BlockId, Index, Window};

use super::Violation;

/// The first block of every position.
#[derive(Debug, Default)]
pub(crate) struct Proposals(BTreeMap<(Window, Index), BlockId>);

impl Proposals {
    /// A header of an honest leader's window was seen on the wire.
    pub(crate) fn see(&mut self, id: BlockId, header: &Header) -> Result<(), Violation> {
        let position = (header.window, header.index);
        let first = *self.0.entry(position).or_insert(id);
        if first == id {
            return Ok(());
        }
        let what = format!("{position:?} holds {first:?} and {id:?}");
        Err(Violation::new("proposals", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;

    #[test]
    fn a_second_block_for_a_position_is_found_and_the_same_one_again_is_not() {
        let mut proposals = Proposals::default();
        let mut sees = |mark| {
            let header = Header {
                payload_hash: [mark; 32],
                ..SAMPLE
            };
            proposals.see(header.id(), &header)
        };
        assert_eq!(sees(1), Ok(()));
        assert_eq!(sees(1), Ok(()));
        assert!(sees(2).is_err());
    }
}
