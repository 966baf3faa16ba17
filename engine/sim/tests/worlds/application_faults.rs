//! What an application does wrong with its snapshots, and on one command: the simulator names the
//! call.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate_sim::{App, RunOptions, Scenario, SweepOptions};

/// Does what it should but for its fault: every session's last number by its first byte, and how
/// many commands there were.
struct Faulty<F> {
    last: BTreeMap<u8, u64>,
    count: u64,
    fault: F,
}

/// A fault, and what it needs. Every method does nothing as it stands.
trait Fault: Send + 'static {
    /// Sees a command that was applied as the so manieth one since the instance was made.
    fn apply(&mut self, _: &Context, _: &[u8], _: &mut u64, _: &mut Output) {}

    /// Sees what was written.
    fn write(&self, _: &mut Vec<u8>) {}

    /// Sees the state that is to be replaced, and says whether it is cleared first.
    fn clears(&self) -> bool {
        true
    }
}

impl<F: Fault> StateMachine for Faulty<F> {
    fn sections(&self) -> &'static [&'static str] {
        &["count", "last"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.count += 1;
        self.last.insert(context.seq.to_le_bytes()[0], context.seq);
        self.fault.apply(context, command, &mut self.count, output);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.write(section, &mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.write(section, bytes);
        if section == 0 {
            self.fault.write(bytes);
        }
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        if section == 0 {
            let (count, _) = bytes.split_first_chunk().ok_or("no count")?;
            self.count = u64::from_le_bytes(*count);
            return Ok(());
        }
        if self.fault.clears() {
            self.last.clear();
        }
        for entry in bytes.chunks(8) {
            let seq = u64::from_le_bytes(entry.try_into().map_err(|_| "no number")?);
            self.last.insert(seq.to_le_bytes()[0], seq);
        }
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

impl<F> Faulty<F> {
    const fn new(fault: F) -> Self {
        Self {
            last: BTreeMap::new(),
            count: 0,
            fault,
        }
    }

    fn write(&self, section: usize, bytes: &mut Vec<u8>) {
        match section {
            0 => bytes.extend_from_slice(&self.count.to_le_bytes()),
            _ => {
                let all = self.last.values();
                all.for_each(|seq| bytes.extend_from_slice(&seq.to_le_bytes()));
            }
        }
    }
}

fn command(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn calm(seed: u64) -> RunOptions {
    RunOptions {
        seed,
        scenario: Scenario::Calm,
        ..RunOptions::default()
    }
}

/// What the check of determinism says, when it is all that is said.
#[track_caller]
fn found<F: Fault>(make: impl Fn() -> F + Send + Sync + 'static) -> String {
    let app = App::new(move || Faulty::new(make()), command);
    let violations = app.run(&calm(1), false).violations;
    let [violation] = &violations[..] else {
        panic!("{violations:?}");
    };
    assert_eq!(violation.check, "determinism", "{violation:?}");
    violation.what.clone()
}

/// Counts outside of roots and snapshots, and tells every seventh command.
#[derive(Default)]
struct Hidden(u64);

impl Fault for Hidden {
    fn apply(&mut self, _: &Context, _: &[u8], _: &mut u64, output: &mut Output) {
        self.0 += 1;
        if self.0.is_multiple_of(7) {
            output.to_public(b"the seventh");
        }
    }
}

#[test]
fn a_counter_in_neither_root_nor_snapshot_that_outputs_depend_on_is_found() {
    let what = found(Hidden::default);
    let who = "an instance and one restored from its snapshot of height";
    assert!(what.contains(who), "{what}");
    let shown = "of equal state give different outputs, first after index ";
    assert!(what.contains(shown), "{what}");
    assert!(!what.contains("gone on"), "{what}");
}

/// Does not clear what it restores into.
struct Piles;

impl Fault for Piles {
    fn clears(&self) -> bool {
        false
    }
}

#[test]
fn what_restoring_leaves_of_the_state_that_was_there_is_found() {
    let what = found(|| Piles);
    let place = "section last (and 0 more): an instance and one restored from its snapshot";
    assert!(what.contains(place), "{what}");
    assert!(what.contains("after it had gone on differ"), "{what}");
}

/// Writes a hash map as it lies.
#[derive(Default)]
struct Unsorted(HashMap<u64, u64>);

impl Fault for Unsorted {
    fn apply(&mut self, context: &Context, _: &[u8], _: &mut u64, _: &mut Output) {
        self.0.insert(context.seq, context.height);
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        #[expect(clippy::iter_over_hash_type, reason = "the fault that is to be found")]
        for seq in self.0.keys() {
            bytes.extend_from_slice(&seq.to_le_bytes());
        }
    }
}

#[test]
fn a_snapshot_that_is_not_written_again_byte_for_byte_is_found() {
    let what = found(Unsorted::default);
    let place = "section count: written again after it was restored, its snapshot has other bytes";
    assert!(what.contains(place), "{what}");
}

/// Counts one command twice, in instances on another thread than the world's.
struct Strange {
    world: ThreadId,
    applied: u64,
    told: Arc<Mutex<Option<String>>>,
}

impl Fault for Strange {
    fn apply(&mut self, context: &Context, command: &[u8], count: &mut u64, _: &mut Output) {
        self.applied += 1;
        if self.applied == 12 && std::thread::current().id() != self.world {
            *count += 1;
            let hex: String = command.iter().map(|byte| format!("{byte:02x}")).collect();
            let lane = format!("{:?}", context.lane).to_lowercase();
            let told = format!(
                "height {}, section count (and 0 more): two instances differ, first after index {}: \
                 session {:?} seq {} lane {lane}, a command of 8 bytes 0x{hex}",
                context.height, context.index, context.session, context.seq
            );
            *self.told.lock().expect("no other") = Some(told);
        }
    }
}

#[test]
fn the_first_command_after_which_two_instances_differ_is_named() {
    let told = Arc::new(Mutex::new(None));
    let (world, shared) = (std::thread::current().id(), Arc::clone(&told));
    let what = found(move || Strange {
        world,
        applied: 0,
        told: Arc::clone(&shared),
    });
    assert_eq!(Some(what), told.lock().unwrap().take());
}

/// Panics once, on the tenth command of some instance.
struct Brittle {
    applied: u64,
    is_whole: Arc<AtomicBool>,
}

impl Fault for Brittle {
    fn apply(&mut self, context: &Context, _: &[u8], _: &mut u64, _: &mut Output) {
        self.applied += 1;
        let breaks = self.applied == 10 && self.is_whole.swap(false, Ordering::Relaxed);
        assert!(!breaks, "planted at {}", context.seq);
    }
}

#[test]
fn a_panic_fails_its_seed_and_names_the_command_and_others_go_on() {
    let is_whole = Arc::new(AtomicBool::new(true));
    let make = move || {
        Faulty::new(Brittle {
            applied: 0,
            is_whole: Arc::clone(&is_whole),
        })
    };
    let summary = App::new(make, command).sweep(&SweepOptions {
        seeds: 3..6,
        scenario: Scenario::Calm,
        ..SweepOptions::default()
    });
    assert_eq!(summary.seeds, 3);
    let [failure] = &summary.failures[..] else {
        panic!("{:?}", summary.failures);
    };
    assert_eq!(failure.seed, 3);
    assert!(failure.replay.contains("seed: 3"), "{failure:?}");
    let what = &failure.what[0];
    let place = "panic: the application panicked at height ";
    assert!(what.starts_with(place), "{what}");
    let parts = [", index ", ": session ", " a command of 8 bytes 0x"];
    assert!(parts.iter().all(|part| what.contains(part)), "{what}");
    assert!(what.contains(": planted at "), "{what}");
}

/// Cannot be restored.
struct Unrestored;

impl Fault for Unrestored {
    fn clears(&self) -> bool {
        panic!("planted");
    }
}

#[test]
fn a_panic_in_an_instance_of_its_own_is_a_finding_as_well() {
    let what = found(|| Unrestored);
    let place = "in an instance of its own, the application panicked at height ";
    assert!(what.starts_with(place), "{what}");
    let call = ", given a snapshot of section last: planted";
    assert!(what.ends_with(call), "{what}");
}

/// Counts commands that are not in the lane of their first byte.
struct Sorted(Arc<AtomicU64>);

impl Fault for Sorted {
    fn apply(&mut self, context: &Context, command: &[u8], _: &mut u64, _: &mut Output) {
        let lane = command.first().copied().and_then(Lane::from_u8);
        let is_strange = lane != Some(context.lane);
        self.0.fetch_add(u64::from(is_strange), Ordering::Relaxed);
    }
}

#[test]
fn a_command_comes_in_the_lane_that_the_embedder_gave_it() {
    let strange = |has_lanes: bool| {
        let count = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&count);
        let make = move || Faulty::new(Sorted(Arc::clone(&shared)));
        let place = |number: u64| number.to_le_bytes()[0] % 4;
        let app = if has_lanes {
            let lane = move |number| Lane::from_u8(place(number)).unwrap();
            App::with_lanes(make, move |number| (lane(number), vec![place(number)]))
        } else {
            App::new(make, move |number| vec![place(number)])
        };
        let outcome = app.run(&calm(2), false);
        assert!(outcome.is_good(), "{:?}", outcome.violations);
        assert!(outcome.commands > 10);
        count.load(Ordering::Relaxed)
    };
    assert_eq!(strange(true), 0);
    assert!(strange(false) > 0, "drawn apart");
}
