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

    /// The highest window of these in which a block was seen.
    pub(crate) fn last(&self, is_meant: impl Fn(Window) -> bool) -> Option<Window> {
        let mut windows = self.0.keys().rev().map(|&(window, _)| window);
        windows.find(|&window| is_meant(window))
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

    #[test]
    fn the_highest_window_with_a_block_is_told_of_those_that_are_meant() {
        let mut proposals = Proposals::default();
        for window in [3, 8, 5] {
            let window = Window::new(window);
            let header = Header { window, ..SAMPLE };
            proposals.see(header.id(), &header).unwrap();
        }
        assert_eq!(proposals.last(|_| true), Some(Window::new(8)));
        let odd = |window: Window| window.number() % 2 == 1;
        assert_eq!(proposals.last(odd), Some(Window::new(5)));
        assert_eq!(proposals.last(|_| false), None);
    }
}
