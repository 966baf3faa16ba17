//! Places: epoch, window, index, height.

use super::BlockId;
use core::fmt;

macro_rules! place {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// Wraps a number.
            #[must_use]
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> $inner {
                self.0
            }

            /// The next one; saturates at the end of the range, where no peer can push it further.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The one before, if there is one.
            #[must_use]
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// `count` further on; saturates.
            #[must_use]
            pub const fn plus(self, count: $inner) -> Self {
                Self(self.0.saturating_add(count))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{}"), self.0)
            }
        }
    };
}

place!(
    /// The span of one validator set.
    Epoch, u64, "e"
);
place!(
    /// One leader's tenure, counted from zero in its epoch.
    Window, u64, "w"
);
place!(
    /// Place of a block in its window, below the window's slot count.
    Index, u32, "i"
);
place!(
    /// Gap-free place in the finalized chain; genesis is 0, or where a chain that goes on from
    /// another one begins.
    Height, u64, "h"
);

/// One block of the chain and where it stands.
///
/// Finalized points lie on one chain, so among them the order of heights is the order of
/// positions. Genesis has the height that its chain begins at and stands before window 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Window of the block; 0 for genesis.
    pub window: Window,
    /// Place in the window; 0 for genesis.
    pub index: Index,
    /// Place in the chain.
    pub height: Height,
    /// Name of the block.
    pub id: BlockId,
}

impl Point {
    /// The point of a chain's genesis.
    #[must_use]
    pub const fn genesis(height: Height, id: BlockId) -> Self {
        Self {
            window: Window::ZERO,
            index: Index::ZERO,
            height,
            id,
        }
    }
}
