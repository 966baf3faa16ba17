//! Which worlds are explored, and the report.
//!
//! Owns the default list and the choice of method for a size that is asked for. Never: explores.

use std::collections::BTreeMap;
use std::fmt;

use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::types::Stake;
use serde::Serialize;

use super::across::across;
use super::profiles::profiles;
use super::search::search;
use super::verdict::Verdict;
use super::world::{Size, World};

/// Fewest and most validators of a world that is asked for.
pub const EXHAUSTIVE_VALIDATORS: std::ops::RangeInclusive<u16> = 4..=8;
/// Fewest and most slots of its window.
pub const EXHAUSTIVE_SLOTS: std::ops::RangeInclusive<u8> = 1..=3;

/// How a world is explored, hence what `states` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExhaustiveMethod {
    /// Every interleaving: states before reduction.
    States,
    /// The monotone reduction: profiles of first votes and Finals, before reduction.
    Profiles,
}

impl fmt::Display for ExhaustiveMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::States => "states",
            Self::Profiles => "profiles",
        })
    }
}

/// What came of one size of world, all its Byzantine sets together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExhaustiveRun {
    /// How many validators.
    pub validators: usize,
    /// Slots of a window.
    pub slots: u8,
    /// Windows: two where one is built on the other.
    pub windows: usize,
    /// Blocks that the leader of the first window makes.
    pub blocks: usize,
    /// F.
    pub fault: u64,
    /// P.
    pub slack: u64,
    /// Stakes.
    pub stakes: Vec<u64>,
    /// Byzantine sets explored, by validator.
    pub byzantine: Vec<Vec<usize>>,
    /// How, and so what `states` counts.
    pub method: ExhaustiveMethod,
    /// States or profiles, before reduction.
    pub states: u64,
    /// Of these, looked at: one of each kind that differs by validators of equal stake only.
    pub distinct: u64,
    /// What must never be, and was.
    pub violations: u64,
    /// States at rest that hand no parent on.
    pub stuck: u64,
    /// Violations by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Some of what was found, told.
    pub examples: Vec<String>,
}

impl ExhaustiveRun {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.violations == 0 && self.stuck == 0
    }
}

impl fmt::Display for ExhaustiveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stakes {:?}, F {}, P {}, windows {} of {} slots, {} blocks: {} {} ({} looked at), {} \
             violations, {} stuck",
            self.stakes,
            self.fault,
            self.slack,
            self.windows,
            self.slots,
            self.blocks,
            self.states,
            self.method,
            self.distinct,
            self.violations,
            self.stuck,
        )?;
        for example in &self.examples {
            write!(f, "\n  {example}")?;
        }
        Ok(())
    }
}

/// What came of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExhaustiveReport {
    /// One entry a size.
    pub runs: Vec<ExhaustiveRun>,
    /// States before reduction, over the runs that count states.
    pub states: u64,
    /// Profiles before reduction, over the runs that count those.
    pub profiles: u64,
    /// Over all runs.
    pub violations: u64,
    /// Over all runs.
    pub stuck: u64,
}

/// Explores every world of the default list, and tells of each when it is done.
///
/// # Errors
/// A world whose numbers do not go together: an error of this program.
pub fn exhaustive(done: &dyn Fn(&ExhaustiveRun)) -> Result<ExhaustiveReport, String> {
    use ExhaustiveMethod::{Profiles, States};
    let (four, six): (&[u64], &[u64]) = (&[1; 4], &[1; 6]);
    let list = [
        (Size::new(four, 1, 0, 1), 1, States),
        (Size::new(four, 1, 0, 2), 1, States),
        (Size::new(six, 1, 1, 1), 1, States),
        (Size::new(&[2, 1, 1, 1, 1], 1, 1, 1), 1, States),
        (Size::new(&[3, 2, 2, 1], 2, 0, 1), 1, States),
        (Size::new(&[3, 3, 2, 1, 1], 3, 0, 1), 1, States),
        (two_blocks(&[5, 3, 2, 2, 1], 3, 1), 1, States),
        (Size::new(four, 1, 0, 3), 1, Profiles),
        (Size::new(six, 1, 1, 2), 1, Profiles),
        (Size::new(four, 1, 0, 1), 2, Profiles),
        (two_blocks(six, 1, 1), 2, Profiles),
    ];
    let lighter = [
        (two_blocks(&[5, 3, 2, 2, 1], 3, 1), Profiles),
        (two_blocks(&[4, 3, 3, 2, 2], 3, 1), Profiles),
    ];
    let runs = list
        .iter()
        .map(|(size, windows, method)| explore(size, *windows, *method));
    let more = lighter
        .iter()
        .map(|(size, method)| explore_lighter(size, *method));
    let mut report = ExhaustiveReport::default();
    for run in runs.chain(more) {
        let run = run?;
        done(&run);
        match run.method {
            States => report.states += run.states,
            Profiles => report.profiles += run.states,
        }
        report.violations += run.violations;
        report.stuck += run.stuck;
        report.runs.push(run);
    }
    Ok(report)
}

