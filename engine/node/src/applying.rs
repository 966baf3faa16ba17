//! In which call of the application a thread is, for the line that a panic in it leaves.
//!
//! Owns the note of each thread and the hook that reads it. Who mends the application must know
//! which command it could not take, and where a panic aborts nothing unwinds that could say it: so
//! it is told by a hook, ahead of the one that was there. Never: catches a panic.

use std::cell::Cell;
use std::sync::Once;

use crate::state_machine::SessionId;

/// A call of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What it is asked to do.
    pub(crate) doing: &'static str,
    /// Height of the block that is executed, or was last.
    pub(crate) height: u64,
    /// Place of the command in the block; none for what comes before the commands.
    pub(crate) index: Option<u32>,
    /// Whose command, event or question it is.
    pub(crate) session: Option<SessionId>,
    /// Which section of the application's state it is about.
    pub(crate) section: Option<&'static str>,
}

/// A command that is applied: height of its block, place there, session. Of the many calls there
/// are most are for commands, and a whole [`Call`] is long.
type Command = (u64, u32, SessionId);

thread_local! {
    static CALL: Cell<Option<Call>> = const { Cell::new(None) };
    static COMMAND: Cell<Option<Command>> = const { Cell::new(None) };
}

/// The note of a call that goes on; gone with it, however that ends.
struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        CALL.set(None);
    }
}

/// Calls the application, and has a panic of it say where that was.
pub(crate) fn applying<R>(call: Call, run: impl FnOnce() -> R) -> R {
    CALL.set(Some(call));
    let _noted = Noted;
    run()
}

/// The note of a command that is applied.
struct NotedCommand;

impl Drop for NotedCommand {
    fn drop(&mut self) {
        COMMAND.set(None);
    }
}

/// The same for the command at this place of the block of this height.
pub(crate) fn applying_command<R>((height, index, session): Command, run: impl FnOnce() -> R) -> R {
    COMMAND.set(Some((height, index, session)));
    let _noted = NotedCommand;
    run()
}

/// The call that goes on.
fn noted() -> Option<Call> {
    let of_command = |(height, index, session)| Call {
        doing: "applying a command",
        height,
        index: Some(index),
        session: Some(session),
        section: None,
    };
    CALL.get().or_else(|| COMMAND.get().map(of_command))
}

/// From now on a panic inside a call of the application is told in the log, before whatever told of
/// panics so far does. Again does nothing.
pub(crate) fn tell_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(call) = noted() {
                tell(&call);
            }
            before(panic);
        }));
    });
}

fn tell(call: &Call) {
    let Call {
        doing,
        height,
        index,
        session,
        section,
    } = *call;
    tracing::error!(
        doing,
        height,
        index,
        session = session.map(tracing::field::debug),
        section,
        "THE APPLICATION PANICKED: every validator with this build does at the same place"
    );
}

#[cfg(test)]
#[path = "applying_tests.rs"]
mod tests;
