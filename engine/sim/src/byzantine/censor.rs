//! A leader that never puts some clients' commands into a block.
//!
//! Owns the choice of those clients. No safety is lost by it: their commands wait for another
//! leader.

use quorate_consensus::message::Message;
use quorate_consensus::payload::parse_entries;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The leader with a grudge.
#[derive(Debug, Default)]
pub(crate) struct Censor;

/// Whether a session is one of those it does not serve.
const fn is_hated(session: &[u8; 16]) -> bool {
    session[0].is_multiple_of(2)
}

impl Actor for Censor {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Unheard, "forward"), (Deed::Misheard, "forward")]
    }

    fn hear(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, message: Message) -> Option<Message> {
        let Message::Forward(entries) = &message else {
            return Some(message);
        };
        let Ok(commands) = parse_entries(entries) else {
            return None;
        };
        let kept: Vec<u8> = commands
            .filter(|command| !is_hated(command.session))
            .flat_map(|command| command.entry.iter().copied())
            .collect();
        (!kept.is_empty()).then(|| Message::Forward(kept.into()))
    }
}
