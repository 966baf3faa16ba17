//! What a turn of the client side has to tell. Owns plain data, borrowed from the frames.

use super::feed::StreamHole;
use crate::client_wire::{Private, Refusal, ResultView, Sections, Stream, VerdictRun};
use crate::lanes::Rejection;
use quorate_consensus::types::ValidatorIndex;

/// What a turn has to tell.
#[derive(Debug)]
pub enum ClientEvent<'a> {
    /// Logged in at a validator. What is not finalized is sent there again.
    Connected(ValidatorIndex),
    /// The connection to the validator ended.
    Disconnected(ValidatorIndex),
    /// Commands wait for a block now; each number is told once, however often it was sent.
    Accepted {
        /// The first number.
        seq_first: u64,
        /// How many.
        count: u64,
    },
    /// The session is open: the command that the library makes for that, before the first one that
    /// was submitted, was applied. Its number is the one before that one's, or the second before it
    /// where a time-out is declared again in between.
    Opened {
        /// Its number.
        seq: u64,
        /// Its result, with what the application put out for the new session; none when another
        /// validator had it.
        result: Option<ResultView<'a>>,
    },
    /// Commands found no room and will be sent again. Also of the command that opens the session,
    /// which is offered again for five minutes while the chain's table is full.
    Held(VerdictRun),
    /// Commands were refused for good; their numbers are given to the next ones. Where they had
    /// been accepted before: by validators of all stake but F, or by all that can be reached. Those
    /// behind the refused one, and those that were to follow an opening, were never sent (of others
    /// [`Unsure`](Self::Unsure) is told), so they have not been applied and never will be. The
    /// time-out that goes along behind an opening has a number of its own and is counted here, as
    /// its end is told.
    Dropped {
        /// The first number.
        seq_first: u64,
        /// How many: the refused one and all behind it.
        count: u64,
        /// Why.
        rejection: Rejection,
    },
    /// Commands are finalized and their results were not seen: another validator had them. That
    /// they are these commands follows from their numbers, in a session that was opened here and in
    /// which nothing of another process with this key was met.
    Passed {
        /// The first number.
        seq_first: u64,
        /// How many.
        count: u64,
    },
    /// Another command of this key was applied under the number of this one: one that was on its
    /// way from before when the numbers began anew ([`Clients::resume`](super::Clients::resume)).
    /// This one did nothing and never will. Those behind it keep their numbers.
    Displaced {
        /// The number.
        seq: u64,
    },
    /// These commands were applied, will be, or never will be: which of them is not known. Their
    /// session has ended since they were sent; or they were sent behind one that is refused for
    /// good, and may yet be applied behind another of its number; or a command was applied under
    /// each of their numbers, and a validator that does not know which one any more cannot be
    /// asked, while another process with this key may have made it: the session was not opened here
    /// ([`Clients::resume`](super::Clients::resume)), or [`Displaced`](Self::Displaced) was told.
    /// Ask the application before anything is submitted anew.
    Unsure {
        /// The first number.
        seq_first: u64,
        /// How many.
        count: u64,
        /// What was told of the number, when it is one and a result was told: a duplicate, and
        /// where the command was applied if that is known.
        result: Option<ResultView<'a>>,
    },
    /// A command is finalized; each number is told once.
    Result {
        /// Height of the block that brought it.
        height: u64,
        /// Replicated time of that block, nanoseconds since the Unix epoch.
        time_ns: u64,
        /// The result and its outputs.
        result: ResultView<'a>,
    },
    /// A validator told another result of a command than validators of enough stake did
    /// ([`Trust::FaultStake`](super::Trust)): it is at fault, or what it runs is.
    Contradicted {
        /// The command's number.
        seq: u64,
        /// The validator.
        validator: ValidatorIndex,
    },
    /// Outputs for the session that commands of others, or timers, made in one block, and those of
    /// an own command that its result had no room for. What a time without a connection left out is
    /// told afterwards where the stream is followed
    /// ([`Clients::follow_stream`](super::Clients::follow_stream)), and not at all where it is not.
    Stream(Stream<'a>),
    /// Validators of all stake but F, or all that can be asked, do not have what lies between two
    /// positions of the session's private stream any more; or they never came to the position up to
    /// which it was told ([`StreamHole::kind`]). Ask the application how things stand.
    StreamHole(StreamHole),
    /// An answer to [`Clients::ask_private`](super::Clients::ask_private).
    Private(Private<'a>),
    /// An answer to [`Clients::query`](super::Clients::query).
    Answer {
        /// As asked.
        id: u64,
        /// The application's bytes; none where they are too many
        /// ([`ANSWER_BYTES_MAX`](crate::state_machine::ANSWER_BYTES_MAX)).
        answer: &'a [u8],
    },
    /// An answer to [`Clients::ask_status`](super::Clients::ask_status).
    Status {
        /// As asked.
        id: u64,
        /// A JSON object.
        json: &'a str,
    },
    /// An answer to [`Clients::ask_root`](super::Clients::ask_root).
    Root {
        /// As asked.
        id: u64,
        /// Height after which the state stood so.
        height: u64,
        /// Over all sections.
        root: [u8; 32],
        /// Each section's.
        sections: Sections<'a>,
    },
    /// An answer to [`Clients::ask_session`](super::Clients::ask_session).
    Session {
        /// As asked.
        id: u64,
        /// Number of the session's last applied command; 0 when there is none.
        seq_last: u64,
        /// The session has ended with that number; [`Clients::reopen`](super::Clients::reopen).
        has_ended: bool,
    },
    /// A question found no room; ask again later.
    Busy {
        /// As asked.
        id: u64,
        /// Microseconds.
        retry_after_us: u32,
    },
    /// The validator answers no client; the session turns to the next one.
    Refused {
        /// The question; 0 when the validator says so by itself.
        id: u64,
        /// Why.
        reason: Refusal,
    },
}
