//! The stages of a node: what the threads run.
//!
//! Owns the moving of items between the message path, the replica and the workers. A stage is a
//! struct whose turn does a bounded amount of work and never waits for a disk. Never: decides
//! anything; the replica does.
//!
//! - `wire`: sockets, clients' requests, frames of peers (with `clients`: who is connected, and
//!   whose results go where; `door`: what a submission passes first; `public`: who reads the public
//!   stream; `private`: answers about private streams that come from disk; `identity`: who is who;
//!   `refusals`: who refuses this validator; and `forgeries`: who forges).
//! - `verify`: signatures, on a thread of its own.
//! - `check`: clients' signatures, on threads of their own or in pieces of a turn.
//! - `journal`: the blocking calls of the log, on a thread of their own; and its appending end.
//! - `archive`: the streams of older blocks, on a thread for each kind (with `older`: what of the
//!   public one peers lack, or have; `fetch`: what is asked of it; and `reads`: how fast).
//! - `shadow`: snapshots and pruning, on a thread of their own (with `exchange`: joining, and peers
//!   that join).
//! - `shared`: one thread that runs wire, order, journal and app in turn (where validators share
//!   cores with `courtesy`: the core given up, and `patience`: votes read together).
//! - `own_memory`: address space for the threads that others wait for, before they need it.
//! - `publisher`: finalized blocks for the embedding program.
//! - `dedicated`: a thread each for wire, `order`, `journal` and `app`, joined by queues (with
//!   `answers`: what waits for clients to read it).

pub(crate) mod answers;
pub(crate) mod app;
pub(crate) mod archive;
pub(crate) mod aside;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod courtesy;
pub(crate) mod dedicated;
pub(crate) mod door;
pub(crate) mod exchange;
mod executed;
pub(crate) mod fetch;
mod forgeries;
pub(crate) mod identity;
pub(crate) mod inlet;
pub(crate) mod journal;
pub(crate) mod older;
pub(crate) mod order;
mod own_memory;
pub(crate) mod patience;
pub(crate) mod private;
pub(crate) mod public;
pub(crate) mod publisher;
mod questions;
mod reads;
mod refusals;
pub(crate) mod scrub;
mod session_ask;
pub(crate) mod shadow;
pub(crate) mod shared;
mod stamping;
pub(crate) mod verify;
pub(crate) mod wire;

/// How far below the loop's the priority of a thread is that has time.
const GIVES_WAY: i32 = 10;
/// The lowest priority.
const LOWEST: i32 = 19;

/// Lets the loop have the core first, from which the calling thread takes its time otherwise: it
/// gets a tenth of what the loop gets where there is not enough for both. For threads that nothing
/// but later work of their own waits for: whatever progress, pruning or durability needs keeps its
/// share. On Linux a priority is a thread's own; where the system refuses, all have the same.
pub(crate) fn give_way() {
    if let Ok(own) = rustix::process::getpriority_process(None) {
        rustix::process::setpriority_process(None, (own + GIVES_WAY).min(LOWEST)).ok();
    }
}

/// Binds the calling thread to a core, if one is given. A failure costs speed only.
pub(crate) fn pin_thread(core: Option<usize>) {
    if let Some(core) = core
        && let Err(error) = crate::topology::pin(core)
    {
        tracing::warn!(core, %error, "the thread is not pinned");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpriority_process, setpriority_process};

    #[test]
    fn a_thread_that_gives_way_does_so_from_where_it_was_and_alone() {
        let before = getpriority_process(None).unwrap();
        let priorities = std::thread::spawn(move || {
            setpriority_process(None, before + 3).unwrap();
            give_way();
            let once = getpriority_process(None).unwrap();
            give_way();
            (once, getpriority_process(None).unwrap())
        });
        let expected = |step: i32| (before + step).min(LOWEST);
        assert_eq!(priorities.join().unwrap(), (expected(13), expected(23)));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
