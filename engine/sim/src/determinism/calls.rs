//! What the engine asks of an application over a run, written down.
//!
//! Owns the record of all calls that change state, in the order of the chain, and how one is told.
//! Never: judges an application.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::hex;
use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};

use crate::panics::{Doing, calling};

/// Bytes of a command that are told at most.
const TOLD_BYTES_MAX: usize = 64;

/// One call that changes state.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Timers {
        height: u64,
        time_ns: u64,
    },
    Session {
        context: Context,
        event: SessionEvent,
    },
    Apply {
        context: Context,
        command: Arc<[u8]>,
    },
}

impl Call {
    pub(crate) const fn height(&self) -> u64 {
        match self {
            Self::Timers { height, .. } => *height,
            Self::Session { context, .. } | Self::Apply { context, .. } => context.height,
        }
    }

    pub(super) const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Timers { .. } => None,
            Self::Session { context, .. } | Self::Apply { context, .. } => Some(context.session),
        }
    }

    /// Has an application do it.
    pub(super) fn apply_to<S: StateMachine>(&self, app: &mut S, output: &mut Output) {
        calling(Doing::Call(self.clone()), || match self {
            Self::Timers { height, time_ns } => app.apply_timers(*height, *time_ns, output),
            Self::Session { context, event } => app.apply_session(context, *event, output),
            Self::Apply { context, command } => app.apply(context, command, output),
        });
    }
}

/// Its place in the block, and all of it but the height.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = match self {
            Self::Timers { time_ns, .. } => {
                return write!(f, "the timers that are due at {time_ns} ns");
            }
            Self::Session { context, .. } | Self::Apply { context, .. } => context,
        };
        let (index, session, seq) = (context.index, context.session, context.seq);
        let lane = format!("{:?}", context.lane).to_lowercase();
        write!(
            f,
            "index {index}: session {session:?} seq {seq} lane {lane}, "
        )?;
        match self {
            Self::Timers { .. } => Ok(()),
            Self::Session { event, .. } => {
                let name = match event {
                    SessionEvent::Opened { .. } => "Opened",
                    SessionEvent::TimedOut => "TimedOut",
                    SessionEvent::Closed => "Closed",
                    SessionEvent::Evicted => "Evicted",
                };
                write!(f, "its event {name}")
            }
            Self::Apply { command, .. } => {
                let told = command.get(..TOLD_BYTES_MAX).unwrap_or(command);
                let more = if told.len() < command.len() {
                    "..."
                } else {
                    ""
                };
                let (len, told) = (command.len(), hex::encode(told));
                write!(f, "a command of {len} bytes 0x{told}{more}")
            }
        }
    }
}

/// All calls of a run, in the order of the chain.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(super) calls: Vec<Call>,
    /// The highest block recorded, and the instance that recorded it.
    height: u64,
    writer: u64,
    instances: u64,
}

impl Calls {
    /// Whoever comes to a block first records it, whole.
    fn record(&mut self, instance: u64, call: Call) {
        let height = call.height();
        if height > self.height {
            self.height = height;
            self.writer = instance;
        }
        if height == self.height && self.writer == instance {
            self.calls.push(call);
        }
    }
}

/// An application whose calls are recorded.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    app: S,
    instance: u64,
    /// Of the last block of which something was applied.
    height: u64,
    calls: Arc<Mutex<Calls>>,
}

impl<S: StateMachine> Recorded<S> {
    pub(crate) fn new(app: S, calls: Arc<Mutex<Calls>>) -> Self {
        let instance = {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.instances += 1;
            calls.instances
        };
        Self {
            app,
            instance,
            height: 0,
            calls,
        }
    }

    fn record(&mut self, call: Call, output: &mut Output) {
        self.height = call.height();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.record(self.instance, call.clone());
        drop(calls);
        call.apply_to(&mut self.app, output);
    }

    fn asked(&self, what: &'static str) -> Doing {
        Doing::Other {
            what,
            section: None,
            height: self.height,
        }
    }

    fn asked_of(&self, what: &'static str, section: usize) -> Doing {
        Doing::Other {
            what,
            section: self.app.sections().get(section).copied(),
            height: self.height,
        }
    }
}

