//! Recorded calls through one instance, and what it shows meanwhile.
//!
//! Owns the steps at which an instance is looked at, what is looked at, and the snapshot that is
//! taken of it and restored. Never: how an instance came to be, or which one is right.

use std::collections::BTreeSet;

use quorate::state_machine::{Audience, Output, SessionId, StateMachine};

use super::calls::Call;
use crate::panics::{Doing, calling};

/// Blocks of a history, ascending: each the calls of one height.
pub(super) type Blocks<'a> = [&'a [Call]];

/// What an instance shows after a block, or after one call of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Which block of the history.
    pub(super) block: usize,
    /// Which call of it, where it is looked at call by call.
    pub(super) call: Option<usize>,
    pub(super) height: u64,
    sections: Vec<[u8; 32]>,
    outputs: [u8; 32],
    timer_ns: Option<u64>,
    /// Of the sessions that the block speaks of, those that must not end for want of room.
    kept: BTreeSet<SessionId>,
}

/// What two instances that did the same show differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference<'n> {
    /// This section, and so many others.
    Section(&'n str, usize),
    Outputs,
    Timer([Option<u64>; 2]),
    Kept,
}

impl Shown {
    /// What of another one is not as here: the state first, since all else comes of it.
    pub(super) fn difference<'n>(&self, other: &Self, names: &[&'n str]) -> Option<Difference<'n>> {
        let roots = self.sections.iter().zip(&other.sections);
        let mut differing = roots.zip(names).filter(|((one, other), _)| one != other);
        if let Some((_, &name)) = differing.next() {
            return Some(Difference::Section(name, differing.count()));
        }
        if self.outputs != other.outputs {
            return Some(Difference::Outputs);
        }
        if self.timer_ns != other.timer_ns {
            return Some(Difference::Timer([self.timer_ns, other.timer_ns]));
        }
        (self.kept != other.kept).then_some(Difference::Kept)
    }
}

impl Difference<'_> {
    /// Of whom, at a height.
    pub(super) fn tell(&self, height: u64, who: &str) -> String {
        let what = match self {
            Self::Section(name, others) => {
                return format!(
                    "height {height}, section {name} (and {others} more): {who} differ"
                );
            }
            Self::Outputs => "of equal state give different outputs".to_owned(),
            Self::Timer([one, other]) => format!("have their next timer at {one:?} and {other:?}"),
            Self::Kept => "of equal state keep other sessions".to_owned(),
        };
        format!("height {height}: {who} {what}")
    }
}

/// Applies the blocks from this one on. The one that is looked at closely is shown call by call,
/// every other one as a whole.
pub(super) fn replay<S: StateMachine>(
    app: &mut S,
    blocks: &Blocks<'_>,
    from: usize,
    close: Option<usize>,
) -> Vec<Shown> {
    let mut shown = Vec::new();
    for (block, calls) in blocks.iter().enumerate().skip(from) {
        let sessions = sessions_of(&[calls]);
        let len = if close == Some(block) { 1 } else { calls.len() };
        for (call, step) in calls.chunks(len.max(1)).enumerate() {
            let outputs = apply(app, step);
            shown.push(Shown {
                call: (close == Some(block)).then_some(call),
                outputs,
                ..stand(app, blocks, block, &sessions)
            });
        }
    }
    shown
}

