//! Says nothing at all: as good as dead, but for its connections.
//!
//! Owns silence.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The silent one.
#[derive(Debug, Default)]
pub(crate) struct Silent;

impl Actor for Silent {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Withheld, "status"), (Deed::Withheld, "fence")]
    }

    fn say(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, _: Message) {}
}
