//! One run from its seed to its verdict, and many of them at once.
//!
//! Owns the phases of a run (trouble, healing, a good end within a bound), the sweep over seeds
//! and the report. Never: what happens inside a run (world).

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::state_machine::StateMachine;
use serde::Serialize;

use crate::app::App;
use crate::byzantine::{Byzantine, ByzantineCounts};
use crate::checks::{Checks, Violation};
use crate::counts::FaultCounts;
use crate::panics::running;
use crate::plan::RunOptions;
use crate::reached::Reached;
use crate::script::Scenario;
use crate::world::{MS, START_NS, World};

/// A run that has not come to a good end so long after healing is stuck: fifteen times the cap of
/// the progress timer.
const HEALING_MAX_NS: u64 = 30_000 * MS;
/// Events of one run at most: a run that spins without its clock moving is stuck as well.
const EVENTS_MAX: u64 = 50_000_000;

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which run.
    pub options: RunOptions,
    /// Blocks finalized.
    pub finalized: u64,
    /// Commands applied.
    pub commands: u64,
    /// What must never happen and did.
    pub violations: Vec<Violation>,
    /// Why no good end was reached in time, if it was not.
    pub stuck: Option<String>,
    /// From healing to the good end, virtual nanoseconds.
    pub recovery_ns: u64,
    /// Faults injected.
    pub faults: FaultCounts,
    /// What happened of all that can.
    pub reached: Reached,
    /// The most windows in a row without a final block after healing.
    pub windows_max: u64,
    /// The longest that somebody had to wait after healing before it voted, virtual nanoseconds.
    pub return_ns: u64,
    /// What was seen of Byzantine validators.
    pub byzantine: ByzantineCounts,
    /// Events that happened: frames delivered, turns, syncs and the like.
    pub steps: u64,
    /// Hash of everything that happened.
    pub trace: [u8; 32],
}

impl Outcome {
    /// Of a run that came to nothing but this.
    pub(crate) fn failed(options: &RunOptions, violation: Violation) -> Self {
        Self {
            options: *options,
            finalized: 0,
            commands: 0,
            violations: vec![violation],
            stuck: None,
            recovery_ns: 0,
            faults: FaultCounts::default(),
            reached: Reached::default(),
            windows_max: 0,
            return_ns: 0,
            byzantine: ByzantineCounts::default(),
            steps: 0,
            trace: [0; 32],
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_none()
    }
}

/// Runs one seed. With `is_told` everything that happens is told on standard error. A panic says
/// there how to see it again.
#[must_use]
pub fn run(options: &RunOptions, is_told: bool) -> Outcome {
    let app = match options.scenario {
        Scenario::Join => App::laden(),
        _ => App::default(),
    };
    running(&replay(options), || run_app(options, &app, is_told))
}

/// Runs one seed with this application.
pub(crate) fn run_app<S: StateMachine>(
    options: &RunOptions,
    app: &App<S>,
    is_told: bool,
) -> Outcome {
    match World::new(options, app, is_told) {
        Ok(world) => run_world(options, world),
        Err(error) => Outcome::failed(options, Violation::new("setup", error)),
    }
}

fn run_world<S: StateMachine>(options: &RunOptions, mut world: World<S>) -> Outcome {
    let (steps, is_done) = go_on(&mut world);
    conclude(options, world, steps, is_done)
}

/// Goes on to a good end, if one comes in time, and counts the events until then.
fn go_on<S: StateMachine>(world: &mut World<S>) -> (u64, bool) {
    let end_ns = START_NS + world.plan.trouble_ns + HEALING_MAX_NS;
    let mut steps = 0;
    let mut is_done = false;
    while !is_done && !world.checks.has_found() && steps < EVENTS_MAX && world.step(end_ns) {
        steps += 1;
        is_done = world.is_done();
    }
    (steps, is_done)
}

/// Judges a world that has come to its end, a good one or not.
fn conclude<S: StateMachine>(
    options: &RunOptions,
    mut world: World<S>,
    steps: u64,
    is_done: bool,
) -> Outcome {
    let healed_ns = START_NS + world.plan.trouble_ns;
    (0..world.members.len()).for_each(|at| world.note_life(at));
    if is_done && world.site.is_none() {
        world.judge_proofs();
        let Checks { results, chain, .. } = &world.checks;
        let is_judged = results.finish(chain.height());
        world.checks.take(is_judged);
    }
    let violations = world.checks.finish();
    // A run that was given up for what it did wrong says nothing about progress.
    let is_stuck = !is_done && violations.is_empty();
    let network = world.network.counts;
    let faults = FaultCounts {
        frames_sent: network.sent,
        frames_lost: network.lost,
        frames_cut: network.cut,
        frames_clogged: network.clogged,
        frames_doubled: network.doubled,
        frames_reordered: network.reordered,
        resubmissions: world.clients.resubmissions,
        ..world.faults
    };
    Outcome {
        options: *options,
        finalized: world.checks.chain.len(),
        commands: world.checks.results.applied_count(),
        violations,
        stuck: is_stuck.then(|| world.describe()),
        recovery_ns: world.now_ns.saturating_sub(healed_ns),
        faults,
        reached: std::mem::take(&mut world.reached),
        windows_max: world.checks.progress.windows_max(),
        return_ns: world.checks.returns.wait_ns_max(),
        byzantine: world.troupe.counts,
        steps,
        trace: world.trace.hash(),
    }
}

impl<S: StateMachine> World<S> {
    /// Where everybody stands, for whoever looks into a stuck run.
    fn describe(&self) -> String {
        let mut text = format!(
            "{}; clients: {}",
            self.plan.describe(),
            self.clients.describe()
        );
        for (place, member) in self.members.iter().enumerate() {
            let Some(life) = &member.life else {
                text.push_str(&format!("\nv{place} is down"));
                continue;
            };
            let consensus = life.replica.consensus();
            text.push_str(&format!(
                "\nv{place} {:?} led by {:?} says {:?} delivered {:?} proven {:?} votes {} room {:?} lanes {} {:?} \
                 {:?}",
                consensus.window(),
                consensus.leader(),
                consensus.own_record(consensus.window()),
                consensus.delivered(),
                consensus.proven().height,
                consensus.is_voting(),
                consensus.proposal_room(),
                life.replica.order().lanes().len(),
                life.companions.summary.lease.lease,
                consensus.counters(),
            ));
        }
        text
    }
}

/// A run that went wrong, in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What went wrong, the first thing first.
    pub what: Vec<String>,
    /// The one command that shows it again.
    pub replay: String,
}

