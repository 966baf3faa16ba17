//! Whether an application does the same twice, and after a restored snapshot.
//!
//! Owns the replay of what the engine asked of it over a run: in two fresh instances, one of them
//! on a thread of its own whose heap was put in disorder first, so that hash seeds, addresses and
//! the time of day differ; and in instances that begin with a snapshot of another one. Owns the
//! search for the first call after which two of them differ. Never: judges the engine; what it
//! called is taken as given.

mod calls;
mod replay;

use std::collections::BTreeSet;

use quorate::state_machine::StateMachine;

pub(crate) use calls::{Call, Calls, Recorded};
use replay::{Difference, Shown, Taken, replay, take};

use crate::checks::Violation;
use crate::dice::Dice;
use crate::panics::caught;

/// Histories shorter than this are applied in more than one pair of instances.
const CALLS_MIN: usize = 4_096;
/// Pairs of instances at most.
const PAIRS_MAX: usize = 64;
/// Of a history of so many blocks a snapshot is taken after each. Of a longer one beside the first
/// pair after four, and beside every other pair after one: work grows as the history does.
const BLOCKS_FEW: usize = 8;
/// How often a difference is looked for again: what depends on a hash seed comes and goes.
const ATTEMPTS: usize = 8;
/// Blocks of memory that are laid out at random before the second instance is made.
const HEAP_BLOCKS: usize = 512;
/// The largest of them.
const HEAP_BLOCK_BYTES_MAX: u64 = 4096;

/// Applies all calls in two fresh instances and compares what they show after every block; then
/// restores snapshots of one into others, and compares what these do from there on. A short history
/// is applied more often: a map of two entries has the same order in every second pair of
/// instances. `again` says how to see the run again.
pub(crate) fn check<S: StateMachine>(
    make: &(dyn Fn() -> S + Send + Sync),
    calls: &Calls,
    (seed, again): (u64, &str),
) -> Result<(), Violation> {
    let calls = &calls.calls;
    let blocks = calls.chunk_by(|one, next| one.height() == next.height());
    let check = Check {
        make,
        blocks: blocks.collect(),
        names: make().sections(),
        again,
    };
    let pairs = (CALLS_MIN / calls.len().max(1)).clamp(1, PAIRS_MAX);
    for pair in 0..pairs as u64 {
        let seed = seed.wrapping_add(pair);
        let shown = check.two(seed)?;
        check.restored(&shown, &check.places(seed, pair == 0))?;
    }
    Ok(())
}

/// One of two instances that are compared: what it shows, and more closely of one block.
type Side<'s> = dyn Fn(Option<usize>) -> Result<Vec<Shown>, String> + Sync + 's;

/// Where two of them differ first, and in what.
type Found = Option<(Shown, Difference<'static>)>;

/// Instances of an application, and what they are to do.
struct Check<'c, S> {
    make: &'c (dyn Fn() -> S + Send + Sync),
    blocks: Vec<&'c [Call]>,
    names: &'static [&'static str],
    again: &'c str,
}

