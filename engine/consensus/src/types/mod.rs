//! The basic quantities, one newtype an idea. Never: a bare integer whose meaning the reader has
//! to guess, or a conversion that lets two of them mix.

mod block_id;
mod slot;
mod stake;
mod time;
mod validator;

pub use block_id::BlockId;
pub use slot::{Epoch, Height, Index, Point, Window};
pub use stake::Stake;
pub use time::Now;
pub use validator::ValidatorIndex;