/// What came of all runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Validators in each.
    pub validators: u16,
    /// Scenario.
    pub scenario: String,
    /// Blocks finalized in all.
    pub finalized: u64,
    /// Commands applied in all.
    pub commands: u64,
    /// Violations in all.
    pub violations: u64,
    /// Runs that came to no good end in time.
    pub stuck: u64,
    /// Longest way from healing to a good end, virtual milliseconds.
    pub recovery_ms_max: u64,
    /// Faults injected in all.
    pub faults: FaultCounts,
    /// The most windows in a row without a final block after healing.
    pub recovery_windows_max: u64,
    /// The longest that somebody had to wait after healing before it voted, virtual milliseconds.
    pub return_ms_max: u64,
    /// What happened of all that can, over all runs.
    pub reached: Reached,
    /// What never happened in any run.
    pub unreached: Vec<&'static str>,
    /// What was seen of Byzantine validators in all.
    pub byzantine: ByzantineCounts,
    /// What those that were played often never did of all that they are for.
    pub inert: Vec<String>,
    /// Events in all.
    pub steps: u64,
    /// Hash over the traces of all runs, in the order of their seeds.
    pub trace: String,
    /// Runs that went wrong.
    pub failures: Vec<Failure>,
}

/// Which runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// Seeds, the end not included.
    pub seeds: Range<u64>,
    /// How many validators, 4 to 64.
    pub validators: u16,
    /// Which faults.
    pub scenario: Scenario,
    /// Which Byzantine validators.
    pub byzantine: Byzantine,
    /// Runs at once.
    pub threads: usize,
}

impl Default for SweepOptions {
    /// A few seeds of four validators under everything, on one core.
    fn default() -> Self {
        Self {
            seeds: 0..10,
            validators: 4,
            scenario: Scenario::Mixed,
            byzantine: Byzantine::default(),
            threads: 1,
        }
    }
}

impl SweepOptions {
    fn options(&self, seed: u64) -> RunOptions {
        RunOptions {
            seed,
            validators: self.validators,
            scenario: self.scenario,
            byzantine: self.byzantine,
        }
    }
}

/// Runs all seeds. `failed` is called with each run that went wrong, as it ends.
#[must_use]
pub fn sweep(options: &SweepOptions, failed: &(dyn Fn(&Failure) + Sync)) -> Summary {
    sweep_by(options, &|options| run(options, false), &replay, failed)
}