/// Applies calls; gives the hash of what they put out.
fn apply<S: StateMachine>(app: &mut S, calls: &[Call]) -> [u8; 32] {
    let mut output = Output::new();
    let mut hasher = blake3::Hasher::new();
    for call in calls {
        output.clear();
        call.apply_to(app, &mut output);
        hash_outputs(&output, &mut hasher);
    }
    *hasher.finalize().as_bytes()
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

/// What an instance shows as it stands after this block, which put out nothing that is known.
fn stand<S: StateMachine>(
    app: &mut S,
    blocks: &Blocks<'_>,
    block: usize,
    sessions: &BTreeSet<SessionId>,
) -> Shown {
    let height = height_of(blocks, block);
    let asked = |what, section| Doing::Other {
        what,
        section,
        height,
    };
    let names = app.sections().iter().enumerate();
    let sections = names
        .map(|(place, &name)| {
            calling(asked("asked for the root", Some(name)), || {
                app.section_root(place)
            })
        })
        .collect();
    let timer_ns = calling(asked("asked for its next timer", None), || {
        app.timer_next_ns()
    });
    let keeps = |session: &SessionId| app.keeps(*session);
    let kept = calling(asked("asked whether it keeps a session", None), || {
        sessions.iter().copied().filter(keeps).collect()
    });
    Shown {
        block,
        call: None,
        height,
        sections,
        outputs: [0; 32],
        timer_ns,
        kept,
    }
}

fn sessions_of(blocks: &Blocks<'_>) -> BTreeSet<SessionId> {
    let calls = blocks.iter().flat_map(|calls| calls.iter());
    calls.filter_map(Call::session).collect()
}

fn height_of(blocks: &Blocks<'_>, block: usize) -> u64 {
    let first = blocks.get(block).and_then(|calls| calls.first());
    first.map_or(0, Call::height)
}

/// A snapshot of an instance after a block, and what that instance showed then.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) block: usize,
    pub(super) height: u64,
    pub(super) shown: Shown,
    sections: Vec<Vec<u8>>,
}

/// Applies blocks up to the last of these places, ascending; takes a snapshot at each.
pub(super) fn take<S: StateMachine>(
    app: &mut S,
    blocks: &Blocks<'_>,
    places: &BTreeSet<usize>,
) -> Vec<Taken> {
    let mut taken = Vec::new();
    let mut from = 0;
    for &block in places {
        let calls = blocks.get(from..=block).unwrap_or_default();
        calls.iter().for_each(|calls| _ = apply(app, calls));
        from = block + 1;
        taken.push(Taken::of(app, blocks, block));
    }
    taken
}

impl Taken {
    fn of<S: StateMachine>(app: &mut S, blocks: &Blocks<'_>, block: usize) -> Self {
        let height = height_of(blocks, block);
        Self {
            block,
            height,
            sections: written(app, height),
            shown: stand(app, blocks, block, &sessions_of(blocks)),
        }
    }

    /// Restores it into an instance, and gives what is taken of that again.
    ///
    /// # Errors
    /// Says of which section it is refused, and why.
    pub(super) fn restore<S: StateMachine>(
        &self,
        app: &mut S,
        blocks: &Blocks<'_>,
    ) -> Result<Self, String> {
        let height = self.height;
        for (place, (bytes, &name)) in self.sections.iter().zip(app.sections()).enumerate() {
            let doing = Doing::Other {
                what: "given a snapshot",
                section: Some(name),
                height,
            };
            let restored = calling(doing, || app.restore_section(place, bytes));
            restored.map_err(|error| {
                format!("height {height}, section {name}: its snapshot is refused: {error}")
            })?;
        }
        Ok(Self::of(app, blocks, self.block))
    }

    /// The first section whose bytes are not those of another snapshot.
    pub(super) fn section_unlike<'n>(&self, other: &Self, names: &[&'n str]) -> Option<&'n str> {
        let sections = names.iter().zip(self.sections.iter().zip(&other.sections));
        let mut differing = sections.filter(|(_, (one, other))| one != other);
        differing.next().map(|(&name, _)| name)
    }
}

/// What an instance writes of each section.
fn written<S: StateMachine>(app: &S, height: u64) -> Vec<Vec<u8>> {
    let write = |(place, &name): (usize, &&'static str)| {
        let doing = Doing::Other {
            what: "asked for a snapshot",
            section: Some(name),
            height,
        };
        let mut bytes = Vec::new();
        calling(doing, || app.snapshot_section(place, &mut bytes));
        bytes
    };
    app.sections().iter().enumerate().map(write).collect()
}
