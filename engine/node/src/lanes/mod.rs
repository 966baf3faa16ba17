//! The command pool: from a client's bytes to a payload, and from a finalized block back.
//!
//! Owns every command from its admission until it stands in a finalized block, their order, and who
//! is sent them. `verdict`: the answers and bounds; `queue`: one session; `pool`: all of them;
//! `places`: where each stands; `keep`: what is written down of one that is admitted; `spare`: the
//! memory of those gone; `room`: who finds room in it; `openings`: sessions that are not open;
//! `gaps`: what waits for a number, and how much of it; `peers`: how much is whose; `block`:
//! payloads; `forward`: other leaders; `pressure`: how long it waits; `correct`: what execution
//! found otherwise; `unchecked`: what stood in blocks and is to be checked. Never: consensus rules,
//! sockets, clocks.
//!
//! What the pool knows of sessions it learns from finalized blocks, by the same rule as the session
//! table, so it waits for no answer from the application stage. Where execution comes to another
//! end, as with a forged command, the pool is told so later and set right.

mod block;
mod correct;
mod forward;
mod gaps;
mod keep;
mod lines;
mod openings;
mod peers;
mod places;
mod pool;
mod pressure;
mod queue;
mod room;
mod spare;
mod unchecked;
mod verdict;

pub(crate) use pool::SEQ_MAX;
pub use pool::{Lanes, LanesCounters};
pub(crate) use verdict::HOLD_NS_DEFAULT;
pub use verdict::{Admitted, CommandVerdict, LanesConfig, Rejection, Verdict};

use quorate_consensus::payload::{
    CommandView, Commands, PayloadError, checked_entries, parse_entries, walk_checked,
};
use quorate_consensus::types::ValidatorIndex;

use crate::state_machine::SessionId;
use pool::Admission;
use queue::Origin;

/// Bytes of the count at the start of a payload.
const COUNT_BYTES: usize = 4;

/// The commands of a payload that was checked as a whole before it was voted for or logged.
///
/// # Errors
/// When an entry is malformed: then the payload never was valid.
pub(crate) fn commands_of_block(payload: &[u8]) -> Result<Commands<'_>, PayloadError> {
    parse_entries(payload.get(COUNT_BYTES..).unwrap_or_default())
}

/// The same of a payload that is known to have been checked: nothing of it is looked at twice.
pub(crate) fn commands_of_checked(payload: &[u8]) -> Commands<'_> {
    checked_entries(payload.get(COUNT_BYTES..).unwrap_or_default())
}

/// How many commands a payload says it has; one that was checked has as many.
pub(crate) fn command_count(payload: &[u8]) -> usize {
    let count = payload.first_chunk::<COUNT_BYTES>();
    count.map_or(0, |count| u32::from_le_bytes(*count) as usize)
}

impl Lanes {
    /// Judges a client's submission, a run of entries; one verdict a command is appended, in
    /// order. A command that is final already is accepted, and appended to `finals` so that its
    /// result can be sent again.
    ///
    /// `session`, when given, is the only one that this connection may speak for. `received_ns` is
    /// when the submission came off its socket: what [`Admitted`] tells counts from there.
    ///
    /// # Errors
    /// When the bytes are no run of entries: nothing of them is taken.
    pub fn submit(
        &mut self,
        (now_ns, received_ns): (u64, u64),
        session: Option<SessionId>,
        entries: &[u8],
        verdicts: &mut Vec<CommandVerdict>,
        finals: &mut Vec<(SessionId, u64)>,
    ) -> Result<(), PayloadError> {
        let commands = parse_entries(entries)?;
        self.submit_checked((now_ns, received_ns), session, commands, verdicts, finals);
        Ok(())
    }

    /// The same for entries that have been checked, as those of a client's frame are when it is
    /// decoded.
    pub(crate) fn submit_checked(
        &mut self,
        (now_ns, received_ns): (u64, u64),
        session: Option<SessionId>,
        commands: Commands<'_>,
        verdicts: &mut Vec<CommandVerdict>,
        finals: &mut Vec<(SessionId, u64)>,
    ) {
        let mut busy: Option<(SessionId, u32)> = None;
        for view in commands {
            let id = SessionId(*view.session);
            let verdict = if session.is_some_and(|own| own != id) {
                Verdict::Rejected(Rejection::ForeignSession)
            } else if let Some((_, retry_after_us)) = busy.filter(|(of, _)| *of == id) {
                // It would take the room that the one before it has not found.
                self.counters.busy += 1;
                Verdict::Busy { retry_after_us }
            } else {
                match self.admit((now_ns, received_ns), &view, Origin::Local) {
                    Admission::Judged(verdict) => verdict,
                    Admission::Final => {
                        finals.push((id, view.seq));
                        Verdict::Accepted
                    }
                }
            };
            if let Verdict::Busy { retry_after_us } = verdict {
                busy = Some((id, retry_after_us));
            }
            verdicts.push(CommandVerdict {
                session: id,
                seq: view.seq,
                verdict,
            });
        }
    }

    /// Takes what a peer forwarded; what does not fit is left to the peer, which sends it again.
    ///
    /// # Errors
    /// When the bytes are no run of entries: the peer's fault, and nothing of them is taken.
    pub fn take_forwarded(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        entries: &[u8],
    ) -> Result<(), PayloadError> {
        for view in parse_entries(entries)? {
            self.take_over(now_ns, &view, Origin::Peer(from));
        }
        Ok(())
    }

    /// Keeps the commands of a block that may be abandoned: whoever saw a command keeps it until
    /// it stands in a finalized block. Where commands are signed they are
    /// [checked](Self::take_unchecked) before.
    ///
    /// # Errors
    /// When the payload is malformed, which a logged one is not.
    pub fn take_abandoned(&mut self, now_ns: u64, payload: &[u8]) -> Result<(), PayloadError> {
        for view in commands_of_block(payload)? {
            self.take_of_block(now_ns, &view);
        }
        Ok(())
    }

    fn take_over(&mut self, now_ns: u64, view: &CommandView<'_>, origin: Origin) {
        match self.admit((now_ns, now_ns), view, origin) {
            // Nobody waits here for the verdict; it is counted.
            Admission::Judged(_) | Admission::Final => {}
        }
    }

    /// Takes note of a finalized block of this replicated time; in height order, each once. Appends
    /// the commands that clients of this validator wait for.
    ///
    /// # Errors
    /// When the payload is malformed, which a finalized one is not: the pool may know a part of the
    /// block then, and this validator must not go on.
    pub fn finalize_block(
        &mut self,
        (now_ns, time_ns): (u64, u64),
        payload: &[u8],
        admitted: &mut Vec<Admitted>,
    ) -> Result<(), PayloadError> {
        let kept = self.len();
        self.note_block_time(time_ns);
        walk_checked(payload, |index, view| {
            admitted.extend(self.finalize(now_ns, index, &view));
        })?;
        self.note_drained(now_ns, kept);
        Ok(())
    }

    /// Takes note of a block of the chain that is built on, lowest first.
    ///
    /// # Errors
    /// When the payload is malformed, which a logged one is not; as with
    /// [`finalize_block`](Self::finalize_block).
    pub fn chain_block(&mut self, now_ns: u64, payload: &[u8]) -> Result<(), PayloadError> {
        walk_checked(payload, |_, view| {
            self.chain(now_ns, SessionId(*view.session), view.seq);
        })
    }
}

#[cfg(test)]
mod tests;