impl<S: StateMachine> Check<'_, S> {
    /// One pair of instances; gives what both show.
    fn two(&self, seed: u64) -> Result<Vec<Shown>, Violation> {
        let whole = |close| Ok(replay(&mut (self.make)(), &self.blocks, 0, close));
        let disordered = |close| {
            let heap = disordered_heap(seed);
            let shown = whole(close);
            drop(heap);
            shown
        };
        self.compare("two instances", &whole, &disordered)
    }

    /// After which blocks snapshots are taken.
    fn places(&self, seed: u64, is_first: bool) -> BTreeSet<usize> {
        let len = self.blocks.len();
        let mut dice = Dice::new(seed, "snapshots");
        match len {
            0 => BTreeSet::new(),
            _ if !is_first => [dice.place(len)].into(),
            1..=BLOCKS_FEW => (0..len).collect(),
            _ => [0, dice.place(len), dice.place(len), len - 1].into(),
        }
    }

    /// Restores snapshots and goes on from there, as a validator that starts with one does. Once in
    /// a fresh instance, and once in that one again, which has come to the end meanwhile: nothing
    /// of what it had may stay.
    fn restored(&self, shown: &[Shown], places: &BTreeSet<usize>) -> Result<(), Violation> {
        let taken = self.caught(|| Ok(take(&mut (self.make)(), &self.blocks, places)))?;
        for taken in &taken {
            let one = |close| Ok(self.after(shown, taken, close));
            let height = taken.height;
            let fresh =
                format!("an instance and one restored from its snapshot of height {height}");
            let other = |close| self.go_on(taken, 1, close);
            self.compare(&fresh, &one, &other)?;
            let used = format!("{fresh} after it had gone on");
            let other = |close| self.go_on(taken, 2, close);
            self.compare(&used, &one, &other)?;
        }
        Ok(())
    }

    /// What the instance that a snapshot is of shows from there on.
    fn after(&self, shown: &[Shown], taken: &Taken, close: Option<usize>) -> Vec<Shown> {
        let again = close.map(|_| replay(&mut (self.make)(), &self.blocks, 0, close));
        let whole = again.as_deref().unwrap_or(shown).iter();
        let after = whole.filter(|shown| shown.block > taken.block).cloned();
        [taken.shown.clone()].into_iter().chain(after).collect()
    }

    /// What an instance shows that was restored so many times, and came to the end in between.
    fn go_on(
        &self,
        taken: &Taken,
        times: usize,
        close: Option<usize>,
    ) -> Result<Vec<Shown>, String> {
        let mut app = (self.make)();
        let from = taken.block + 1;
        for _ in 1..times {
            taken.restore(&mut app, &self.blocks)?;
            replay(&mut app, &self.blocks, from, None);
        }
        let restored = taken.restore(&mut app, &self.blocks)?;
        let unlike = taken.section_unlike(&restored, self.names);
        // A state that differs is told as such.
        if let Some(name) = unlike.filter(|_| taken.shown == restored.shown) {
            let height = taken.height;
            let what = "written again after it was restored, its snapshot has other bytes";
            return Err(format!("height {height}, section {name}: {what}"));
        }
        let rest = replay(&mut app, &self.blocks, from, close);
        Ok([restored.shown].into_iter().chain(rest).collect())
    }

    /// Compares what two instances show, and looks for the first call after which that is not the
    /// same.
    fn compare(
        &self,
        who: &str,
        one: &Side<'_>,
        other: &Side<'_>,
    ) -> Result<Vec<Shown>, Violation> {
        let (shown, found) = self.differ(one, other, None)?;
        let Some(mut found) = found else {
            return Ok(shown);
        };
        for _ in 0..ATTEMPTS {
            let block = found.0.block;
            let Some(closer) = self.differ(one, other, Some(block))?.1 else {
                continue;
            };
            // No call comes before what differs as soon as one of them was restored.
            let is_closest = closer.0.call.is_some() || closer.0.block == block;
            found = closer;
            if is_closest {
                break;
            }
        }
        let (place, what) = found;
        let mut told = what.tell(place.height, who);
        let calls = self.blocks.get(place.block);
        if let Some((calls, call)) = calls.zip(place.call) {
            let call = calls.get(call).map(Call::to_string).unwrap_or_default();
            told.push_str(&format!(", first after {call}"));
        }
        Err(violation(told))
    }

    /// What one of two instances shows, and the first place at which the other one does not.
    fn differ(
        &self,
        one: &Side<'_>,
        other: &Side<'_>,
        close: Option<usize>,
    ) -> Result<(Vec<Shown>, Found), Violation> {
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.caught(|| other(close)));
            (self.caught(|| one(close)), other.join())
        });
        let (one, other) = (one?, other.map_err(|_| violation("a thread panicked"))??);
        let mut both = one.iter().zip(&other);
        let found = both.find_map(|(one, other)| {
            let what = one.difference(other, self.names)?;
            Some((one.clone(), what))
        });
        Ok((one, found))
    }

    /// What comes of it in an instance that no validator runs.
    fn caught<R>(&self, run: impl FnOnce() -> Result<R, String>) -> Result<R, Violation> {
        match caught(self.again, run) {
            Ok(done) => done.map_err(violation),
            Err(panic) => Err(violation(format!("in an instance of its own, {panic}"))),
        }
    }
}

fn violation(what: impl Into<String>) -> Violation {
    Violation::new("determinism", what)
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