/// One slot with two blocks.
pub(super) fn two_blocks(stakes: &[u64], fault: u64, slack: u64) -> Size {
    Size {
        blocks: 2,
        ..Size::new(stakes, fault, slack, 1)
    }
}

/// Explores one world of equal stakes with the default F and P: by plain search where that ends
/// within minutes, else by profiles.
///
/// # Errors
/// Numbers outside [`EXHAUSTIVE_VALIDATORS`] or [`EXHAUSTIVE_SLOTS`].
pub fn exhaustive_of(validators: u16, slots: u8) -> Result<ExhaustiveRun, String> {
    if !EXHAUSTIVE_VALIDATORS.contains(&validators) || !EXHAUSTIVE_SLOTS.contains(&slots) {
        return Err(format!(
            "{validators} validators and {slots} slots: explored are {} to {} validators and {} \
             to {} slots",
            EXHAUSTIVE_VALIDATORS.start(),
            EXHAUSTIVE_VALIDATORS.end(),
            EXHAUSTIVE_SLOTS.start(),
            EXHAUSTIVE_SLOTS.end(),
        ));
    }
    let stakes = vec![1; usize::from(validators)];
    let weights: Vec<Stake> = stakes.iter().copied().map(Stake::new).collect();
    let fault = default_fault(&weights);
    let slack = default_slack(Stake::new(u64::from(validators)), fault);
    let method = match (validators, slots) {
        (4..=6, 1) | (4, 2) => ExhaustiveMethod::States,
        _ => ExhaustiveMethod::Profiles,
    };
    let size = Size::new(&stakes, fault.amount(), slack.amount(), slots);
    explore(&size, 1, method)
}

/// Explores a world under each of its Byzantine sets.
pub(super) fn explore(
    size: &Size,
    windows: usize,
    method: ExhaustiveMethod,
) -> Result<ExhaustiveRun, String> {
    explore_sets(size, size.byzantine_sets(), windows, method)
}

/// Explores a world of one window under each of the lighter Byzantine sets, with crashes for the
/// rest of what may be faulty.
pub(super) fn explore_lighter(
    size: &Size,
    method: ExhaustiveMethod,
) -> Result<ExhaustiveRun, String> {
    explore_sets(size, size.lighter_sets(), 1, method)
}

fn explore_sets(
    size: &Size,
    byzantine: Vec<Vec<usize>>,
    windows: usize,
    method: ExhaustiveMethod,
) -> Result<ExhaustiveRun, String> {
    let mut verdict = Verdict::default();
    for set in &byzantine {
        let world = World::new(size, set, windows)?;
        verdict.join(match (windows, method) {
            (1, ExhaustiveMethod::States) => search(&world),
            (1, ExhaustiveMethod::Profiles) => profiles(&world),
            _ => across(&world),
        });
    }
    Ok(ExhaustiveRun {
        validators: size.stakes.len(),
        slots: size.slots,
        windows,
        blocks: size.blocks,
        fault: size.fault,
        slack: size.slack,
        stakes: size.stakes.clone(),
        byzantine,
        method,
        states: verdict.states,
        distinct: verdict.distinct,
        violations: verdict.violation_count(),
        stuck: verdict.stuck,
        kinds: verdict
            .violations
            .iter()
            .map(|(&kind, &count)| (kind.to_owned(), count))
            .collect(),
        examples: verdict.examples,
    })
}