impl<S: StateMachine> StateMachine for Recorded<S> {
    fn sections(&self) -> &'static [&'static str] {
        self.app.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let (context, command) = (*context, command.into());
        self.record(Call::Apply { context, command }, output);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        calling(self.asked("asked for its next timer"), || {
            self.app.timer_next_ns()
        })
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.record(Call::Timers { height, time_ns }, output);
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        let context = *context;
        self.record(Call::Session { context, event }, output);
    }

    fn keeps(&self, session: SessionId) -> bool {
        let doing = self.asked("asked whether it keeps a session");
        calling(doing, || self.app.keeps(session))
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let doing = self.asked_of("asked for the root", section);
        calling(doing, || self.app.section_root(section))
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        let doing = self.asked_of("asked for a snapshot", section);
        calling(doing, || self.app.snapshot_section(section, bytes));
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        let doing = self.asked_of("given a snapshot", section);
        calling(doing, || self.app.restore_section(section, bytes))
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        let doing = self.asked("asked a question");
        calling(doing, || self.app.query(question, answer));
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        let doing = self.asked("asked a question");
        calling(doing, || self.app.query_from(asker, question, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::state_machine::Lane;

    /// Overrides every method that the trait provides.
    struct Whole;

    impl StateMachine for Whole {
        fn sections(&self) -> &'static [&'static str] {
            &["whole"]
        }

        fn apply(&mut self, context: &Context, _: &[u8], output: &mut Output) {
            output.to_session(context.session, b"apply");
        }

        fn timer_next_ns(&self) -> Option<u64> {
            Some(7)
        }

        fn apply_timers(&mut self, _: u64, _: u64, output: &mut Output) {
            output.to_public(b"timers");
        }

        fn apply_session(&mut self, _: &Context, _: SessionEvent, output: &mut Output) {
            output.to_public(b"session");
        }

        fn keeps(&self, session: SessionId) -> bool {
            session == SessionId([1; 16])
        }

        fn section_root(&mut self, section: usize) -> [u8; 32] {
            [u8::try_from(section).unwrap_or(u8::MAX); 32]
        }

        fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
            bytes.extend_from_slice(b"snapshot");
        }

        fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
            Err("restore".to_owned())
        }

        fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
            answer.extend_from_slice(b"query");
        }
    }

    #[test]
    fn whatever_the_engine_asks_reaches_the_application() {
        let calls = Arc::new(Mutex::new(Calls::default()));
        let mut app = Recorded::new(Whole, Arc::clone(&calls));
        let context = Context {
            height: 1,
            index: 0,
            time_ns: 1,
            session: SessionId([1; 16]),
            seq: 1,
            lane: Lane::Order,
        };
        let mut output = Output::new();
        app.apply_timers(1, 1, &mut output);
        app.apply_session(&context, SessionEvent::Closed, &mut output);
        app.apply(&context, b"", &mut output);
        let told: Vec<&[u8]> = output.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(told, [&b"timers"[..], b"session", b"apply"]);
        assert_eq!(calls.lock().unwrap().calls.len(), 3);
        assert_eq!(app.sections(), ["whole"]);
        assert_eq!(app.timer_next_ns(), Some(7));
        assert!(app.keeps(SessionId([1; 16])) && !app.keeps(SessionId([2; 16])));
        assert_eq!(app.section_root(3), [3; 32]);
        assert_eq!(app.restore_section(0, b""), Err("restore".to_owned()));
        let mut bytes = Vec::new();
        app.snapshot_section(0, &mut bytes);
        app.query(b"", &mut bytes);
        assert_eq!(bytes, b"snapshotquery");
    }

    #[test]
    fn a_call_is_told_by_its_place_and_its_first_bytes() {
        let context = Context {
            height: 9,
            index: 3,
            time_ns: 1,
            session: SessionId([0xab; 16]),
            seq: 7,
            lane: Lane::Cancel,
        };
        let apply = |len| Call::Apply {
            context,
            command: vec![1; len].into(),
        };
        let place = format!("index 3: session {} seq 7 lane cancel, ", "ab".repeat(16));
        let short = format!("{place}a command of 64 bytes 0x{}", "01".repeat(64));
        assert_eq!(apply(64).to_string(), short);
        let long = format!("{place}a command of 65 bytes 0x{}...", "01".repeat(64));
        assert_eq!(apply(65).to_string(), long);
        let event = SessionEvent::Opened { key: [5; 32] };
        let told = Call::Session { context, event }.to_string();
        assert_eq!(told, format!("{place}its event Opened"));
    }
}
