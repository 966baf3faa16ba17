//! What is asked of an archive's thread, and how many questions each client has there.
//!
//! Owns the questions of each kind of archive. Never: who may ask, or what is told of an answer.

use crate::archive::{Archive, Chunk, Kind, PublicEvents, Store};
use crate::private::PrivateRange;
use crate::private::archived::{self, PrivateOutputs, PrivatePiece};
use crate::state_machine::SessionId;
use crate::streams::{StreamPosition, Unavailable};
use quorate_net::ClientId;
use std::fmt::Debug;
use std::sync::Arc;

/// A kind of archive that clients ask for older blocks.
pub(crate) trait Asked: Kind {
    /// Name of its thread.
    const THREAD: &'static str;
    /// Bytes that all questions together read in a second at most, where there is a bound.
    const READ_BYTES_PER_S_MAX: Option<u64>;
    /// Who asks.
    type Asker: Copy + Debug + PartialEq + Send;
    /// What is asked.
    type Fetch: Debug + Send + 'static;
    /// What is read.
    type Piece: Debug + Send + 'static;

    /// Whose question it is.
    fn asker(fetch: &Self::Fetch) -> Self::Asker;

    /// Reads it.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn read(archive: &mut Store<Self>, fetch: &Self::Fetch) -> Result<Self::Piece, Unavailable>
    where
        Self: Sized;
}

/// Goes with a question to the disk and with its answer back: one that is held by nobody else is
/// over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<()>);

impl Ticket {
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// For what something of the public stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A subscription that is behind the ring.
    Subscription,
    /// A question for a range.
    Range,
}

/// What is to be read of the public stream, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) purpose: Purpose,
    pub(crate) from: StreamPosition,
    pub(crate) to: StreamPosition,
    pub(crate) bytes_max: usize,
}

impl Asked for PublicEvents {
    const THREAD: &'static str = "quorate-public";
    // All that is read is sent, and no more of it than its reader takes.
    const READ_BYTES_PER_S_MAX: Option<u64> = None;
    type Asker = ClientId;
    type Fetch = Fetch;
    type Piece = Chunk;

    fn asker(fetch: &Fetch) -> ClientId {
        fetch.client
    }

    fn read(archive: &mut Archive, fetch: &Fetch) -> Result<Chunk, Unavailable> {
        archive.read((fetch.from, fetch.to), fetch.bytes_max)
    }
}

/// What is to be read of one session's private stream, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrivateFetch {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) range: PrivateRange,
    /// The oldest position in memory when it was asked.
    pub(crate) ring: StreamPosition,
    /// Behind what was executed then.
    pub(crate) tip: StreamPosition,
}

impl Asked for PrivateOutputs {
    const THREAD: &'static str = "quorate-private";
    // A small answer may take the reading of everybody's outputs. At so many bytes, of 64 who come
    // back at once and read as much as one question may, each is answered within a second.
    const READ_BYTES_PER_S_MAX: Option<u64> = Some(256 * 1024 * 1024);
    // However many connections it has.
    type Asker = SessionId;
    type Fetch = PrivateFetch;
    type Piece = PrivatePiece;

    fn asker(fetch: &PrivateFetch) -> SessionId {
        fetch.range.session
    }

    fn read(archive: &mut Store<Self>, fetch: &PrivateFetch) -> Result<PrivatePiece, Unavailable> {
        archived::read(archive, &fetch.range)
    }
}
