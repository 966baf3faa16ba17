//! Whether an application does the same twice.
//!
//! Owns the recording of what the engine asks of the application over a run, and its replay in
//! two fresh instances: one on this thread, one on a thread of its own whose heap was put in
//! disorder first, so that hash seeds, addresses and the time of day differ. Never: judges the
//! engine; what it called is taken as given.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::state_machine::{Audience, Context, Output, SessionEvent, SessionId, StateMachine};

use crate::checks::Violation;
use crate::dice::Dice;

/// Histories shorter than this are applied in more than one pair of instances.
const CALLS_MIN: usize = 4_096;
/// Pairs of instances at most.
const PAIRS_MAX: usize = 64;
/// Blocks of memory that are laid out at random before the second instance is made.
const HEAP_BLOCKS: usize = 512;
/// The largest of them.
const HEAP_BLOCK_BYTES_MAX: u64 = 4096;

/// One call that changes state.
#[derive(Clone, Debug)]
enum Call {
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
        command: Vec<u8>,
    },
}

impl Call {
    const fn height(&self) -> u64 {
        match self {
            Self::Timers { height, .. } => *height,
            Self::Session { context, .. } | Self::Apply { context, .. } => context.height,
        }
    }

    const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Timers { .. } => None,
            Self::Session { context, .. } | Self::Apply { context, .. } => Some(context.session),
        }
    }
}

/// All calls of a run, in the order of the chain.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
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
    calls: Arc<Mutex<Calls>>,
}

impl<S> Recorded<S> {
    pub(crate) fn new(app: S, calls: Arc<Mutex<Calls>>) -> Self {
        let instance = {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.instances += 1;
            calls.instances
        };
        Self {
            app,
            instance,
            calls,
        }
    }

    fn record(&self, call: Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.record(self.instance, call);
    }
}

impl<S: StateMachine> StateMachine for Recorded<S> {
    fn sections(&self) -> &'static [&'static str] {
        self.app.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.record(Call::Apply {
            context: *context,
            command: command.to_vec(),
        });
        self.app.apply(context, command, output);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.app.timer_next_ns()
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.record(Call::Timers { height, time_ns });
        self.app.apply_timers(height, time_ns, output);
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        self.record(Call::Session {
            context: *context,
            event,
        });
        self.app.apply_session(context, event, output);
    }

    fn keeps(&self, session: SessionId) -> bool {
        self.app.keeps(session)
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.app.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.app.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.app.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.app.query(question, answer);
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        self.app.query_from(asker, question, answer);
    }
}

/// What an instance shows after a block.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    height: u64,
    sections: Vec<[u8; 32]>,
    outputs: [u8; 32],
    timer_ns: Option<u64>,
    /// Of the sessions that the block speaks of, those that must not end for want of room.
    kept: BTreeSet<SessionId>,
}

/// Applies all calls in two fresh instances and compares what they show after every block; then
/// restores a snapshot of one into a third. A short history is applied more often: a map of two
/// entries has the same order in every second pair of instances.
pub(crate) fn check<S: StateMachine>(
    make: &(dyn Fn() -> S + Send + Sync),
    calls: &Calls,
    seed: u64,
) -> Result<(), Violation> {
    let pairs = (CALLS_MIN / calls.calls.len().max(1)).clamp(1, PAIRS_MAX);
    let mut app = compare_two(make, calls, seed)?;
    for more in 1..pairs as u64 {
        app = compare_two(make, calls, seed.wrapping_add(more))?;
    }
    let mut fresh = make();
    let names = app.sections();
    check_snapshot(&mut app, &mut fresh, names, calls.height)?;
    if kept(&app, &calls.calls) != kept(&fresh, &calls.calls) {
        let height = calls.height;
        let what = format!("height {height}: a restored snapshot keeps other sessions");
        return Err(Violation::new("determinism", what));
    }
    Ok(())
}

/// One pair of instances; returns the first one as it is after all calls.
fn compare_two<S: StateMachine>(
    make: &(dyn Fn() -> S + Send + Sync),
    calls: &Calls,
    seed: u64,
) -> Result<S, Violation> {
    let mut app = make();
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let heap = disordered_heap(seed);
            let shown = replay(&mut make(), &calls.calls);
            drop(heap);
            shown
        });
        let first = replay(&mut app, &calls.calls);
        (first, other.join())
    });
    let Ok(second) = second else {
        let what = "an instance panicked on a thread of its own, and not on this one";
        return Err(Violation::new("determinism", what));
    };
    for (first, second) in first.iter().zip(&second) {
        compare(app.sections(), first, second)?;
    }
    Ok(app)
}

