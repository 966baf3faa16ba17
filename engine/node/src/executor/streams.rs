//! What an executor keeps of the streams, and for whom.
//!
//! Owns nothing but the calls. Never: what is put out, or who is connected.

use std::sync::Arc;

use quorate_consensus::types::ValidatorIndex;
use quorate_net::ClientId;

use super::Executor;
use crate::archive::{Archived, Ring, Store};
use crate::client_wire::PrivateFrame;
use crate::private::archived::{Height, PrivateOutputs};
use crate::private::{PrivateRange, PrivateStream};
use crate::results::BlockResults;
use crate::stages::archive::ArchiveLink;
use crate::stages::fetch::PrivateFetch;
use crate::state_machine::StateMachine;
use crate::streams::{PublicStream, StreamPosition};

/// What comes of a question for a stretch of a private stream.
#[derive(Debug)]
pub(crate) enum PrivateAnswer {
    /// This frame.
    Frame(Vec<u8>),
    /// It is read from disk, and told by whoever takes what is read.
    Later,
    /// It is to be asked again.
    Busy,
}

impl<S: StateMachine> Executor<S> {
    /// Keeps the public stream of what is executed from here on, for whoever
    /// [takes](Self::take_public) it when the node serves.
    #[must_use]
    pub(crate) fn keeping_public(mut self, public: PublicStream) -> Self {
        self.public = Some(public);
        self
    }

    /// Keeps the private streams of what is executed from here on.
    #[must_use]
    pub(crate) fn keeping_private(mut self, private: PrivateStream) -> Self {
        self.private = private;
        self
    }

    /// Takes what a block has put out for sessions.
    pub(super) fn keep_private_of(&mut self, results: &BlockResults) {
        self.private.push(results);
        if let Some(link) = &mut self.private_link {
            link.hand_over(&self.private.ring);
            link.tell_oldest(self.private.ring.first());
        }
    }

    /// The archive of private streams so far, which a thread is to keep from here on; none where
    /// none is kept.
    pub(crate) fn take_private_archive(&mut self) -> Option<Store<PrivateOutputs>> {
        self.private.finish(&Height(self.height));
        self.private.archive.take()
    }

    /// That thread keeps it.
    pub(crate) fn link_private(&mut self, link: ArchiveLink<PrivateOutputs>) {
        link.tell_oldest(self.private.ring.first());
        self.private_link = Some(link);
    }

    /// The answer to a session's question for a stretch of its private stream.
    pub(crate) fn answer_private(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id): (ClientId, u64),
        range: &PrivateRange,
    ) -> PrivateAnswer {
        let tip = StreamPosition::before(self.height.saturating_add(1));
        let (ring, link) = (self.private.ring.oldest(tip), &mut self.private_link);
        let archived = link.as_ref().map(ArchiveLink::oldest);
        if range.from < ring
            && archived.is_some_and(|first| range.from.height >= first)
            && let Some(link) = link
        {
            let to = range.to.min(tip);
            let fetch = PrivateFetch {
                client,
                id,
                range: PrivateRange { to, ..*range },
                ring,
                tip,
            };
            return match link.fetch(fetch) {
                true => PrivateAnswer::Later,
                false => PrivateAnswer::Busy,
            };
        }
        let mut frame = PrivateFrame::new(leader, id);
        let here = (self.height, archived);
        self.private.ring.answer(range, here, &mut frame);
        PrivateAnswer::Frame(frame.into_bytes())
    }

    /// How far the archives are that are kept.
    pub(crate) fn archived(&self) -> Vec<Arc<Archived>> {
        let public = self.public.as_ref();
        let public = public.and_then(|public| public.archived.clone());
        public
            .into_iter()
            .chain(self.private.archived.clone())
            .collect()
    }

    /// How far that of the public stream is, if one is kept.
    pub(crate) fn public_archived(&self) -> Option<Arc<Archived>> {
        self.public.as_ref()?.archived.clone()
    }

    /// Whether private streams are to be kept on disk.
    pub(crate) const fn has_private_archive(&self) -> bool {
        self.private.archived.is_some()
    }

    /// The public stream so far; it is kept here no longer.
    pub(crate) fn take_public(&mut self) -> Option<PublicStream> {
        let mut public = self.public.take()?;
        public.finish(&self.events);
        Some(public)
    }
}
