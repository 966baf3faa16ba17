//! The stages of a node: what the threads run.
//!
//! Owns the moving of items between the message path, the replica and the workers. A stage is a
//! struct whose turn does a bounded amount of work and never waits for a disk. Never: decides
//! anything; the replica does.
//!
//! - `wire`: sockets, clients' requests, frames of peers (with `clients`: who is connected, and
//!   whose results go where; `door`: what a submission passes first; and `public`: who reads the
//!   public stream).
//! - `verify`: signatures, on a thread of its own.
//! - `check`: clients' signatures, on threads of their own or in pieces of a turn.
//! - `journal`: the blocking calls of the log, on a thread of their own; and its appending end.
//! - `archive`: the public stream of older blocks, on a thread of its own (with `older`: what of it
//!   peers lack, or have).
//! - `shadow`: snapshots and pruning, on a thread of their own (with `exchange`: joining, and peers
//!   that join).
//! - `shared`: one thread that runs wire, order, journal and app in turn.
//! - `dedicated`: a thread each for wire, `order`, `journal` and `app`, joined by queues.

pub(crate) mod app;
pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod dedicated;
pub(crate) mod door;
pub(crate) mod exchange;
pub(crate) mod inlet;
pub(crate) mod journal;
pub(crate) mod older;
pub(crate) mod order;
pub(crate) mod public;
mod questions;
pub(crate) mod scrub;
pub(crate) mod shadow;
pub(crate) mod shared;
pub(crate) mod verify;
pub(crate) mod wire;

/// How far below the loop's the priority of threads is that nothing on the way of a vote waits for.
const GIVES_WAY: i32 = 10;

/// Lets the loop have the core first, from which the calling thread takes its time otherwise. It
/// still gets a tenth of what the loop gets where there is not enough for both. On Linux a priority
/// is a thread's own; where the system refuses, votes wait for it at times.
pub(crate) fn give_way() {
    rustix::process::setpriority_process(None, GIVES_WAY).ok();
}

/// Binds the calling thread to a core, if one is given. A failure costs speed only.
pub(crate) fn pin_thread(core: Option<usize>) {
    if let Some(core) = core
        && let Err(error) = crate::topology::pin(core)
    {
        tracing::warn!(core, %error, "the thread is not pinned");
    }
}