/// Blocks of many sizes, a random half of them given back: what is allocated next lies elsewhere
/// and in another order.
fn disordered_heap(seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(seed, "heap");
    let mut blocks: Vec<Vec<u8>> = (0..HEAP_BLOCKS)
        .map(|_| {
            let len = usize::try_from(dice.between(1, HEAP_BLOCK_BYTES_MAX)).unwrap_or(1);
            vec![1; len]
        })
        .collect();
    for last in (1..blocks.len()).rev() {
        blocks.swap(last, dice.place(last + 1));
    }
    blocks.truncate(HEAP_BLOCKS / 2);
    blocks
}

fn replay<S: StateMachine>(app: &mut S, calls: &[Call]) -> Vec<Shown> {
    let mut output = Output::new();
    let mut shown = Vec::new();
    for block in calls.chunk_by(|one, next| one.height() == next.height()) {
        let mut hasher = blake3::Hasher::new();
        for call in block {
            output.clear();
            match call {
                Call::Timers { height, time_ns } => {
                    app.apply_timers(*height, *time_ns, &mut output);
                }
                Call::Session { context, event } => {
                    app.apply_session(context, *event, &mut output);
                }
                Call::Apply { context, command } => app.apply(context, command, &mut output),
            }
            hash_outputs(&output, &mut hasher);
        }
        shown.push(Shown {
            height: block.first().map_or(0, Call::height),
            sections: (0..app.sections().len())
                .map(|section| app.section_root(section))
                .collect(),
            outputs: *hasher.finalize().as_bytes(),
            timer_ns: app.timer_next_ns(),
            kept: kept(app, block),
        });
    }
    shown
}

fn kept<S: StateMachine>(app: &S, calls: &[Call]) -> BTreeSet<SessionId> {
    let sessions = calls.iter().filter_map(Call::session);
    sessions.filter(|&session| app.keeps(session)).collect()
}

fn hash_outputs(output: &Output, hasher: &mut blake3::Hasher) {
    for (audience, bytes) in output.iter() {
        match audience {
            Audience::Public => hasher.update(&[0]),
            Audience::Session(session) => hasher.update(&[1]).update(&session.0),
        };
        hasher
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    }
    hasher.update(&(output.len() as u64).to_le_bytes());
}

fn compare(names: &[&str], first: &Shown, second: &Shown) -> Result<(), Violation> {
    if first == second {
        return Ok(());
    }
    let height = first.height;
    let roots = first.sections.iter().zip(&second.sections);
    let differing: Vec<&str> = roots
        .zip(names)
        .filter(|((one, other), _)| one != other)
        .map(|(_, &name)| name)
        .collect();
    let what = if let Some(section) = differing.first() {
        let others = differing.len() - 1;
        format!("height {height}, section {section} (and {others} more): two instances differ")
    } else if first.outputs != second.outputs {
        format!("height {height}: two instances of equal state give different outputs")
    } else if first.timer_ns != second.timer_ns {
        let (one, other) = (first.timer_ns, second.timer_ns);
        format!("height {height}: two instances have their next timer at {one:?} and {other:?}")
    } else {
        format!("height {height}: two instances of equal state keep other sessions")
    };
    Err(Violation::new("determinism", what))
}

fn check_snapshot<S: StateMachine>(
    app: &mut S,
    fresh: &mut S,
    names: &[&str],
    height: u64,
) -> Result<(), Violation> {
    let mut bytes = Vec::new();
    for (section, name) in names.iter().enumerate() {
        bytes.clear();
        app.snapshot_section(section, &mut bytes);
        if let Err(error) = fresh.restore_section(section, &bytes) {
            let what = format!("height {height}, section {name}: its snapshot is refused: {error}");
            return Err(Violation::new("determinism", what));
        }
    }
    for (section, name) in names.iter().enumerate() {
        if app.section_root(section) != fresh.section_root(section) {
            let what = format!("height {height}, section {name}: a restored snapshot differs");
            return Err(Violation::new("determinism", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            lane: quorate::state_machine::Lane::Order,
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
}
