//! Equal heights have equal states.
//!
//! Owns the first state root seen of every height.

use std::collections::BTreeMap;

use super::Violation;

/// The first root of every height.
#[derive(Debug, Default)]
pub(crate) struct Roots(BTreeMap<u64, [u8; 32]>);

impl Roots {
    /// A validator stands at this height with this state, after a block or after a restart.
    pub(crate) fn see(
        &mut self,
        validator: usize,
        height: u64,
        root: [u8; 32],
    ) -> Result<(), Violation> {
        if *self.0.entry(height).or_insert(root) == root {
            return Ok(());
        }
        let what = format!("v{validator} has another state at height {height}");
        Err(Violation::new("roots", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_state_at_a_height_is_found() {
        let mut roots = Roots::default();
        assert_eq!(roots.see(0, 1, [1; 32]), Ok(()));
        assert_eq!(roots.see(1, 1, [1; 32]), Ok(()));
        assert_eq!(roots.see(1, 2, [2; 32]), Ok(()));
        assert!(roots.see(2, 2, [1; 32]).is_err());
    }
}
