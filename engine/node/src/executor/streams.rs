//! What an executor keeps of the streams, and for whom.
//!
//! Owns nothing but the calls. Never: what is put out, or who is connected.

use std::sync::Arc;

use quorate_consensus::types::ValidatorIndex;

use super::Executor;
use crate::archive::Archived;
use crate::client_wire::PrivateFrame;
use crate::private::{PrivateRange, PrivateRing};
use crate::state_machine::StateMachine;
use crate::streams::PublicStream;

impl<S: StateMachine> Executor<S> {
    /// Keeps the public stream of what is executed from here on, for whoever
    /// [takes](Self::take_public) it when the node serves.
    #[must_use]
    pub(crate) fn keeping_public(mut self, public: PublicStream) -> Self {
        self.public = Some(public);
        self
    }

    /// Keeps the private streams of what is executed from here on, as many bytes of them.
    #[must_use]
    pub(crate) fn keeping_private(mut self, bytes_max: usize) -> Self {
        self.private = PrivateRing::new(bytes_max);
        self
    }

    /// The answer to a session's question for a stretch of its private stream.
    pub(crate) fn private_frame(
        &self,
        leader: Option<ValidatorIndex>,
        id: u64,
        range: &PrivateRange,
    ) -> Vec<u8> {
        let mut frame = PrivateFrame::new(leader, id);
        self.private.answer(range, self.height, &mut frame);
        frame.into_bytes()
    }

    /// How far the archive is, if one is kept.
    pub(crate) fn archived(&self) -> Option<Arc<Archived>> {
        let archived = self.public.as_ref()?.archived.as_ref();
        archived.map(Arc::clone)
    }

    /// The public stream so far; it is kept here no longer.
    pub(crate) fn take_public(&mut self) -> Option<PublicStream> {
        let mut public = self.public.take()?;
        public.finish(&self.events);
        Some(public)
    }
}