/// Runs all seeds by `run`; `replay` says how to see one again.
pub(crate) fn sweep_by(
    options: &SweepOptions,
    run: &(dyn Fn(&RunOptions) -> Outcome + Sync),
    replay: &(dyn Fn(&RunOptions) -> String + Sync),
    failed: &(dyn Fn(&Failure) + Sync),
) -> Summary {
    let next = AtomicU64::new(options.seeds.start);
    let outcomes: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !options.seeds.contains(&seed) {
                break;
            }
            let outcome = run(&options.options(seed));
            if !outcome.is_good() {
                failed(&failure(&outcome, replay));
            }
            outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.options.seed);
    summarize(options, &outcomes, replay)
}

fn summarize(
    options: &SweepOptions,
    outcomes: &[Outcome],
    replay: &(dyn Fn(&RunOptions) -> String + Sync),
) -> Summary {
    let mut summary = Summary {
        validators: options.validators,
        scenario: options.scenario.name().to_owned(),
        ..Summary::default()
    };
    let mut trace = blake3::Hasher::new();
    for outcome in outcomes {
        summary.seeds += 1;
        summary.finalized += outcome.finalized;
        summary.commands += outcome.commands;
        summary.violations += outcome.violations.len() as u64;
        summary.stuck += u64::from(outcome.stuck.is_some());
        summary.recovery_ms_max = summary.recovery_ms_max.max(outcome.recovery_ns / MS);
        summary.faults.add(&outcome.faults);
        summary.byzantine.add(&outcome.byzantine);
        summary.reached.add(&outcome.reached);
        summary.return_ms_max = summary.return_ms_max.max(outcome.return_ns / MS);
        summary.recovery_windows_max = summary.recovery_windows_max.max(outcome.windows_max);
        summary.steps += outcome.steps;
        trace.update(&outcome.trace);
        if !outcome.is_good() {
            summary.failures.push(failure(outcome, replay));
        }
    }
    summary.unreached =
        summary
            .reached
            .missing(&summary.faults, options.scenario, &options.byzantine);
    summary.inert = summary.byzantine.inert(options.scenario);
    summary.trace = trace.finalize().to_hex().to_string();
    summary
}

/// The command that runs one seed again and tells everything.
fn replay(options: &RunOptions) -> String {
    let RunOptions {
        seed,
        validators,
        scenario,
        byzantine,
    } = options;
    format!(
        "quorate sim --seeds {seed}..{} --validators {validators} --scenario {scenario}{byzantine} \
         --tell",
        seed + 1
    )
}

fn failure(outcome: &Outcome, replay: &dyn Fn(&RunOptions) -> String) -> Failure {
    let violations = outcome.violations.iter();
    let mut what: Vec<String> = violations
        .map(|violation| format!("{}: {}", violation.check, violation.what))
        .collect();
    what.extend(outcome.stuck.iter().map(|state| format!("stuck: {state}")));
    Failure {
        seed: outcome.options.seed,
        what,
        replay: replay(&outcome.options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tape;

    fn calm() -> (RunOptions, World<Tape>) {
        let options = RunOptions {
            seed: 1,
            scenario: Scenario::Calm,
            ..RunOptions::default()
        };
        let world = World::new(&options, &App::default(), false).unwrap();
        (options, world)
    }

    #[test]
    fn a_run_that_has_come_to_no_good_end_in_time_is_stuck_and_counted() {
        let (options, mut world) = calm();
        for member in &mut world.members {
            member.paused_until_ns = u64::MAX;
        }
        let outcome = run_world(&options, world);
        assert_eq!(outcome.violations, []);
        assert!(outcome.steps < EVENTS_MAX);
        assert!(outcome.stuck.is_some() && !outcome.is_good());
        let summary = summarize(&SweepOptions::default(), &[outcome], &replay);
        assert_eq!((summary.stuck, summary.failures.len()), (1, 1));
        assert!(summary.failures[0].what[0].starts_with("stuck: "));
    }

    #[test]
    fn whoever_cannot_prove_the_end_of_the_chain_at_a_good_end_is_found() {
        let judged = |blocks_more: u64| {
            let (options, mut world) = calm();
            let (steps, is_done) = go_on(&mut world);
            assert!(is_done);
            let end = world.checks.chain.height() + blocks_more;
            world.checks.chain.start(0, end);
            let outcome = conclude(&options, world, steps, is_done);
            let found = outcome.violations.iter();
            found.map(|violation| violation.check).collect::<Vec<_>>()
        };
        assert_eq!(judged(0), [""; 0]);
        // Nor did anybody tell what came of a block at that height.
        let [one, two, three, four] = ["certificates"; 4];
        assert_eq!(judged(1), [one, two, three, four, "results"]);
    }
}
