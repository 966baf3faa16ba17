//! What a prediction consists of: a validator and its thread, what is to run, and what is due.
//!
//! Owns their state. Never: what follows from it.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate::journal::SyncJob;
use quorate::replica::Job;

use super::cores::CoreId;
use super::together::Together;
use crate::member::Member;
use crate::tape::Tape;

/// What is to run on a core.
#[derive(Debug)]
pub(super) enum Work {
    /// A validator's thread.
    Turn(usize),
    /// The same, which has given its core up and has frames left to send.
    Rest(usize),
    /// A validator's thread for signatures.
    Jobs(usize, Vec<Job>),
    /// A validator's thread for syncs.
    Sync(usize, SyncJob),
    /// The client, which sends a command to this validator.
    Command(usize, Command),
    /// The client, which reads an answer.
    Answer,
}

/// A command of the client, by its number.
pub(super) type Command = (usize, Vec<u8>);

#[derive(Debug)]
pub(super) enum Due {
    Letter {
        to: usize,
        letter: Letter,
    },
    Run(CoreId, Work),
    /// The frame that was to go first has left.
    Ahead(CoreId, usize),
    /// A validator's thread, or another one, is done on this core.
    End(CoreId, Option<usize>),
    Wake(usize),
    Jobs(usize, Vec<Job>),
    Disk(usize, SyncJob),
    Command(usize, Command),
    Answer(usize),
    Submit,
}

/// What one write brings.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) frames: Vec<Arc<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    Asleep,
    /// Woken; it waits for a core, or for the time that a wake-up takes.
    Woken,
    Running,
}

/// A validator and its thread.
pub(super) struct Machine {
    pub(super) member: Member<Tape>,
    pub(super) thread: Thread,
    pub(super) inbox: VecDeque<Letter>,
    /// What the client has handed to it.
    pub(super) commands: Vec<Command>,
    /// Something came that it has not looked at.
    pub(super) has_come: bool,
    /// Of that, something that ends every sleep.
    pub(super) has_reason: bool,
    pub(super) together: Together,
    /// It sleeps on until then.
    pub(super) patient_until_ns: Option<u64>,
    /// What is left to send of a turn.
    pub(super) outgoing: VecDeque<(usize, Vec<Arc<[u8]>>)>,
    /// A client is told that its command is taken, behind that.
    pub(super) answers: u64,
    /// Its disk is at work until then.
    pub(super) disk_free_ns: u64,
    pub(super) wake_at_ns: u64,
    /// When its thread ran last.
    pub(super) ran_ns: u64,
    /// What is to be sent first is sent by a thread that has rested.
    pub(super) is_rested: bool,
    pub(super) is_up: bool,
}

impl Machine {
    pub(super) const fn new(member: Member<Tape>, is_up: bool) -> Self {
        Self {
            member,
            thread: Thread::Asleep,
            inbox: VecDeque::new(),
            commands: Vec::new(),
            has_come: false,
            has_reason: false,
            together: Together::new(),
            patient_until_ns: None,
            outgoing: VecDeque::new(),
            answers: 0,
            disk_free_ns: 0,
            wake_at_ns: u64::MAX,
            ran_ns: 0,
            is_rested: false,
            is_up,
        }
    }
}

/// A command on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) gateway: usize,
    /// When its gateway took it off the socket; absent before.
    pub(super) received_ns: Option<u64>,
    pub(super) finality: Option<(u64, bool)>,
}
