//! What a line of a script can say. A closed list; `parse` makes it, `director` does it.

use quorate_consensus::record::Record;
use quorate_consensus::types::{ValidatorIndex, Window};

/// One line of a script.
#[derive(Clone, Debug)]
pub(crate) struct ScriptLine {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) command: Option<Command>,
}

/// One command.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Above everything that happens.
    Set(Setting),
    /// The leader makes blocks with these names.
    Propose(ValidatorIndex, Vec<String>),
    /// Everything in flight arrives, and what comes of it, until nothing is in flight.
    DeliverAll,
    /// What is in flight now and fits arrives.
    Deliver(Which),
    /// What is in flight now and fits is lost.
    Drop(Which),
    /// Nothing passes between the sides until `heal`.
    Partition(Vec<Vec<ValidatorIndex>>),
    Heal,
    /// Time passes for these, and nothing arrives.
    Lapse(Vec<ValidatorIndex>, u64),
    /// Time passes for all, and everything arrives within a millisecond.
    Run(u64),
    /// The process ends; with `power` so does its machine, and what its log had not synced is gone.
    Crash {
        who: ValidatorIndex,
        power: bool,
    },
    /// The process starts again from its disk.
    Restart(ValidatorIndex),
    /// The log takes records and syncs none of them until `sync` or `release`.
    Hold(ValidatorIndex),
    /// What the log holds so far is synced.
    Sync(Vec<ValidatorIndex>),
    /// The log syncs at once again.
    Release(ValidatorIndex),
    /// A copy of the disk is made.
    Copy(ValidatorIndex),
    /// The copy takes the place of the disk; the process must be down.
    PutBack(ValidatorIndex),
    /// From now on the script speaks for this validator.
    Byzantine(ValidatorIndex),
    /// A Byzantine validator says something.
    Say {
        from: ValidatorIndex,
        to: Vec<ValidatorIndex>,
        what: Saying,
    },
    /// Something must hold.
    Expect(Vec<ValidatorIndex>, Expectation),
}

/// How the validators are set up.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    Weights(Vec<u64>),
    Fault(u64),
    Slack(u64),
    Slots(u32),
    Turn(u32),
    /// `async` instead of `sync`.
    IsAsync(bool),
}

impl Setting {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Weights(_) => "weights",
            Self::Fault(_) => "fault",
            Self::Slack(_) => "slack",
            Self::Slots(_) => "slots",
            Self::Turn(_) => "turn",
            Self::IsAsync(_) => "durability",
        }
    }
}

/// Which messages in flight.
#[derive(Clone, Debug)]
pub(crate) struct Which {
    pub(crate) from: Vec<ValidatorIndex>,
    pub(crate) to: Vec<ValidatorIndex>,
    /// Kind of message, any when absent.
    pub(crate) kind: Option<String>,
    /// Blocks that a proposal must hold one of; any when empty.
    pub(crate) blocks: Vec<String>,
}

/// What a Byzantine validator says.
#[derive(Clone, Debug)]
pub(crate) enum Saying {
    /// A block of this name, made when it is first said.
    Propose {
        name: String,
        window: Window,
        parent: String,
    },
    /// A record, with its author's good signature.
    Vote { window: Window, record: Spoken },
    /// The leader's signature of a block.
    Signature { name: String },
}

/// A record as a script writes it: blocks by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) tip: Option<String>,
    pub(crate) also: Vec<String>,
    /// Everything that needs no block.
    pub(crate) rest: Record,
}

/// What must hold of each validator named.
#[derive(Clone, Debug)]
pub(crate) enum Expectation {
    /// The highest block finalized, none when absent; and by which path, any when absent.
    Finalized(Option<String>, Option<String>),
    /// The highest block provable to others.
    Proven(String),
    /// The current window.
    Window(Window),
    /// The durable own record of a window.
    Record(Window, Spoken),
    /// Whether it may make records in its window.
    Votes(bool),
}
